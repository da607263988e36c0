"""The library's own promises: groups, versions, errors."""

from __future__ import annotations

import asyncio

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import any_pb2

from tests.serving.client import Client
from xds_server.serving import BindError, SnapshotServer, TypeUrl, resource


def cluster(name: str, alt: str = "") -> cluster_pb2.Cluster:
    return cluster_pb2.Cluster(name=name, alt_stat_name=alt)


def test_a_resource_takes_its_name_and_type_from_the_message() -> None:
    made = resource(cluster("shop"), version="7")
    assert (made.type_url, made.name, made.version) == (TypeUrl.CLUSTER, "shop", "7")
    with pytest.raises(ValueError, match="has no name"):
        resource(rtds_pb2.Runtime())


def test_without_a_version_it_is_a_hash_of_the_content() -> None:
    async def conversation() -> None:
        async with (
            SnapshotServer() as server,
            Client(server.address, "node", TypeUrl.CLUSTER, aggregated=True, delta=False) as client,
        ):
            server.set_snapshot("node", [resource(cluster("shop"))])
            await client.subscribe()
            first = await client.next()
            server.set("node", resource(cluster("shop", "other")))
            second = await client.next()
            assert first.version
            assert second.version not in {"", first.version}

    asyncio.run(asyncio.wait_for(conversation(), 30.0))


def test_a_version_names_content() -> None:
    async def conversation() -> None:
        server = SnapshotServer()
        server.set("node", resource(cluster("shop")), version="1")
        with pytest.raises(ValueError, match="another content"):
            server.set("node", resource(cluster("shop", "other")), version="1")
        with pytest.raises(ValueError, match="two resources"):
            server.set_snapshot("node", [resource(cluster("shop")), resource(cluster("shop"))], version="2")
        with pytest.raises(KeyError):
            server.remove("node", TypeUrl.CLUSTER, "nothing")

    asyncio.run(conversation())


def test_a_version_is_no_longer_than_what_clients_may_send_back() -> None:
    server = SnapshotServer("127.0.0.1:0")
    with pytest.raises(ValueError, match="at most 512 characters"):
        server.set_snapshot("edge", [], version="x" * 513)


def test_a_resource_may_come_packed() -> None:
    packed = any_pb2.Any()
    packed.Pack(cluster("shop"))
    assert resource(packed, version="7") == resource(cluster("shop"), version="7")
    with pytest.raises(ValueError, match="import its module"):
        resource(any_pb2.Any(type_url="type.googleapis.com/nobody.knows.This"))


def test_a_group_may_begin_with_one_resource_and_who_is_unknown_may_get_a_default() -> None:
    async def conversation() -> None:
        async with SnapshotServer(group_of=lambda node: node.node_id if node.node_id == "n1" else "default") as server:
            server.set("default", resource(cluster("for-others")), version="1")
            with pytest.raises(KeyError):
                server.remove("n1", TypeUrl.CLUSTER, "for-n1")
            async with Client(server.address, "n2", TypeUrl.CLUSTER, aggregated=True, delta=False) as stranger:
                await stranger.subscribe()
                assert (await stranger.next()).names.keys() == {"for-others"}
            async with Client(server.address, "n1", TypeUrl.CLUSTER, aggregated=True, delta=False) as known:
                await known.subscribe()
                while not server.clients():  # noqa: ASYNC110  (connected, and waiting for its first snapshot)
                    await asyncio.sleep(0.005)
                server.set("n1", resource(cluster("for-n1")), version="1")
                assert (await known.next()).names.keys() == {"for-n1"}

    asyncio.run(asyncio.wait_for(conversation(), 30.0))


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_a_group_that_was_forgotten_goes_on_from_what_its_clients_have(delta: bool) -> None:
    async def conversation() -> None:
        async with (
            SnapshotServer() as server,
            Client(server.address, "node", TypeUrl.CLUSTER, aggregated=True, delta=delta) as client,
        ):
            server.set_snapshot("node", [resource(cluster("a")), resource(cluster("b"))], version="1")
            await client.subscribe()
            await client.next()
            server.clear("node")
            server.set_snapshot("node", [resource(cluster("a")), resource(cluster("c"))], version="1")
            answer = await client.next()
            assert (answer.version, set(answer.names)) == ("1", {"c"} if delta else {"a", "c"})
            assert answer.removed == (("b",) if delta else ())

    asyncio.run(asyncio.wait_for(conversation(), 30.0))


def test_groups_are_apart() -> None:
    async def conversation() -> None:
        async with SnapshotServer(group_of=lambda node: node.node_id.partition("-")[0]) as server:
            server.set_snapshot("edge", [resource(cluster("for-edge"))], version="e")
            server.set_snapshot("core", [resource(cluster("for-core"))], version="c")
            for node, version in (("edge-1", "e"), ("core-1", "c")):
                async with Client(server.address, node, TypeUrl.CLUSTER, aggregated=True, delta=True) as client:
                    await client.subscribe()
                    assert (await client.next()).version == version

    asyncio.run(asyncio.wait_for(conversation(), 30.0))


def test_a_taken_port_is_one_error_that_names_it() -> None:
    async def conversation() -> None:
        async with SnapshotServer() as server:
            with pytest.raises(BindError, match=server.address):
                await SnapshotServer(server.address).start()

    asyncio.run(conversation())
