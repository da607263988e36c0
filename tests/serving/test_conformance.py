"""What an outside conformance suite asks of the library: set, update, add and remove by name and version.

For four types, aggregated and on separate streams, state of the world and delta. What comes is what was asked, once.

Each test is a conversation. "Nothing else comes" is shown by what comes next: a later change that is asked for is the
next answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from tests.serving.client import Client
from xds_server.serving import Resource, SnapshotServer, TypeUrl, resource

MAKERS: dict[str, Callable[[str], Any]] = {
    TypeUrl.CLUSTER: lambda name: cluster_pb2.Cluster(name=name),
    TypeUrl.LISTENER: lambda name: listener_pb2.Listener(name=name),
    TypeUrl.ROUTE: lambda name: route_pb2.RouteConfiguration(name=name),
    TypeUrl.ENDPOINT: lambda name: endpoint_pb2.ClusterLoadAssignment(cluster_name=name),
}
WILDCARD = (TypeUrl.CLUSTER, TypeUrl.LISTENER)

variants = pytest.mark.parametrize(
    ("aggregated", "delta"),
    [(True, False), (False, False), (True, True), (False, True)],
    ids=["sotw-ads", "sotw", "delta-ads", "delta"],
)
types = pytest.mark.parametrize("type_url", MAKERS, ids=lambda url: url.rpartition(".")[2])


def made(type_url: str, *names: str) -> list[Resource]:
    return [resource(MAKERS[type_url](name)) for name in names]


@asynccontextmanager
async def scene(type_url: str, aggregated: bool, delta: bool) -> AsyncIterator[tuple[SnapshotServer, Client]]:
    async with (
        SnapshotServer() as server,
        Client(server.address, "node", type_url, aggregated=aggregated, delta=delta) as client,
    ):
        yield server, client


def play(conversation: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(conversation(), 60.0))


@variants
@types
def test_what_is_asked_by_name_comes_with_the_callers_version(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B", "C"), version="1")
            await client.subscribe("A", "B")
            answer = await client.next()
            assert answer.version == "1"
            assert set(answer.names) == {"A", "B"}
            assert not delta or set(answer.names.values()) == {"1"}
            await server.wait_acked("node", type_url, "1")

    play(conversation)


@variants
@types
def test_an_update_comes_once_and_what_was_not_asked_for_does_not(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B"), version="1")
            await client.subscribe("A")
            await client.next()
            server.set("node", *made(type_url, "A"), version="2")
            answer = await client.next()
            assert (answer.version, set(answer.names)) == ("2", {"A"})
            server.set("node", *made(type_url, "B"), version="3")
            if delta:
                server.set("node", *made(type_url, "A"), version="4")
                answer = await client.next()
                assert (answer.version, answer.names) == ("4", {"A": "4"})

    play(conversation)


@variants
@types
def test_a_name_that_does_not_exist_yet_comes_when_it_does(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A"), version="1")
            await client.subscribe("A", "LATER")
            answer = await client.next()
            assert set(answer.names) == {"A"}
            if delta:
                gone = answer.removed or (await client.next()).removed
                assert gone == ("LATER",)
            server.set("node", *made(type_url, "LATER"), version="2")
            answer = await client.next()
            assert answer.version == "2"
            assert "LATER" in answer.names

    play(conversation)


@variants
@types
def test_more_names_are_answered_as_they_are_asked_for(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B", "C"), version="1")
            await client.subscribe("A")
            assert set((await client.next()).names) == {"A"}
            await client.subscribe("B")
            answer = await client.next()
            assert "B" in answer.names
            assert "C" not in answer.names
            assert not delta or set(answer.names) == {"B"}

    play(conversation)


@variants
@types
def test_what_is_unsubscribed_does_not_come_any_more(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B", "C"), version="1")
            await client.subscribe("A", "B")
            await client.next()
            await client.unsubscribe("A")
            await client.subscribe("C")
            answer = await client.next()
            while "C" not in answer.names:
                answer = await client.next()
            server.set("node", *made(type_url, "A"), version="2")
            server.set("node", *made(type_url, "B"), version="3")
            answer = await client.next()
            while answer.version != "3":
                assert "A" not in answer.names
                answer = await client.next()
            assert "A" not in answer.names
            assert "B" in answer.names

    play(conversation)


@variants
@pytest.mark.parametrize("type_url", WILDCARD, ids=lambda url: url.rpartition(".")[2])
def test_a_wildcard_gets_everything_and_hears_of_removals(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B"), version="1")
            await client.subscribe()
            assert set((await client.next()).names) == {"A", "B"}
            server.set("node", *made(type_url, "C"), version="2")
            answer = await client.next()
            assert (answer.version, set(answer.names)) == ("2", {"C"} if delta else {"A", "B", "C"})
            server.remove("node", type_url, "A", version="3")
            answer = await client.next()
            assert answer.version == "3"
            assert answer.removed == ("A",) if delta else set(answer.names) == {"B", "C"}
            server.remove("node", type_url, "B", "C", version="4")
            answer = await client.next()
            assert answer.version == "4"
            assert answer.removed == ("B", "C") if delta else not answer.names

    play(conversation)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_one_aggregated_stream_carries_all_types(delta: bool) -> None:
    async def conversation() -> None:
        async with scene(TypeUrl.CLUSTER, True, delta) as (server, client):
            everything = [r for type_url in MAKERS for r in made(type_url, "A")]
            server.set_snapshot("node", everything, version="1")
            answers = {}
            for type_url in MAKERS:
                await client.subscribe("A", type_url=type_url)
            for _ in MAKERS:
                answer = await client.next()
                answers[answer.type_url] = (answer.version, set(answer.names))
            assert answers == dict.fromkeys(MAKERS, ("1", {"A"}))

    play(conversation)


@variants
@types
def test_what_is_removed_comes_back_when_it_is_there_again(type_url: str, aggregated: bool, delta: bool) -> None:
    whole = type_url in WILDCARD

    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B"), version="1")
            await client.subscribe("A", "B")
            await client.next()
            server.remove("node", type_url, "B", version="1")
            if delta:
                assert (await client.next()).removed == ("B",)
            elif whole:
                assert (await client.next()).names.keys() == {"A"}
            server.set("node", *made(type_url, "B"), version="2")
            answer = await client.next()
            assert answer.version == "2"
            assert answer.names.keys() == ({"A", "B"} if whole and not delta else {"B"})

    play(conversation)


@variants
@types
def test_who_asks_for_nothing_any_more_is_sent_nothing(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B"), version="1")
            await client.subscribe("A", "B")
            await client.next()
            await client.unsubscribe("A", "B")
            await client.subscribe("LATER")
            server.set("node", *made(type_url, "B"), version="2")
            server.set("node", *made(type_url, "LATER"), version="3")
            answer = await client.next()
            while not answer.names:  # LATER is not there yet
                answer = await client.next()
            assert (answer.version, set(answer.names)) == ("3", {"LATER"})

    play(conversation)


@variants
@types
def test_changes_in_a_row_are_one_answer(type_url: str, aggregated: bool, delta: bool) -> None:
    async def conversation() -> None:
        async with scene(type_url, aggregated, delta) as (server, client):
            server.set_snapshot("node", made(type_url, "A", "B"), version="1")
            await client.subscribe("A", "B")
            await client.next()
            for version, name in enumerate("ABA", start=2):
                server.set("node", *made(type_url, name), version=str(version))
            answer = await client.next()
            assert answer.version == "4"
            assert answer.names == ({"A": "4", "B": "3"} if delta else {"A": "", "B": ""})

    play(conversation)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_on_one_stream_each_type_changes_by_itself(delta: bool) -> None:
    async def conversation() -> None:
        async with scene(TypeUrl.CLUSTER, True, delta) as (server, client):
            server.set_snapshot("node", [r for type_url in MAKERS for r in made(type_url, "A", "B")], version="1")
            for type_url in MAKERS:
                await client.subscribe("B", type_url=type_url)
                assert (await client.next()).type_url == type_url
            for version, type_url in enumerate(MAKERS, start=2):
                server.set("node", *made(type_url, "B"), version=str(version))
                answer = await client.next()
                assert (answer.type_url, answer.version, set(answer.names)) == (type_url, str(version), {"B"})

    play(conversation)
