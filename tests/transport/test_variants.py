"""Delta, the services of one type, and a fleet that comes and goes, with real gRPC clients on the same loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from tests.protocol.talk import TYPES, world
from tests.transport.test_server import VIEW, House, bodies, house, run, until
from xds_server.protocol.events import Acked, Nacked, Sent
from xds_server.snapshot.resource import TypeUrl
from xds_server.transport.admission import Admission
from xds_server.transport.clients import Connected
from xds_server.transport.services import ADS, METHODS, Method

NODE = base_pb2.Node(id="n1", cluster="web", locality=base_pb2.Locality(region="us-east-1"))
PROTO_MODULES = [
    "discovery.v3.ads", "cluster.v3.cds", "endpoint.v3.eds", "listener.v3.lds", "route.v3.rds", "route.v3.srds",
    "secret.v3.sds", "runtime.v3.rtds", "extension.v3.config_discovery",
]  # fmt: skip


class Line:
    """One stream of any method; messages as the variant has them."""

    def __init__(self, method: Method, channel: Any) -> None:
        kind = "Delta" if method.delta else ""
        self._delta = method.delta
        self._request = getattr(discovery_pb2, f"{kind}DiscoveryRequest")
        self._response = getattr(discovery_pb2, f"{kind}DiscoveryResponse")
        self.call = channel.stream_stream(f"/{method.service}/{method.name}")()

    async def asks(self, type_url: str, *names: str, **fields: Any) -> None:
        field = "resource_names_subscribe" if self._delta else "resource_names"
        request = self._request(node=NODE, type_url=type_url, **{field: names}, **fields)
        await self.call.write(request.SerializeToString())

    async def reads(self) -> Any:
        return self._response.FromString(await self.call.read())


def method_of(name: str) -> Method:
    return next(method for method in METHODS if method.name == name)


@asynccontextmanager
async def line(home: House, method: Method) -> AsyncIterator[Line]:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{home.port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        yield Line(method, channel)


def contents(reply: Any) -> list[bytes]:
    return [resource.resource.value for resource in reply.resources]


def test_every_method_of_the_protos_is_served_but_fetch() -> None:
    services = [
        service
        for module in PROTO_MODULES
        for service in import_module(f"envoy.service.{module}_pb2").DESCRIPTOR.services_by_name.values()
    ]
    streams = {(s.full_name, m.name) for s in services for m in s.methods if not m.name.startswith("Fetch")}
    served = {(method.service, method.name) for method in METHODS}
    assert streams <= served
    assert {name for _, name in served - streams} <= {"DeltaVirtualHosts"}  # from a module of its own


def test_a_delta_client_is_sent_what_changes_and_what_goes() -> None:
    async def talk() -> None:
        async with house() as home, line(home, method_of("DeltaAggregatedResources")) as client:
            home.publisher.publish({VIEW: world("C a=1", "C b=1")})
            await client.asks(TypeUrl.CLUSTER)
            first = await client.reads()
            assert (contents(first), first.nonce, first.control_plane.identifier) == ([b"a=1", b"b=1"], "1", "here")
            await client.asks(TypeUrl.CLUSTER, response_nonce=first.nonce)
            await until(lambda: bool(home.said(Acked)))
            home.publisher.publish({VIEW: world("C a=2")})
            second = await client.reads()
            assert (contents(second), list(second.removed_resources)) == ([b"a=2"], ["b"])
            (status,) = home.server.clients()
            assert status.variant == "delta"
            await client.asks(TypeUrl.CLUSTER, response_nonce=second.nonce, error_detail={"message": "no"})
            await until(lambda: [nack.error for nack in home.said(Nacked)] == ["no"])

    run(talk)


@pytest.mark.parametrize("method", [m for m in METHODS if m.type_url], ids=lambda m: m.name)
def test_a_service_of_one_type_knows_its_type(method: Method) -> None:
    letter = next((letter for letter, url in TYPES.items() if url == method.type_url), "")

    async def talk() -> None:
        async with house() as home, line(home, method) as client:
            home.publisher.publish({VIEW: world(f"{letter} a=1", "C other=1")})
            await client.asks("", "a")
            reply = await client.reads()
            assert reply.type_url == method.type_url
            assert (contents(reply) if method.delta else bodies(reply)) == [b"a=1"]
            await client.asks(TYPES["C"] if letter != "C" else TYPES["E"], "other")
            assert await client.call.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert method.type_url in await client.call.details()

    run(talk)


def test_a_client_of_several_streams_gets_each_type_on_its_own() -> None:
    async def talk() -> None:
        async with AsyncExitStack() as stack:
            home = await stack.enter_async_context(house())
            home.publisher.publish({VIEW: world("R r=1 > C:a", "C a=1", "E a=1")})
            for name, letter, asked in (
                ("StreamRoutes", "R", "r"),
                ("DeltaClusters", "C", ""),
                ("StreamEndpoints", "E", "a"),
            ):
                client = await stack.enter_async_context(line(home, method_of(name)))
                await client.asks(TYPES[letter], *filter(None, [asked]))
                assert (await client.reads()).type_url == TYPES[letter]  # a route waits for no cluster here

    run(talk)


def test_connections_end_at_their_age_and_clients_lose_nothing() -> None:
    async def talk() -> None:
        async with house(max_connection_age_s=0.2, max_connection_age_grace_s=0.1) as home:
            home.publisher.publish({VIEW: world("C a=1")})
            async with line(home, method_of("DeltaAggregatedResources")) as client:
                await client.asks(TypeUrl.CLUSTER)
                reply = await client.reads()
                await client.asks(TypeUrl.CLUSTER, response_nonce=reply.nonce)
                assert await client.call.code() == grpc.StatusCode.UNAVAILABLE
            await until(lambda: home.server.clients() == ())
            async with line(home, method_of("DeltaAggregatedResources")) as client:
                await client.asks(TypeUrl.CLUSTER, initial_resource_versions={"a": "1"})
                await client.asks(TypeUrl.ENDPOINT, "none")
                assert (await client.reads()).type_url == TypeUrl.ENDPOINT  # and no clusters before that

    run(talk)


def test_those_who_wait_are_answered_in_turn_and_those_with_nothing_first() -> None:
    async def talk() -> None:
        clock, order = [0.0], list[str]()
        admission = Admission(rate=1.0, burst=1, now=lambda: clock[0])

        async def comes(name: str, *, empty_handed: bool) -> None:
            await admission.admit(empty_handed=empty_handed)
            order.append(name)

        await comes("first", empty_handed=False)
        tasks = [
            asyncio.create_task(comes(name, empty_handed=name == "new")) for name in ("back", "gone", "again", "new")
        ]
        await until(lambda: admission.waiting == 4)
        tasks[1].cancel()
        for expected in (["first", "new"], ["first", "new", "back"], ["first", "new", "back", "again"]):
            clock[0] += 1.0
            await until(lambda expected=expected: order == expected)  # type: ignore[misc]
        await asyncio.gather(*tasks, return_exceptions=True)

    run(talk)


def test_a_storm_is_served_to_the_last_client_and_a_new_one_overtakes_it() -> None:
    async def talk() -> None:
        async with AsyncExitStack() as stack:
            home = await stack.enter_async_context(house(first_answers_per_s=50.0, first_answers_at_once=1))
            home.publisher.publish({VIEW: world("C a=1")})
            lines = [
                await stack.enter_async_context(line(home, method_of("StreamAggregatedResources"))) for _ in range(30)
            ]
            for client in lines:
                await client.asks(TypeUrl.CLUSTER, version_info="of another server")
            await until(lambda: len(home.said(Connected)) == 30)
            new = await stack.enter_async_context(line(home, method_of("DeltaAggregatedResources")))
            await new.asks(TypeUrl.CLUSTER)
            await new.reads()
            assert len(home.said(Sent)) < 30
            for client in lines:
                assert bodies(await client.reads()) == [b"a=1"]

    run(talk)


def test_a_shutdown_lets_go_of_the_port_first_and_ends_all_streams() -> None:
    async def talk() -> None:
        async with AsyncExitStack() as stack:
            home = await stack.enter_async_context(house(drain_per_s=640.0))
            home.publisher.publish({VIEW: world("C a=1")})
            lines = [await stack.enter_async_context(line(home, method_of("DeltaClusters"))) for _ in range(65)]
            for client in lines:
                await client.asks("")
                await client.reads()
            await home.server.stop()
            for client in lines:
                assert await client.call.code() == grpc.StatusCode.UNAVAILABLE
                assert "shutting down" in await client.call.details()

    run(talk)


def test_nothing_is_kept_of_clients_that_have_left() -> None:
    """Objects are counted, because memory as the system sees it moves for other reasons too."""

    async def visit(home: House, number: int) -> None:
        async with line(home, method_of("DeltaAggregatedResources")) as client:
            await client.asks(TypeUrl.CLUSTER)
            await client.asks(TypeUrl.CLUSTER, response_nonce=(await client.reads()).nonce)
            await client.asks(TypeUrl.ENDPOINT, "a", f"own-{number}")
            await client.reads()

    def alive() -> dict[str, int]:
        gc.collect()
        names = ("ClientStream", "DeltaStream", "DeltaType", "Flight", "Bucket")
        found = dict.fromkeys(names, 0)
        for thing in gc.get_objects():
            name = type(thing).__name__
            if name in found:
                found[name] += 1
        return found

    async def talk() -> None:
        async with house() as home:
            home.publisher.publish({VIEW: world("C a=1", "E a=1")})
            await visit(home, 0)
            await until(lambda: home.server.clients() == ())
            before = alive()
            for number in range(1, 60):
                await visit(home, number)
            await until(lambda: home.server.clients() == ())
            assert alive() == before
            assert before["DeltaType"] == 0

    run(talk)


def test_the_aggregated_service_is_the_one_clients_know() -> None:
    assert {method.name for method in METHODS if method.service == ADS} == {
        "StreamAggregatedResources",
        "DeltaAggregatedResources",
    }
