"""The xDS port with real gRPC clients on the same loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.thin_client import ACK, PING, SETTINGS, WINDOW, call, frame, message, preface
from tests.protocol.talk import TYPES, world
from xds_server.model import ViewKey
from xds_server.protocol.events import Acked, Code, Identified, Nacked, Sent
from xds_server.snapshot.resource import Key, TypeUrl
from xds_server.transport.clients import ClientEvent, Closed, Connected, Moved, Refused
from xds_server.transport.options import TransportOptions
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import SERVICE, BindError, XdsServer

VIEW = ViewKey("web", "us-east-1")
METHOD = f"/{SERVICE}/StreamAggregatedResources"
LIMIT = 20.0
PONG = b"have all"
HELLO = discovery_pb2.DiscoveryRequest(
    node=base_pb2.Node(id="n1", cluster="web", locality=base_pb2.Locality(region="us-east-1")), type_url=TYPES["C"]
).SerializeToString()

Reply: TypeAlias = Any


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test that must end within the limit and leave no task behind."""

    async def checked() -> None:
        before = asyncio.all_tasks()
        async with asyncio.timeout(LIMIT):
            await test()
            await until(lambda: asyncio.all_tasks() <= before)

    asyncio.run(checked())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (any condition, not one that sets an event)
        await asyncio.sleep(0.005)


def assign(node: Identified, _: object) -> ViewKey:
    if not node.region:
        raise Refused(Code.FAILED_PRECONDITION, "set node.locality.region in the bootstrap")
    return ViewKey(node.cluster, node.region)


@dataclass
class House:
    """A running server, what it heard, and clients on demand."""

    server: XdsServer
    publisher: Publisher
    port: int
    heard: list[ClientEvent] = field(default_factory=list)

    def said(self, kind: type[Any]) -> list[Any]:
        return [event.what for event in self.heard if isinstance(event.what, kind)]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            yield Client(channel.stream_stream(METHOD)())


class Client:
    """Speaks raw bytes on one stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def asks(self, letter: str, *names: str, region: str = "us-east-1", nonce: str = "", error: str = "") -> None:
        node = base_pb2.Node(id="n1", cluster="web", locality=base_pb2.Locality(region=region))
        request = discovery_pb2.DiscoveryRequest(
            node=node, type_url=TYPES[letter], resource_names=names, response_nonce=nonce
        )
        if error:
            request.error_detail.message = error
        await self.call.write(request.SerializeToString())

    async def reads(self) -> Reply:
        return discovery_pb2.DiscoveryResponse.FromString(await self.call.read())

    async def acks(self, reply: Reply, *names: str, error: str = "") -> None:
        letter = next(letter for letter, url in TYPES.items() if url == reply.type_url)
        await self.asks(letter, *names, nonce=reply.nonce, error=error)

    async def status(self) -> tuple[str, str]:
        return (await self.call.code()).name, await self.call.details()


@asynccontextmanager
async def house(**options: Any) -> AsyncIterator[House]:
    publisher = Publisher()
    heard: list[ClientEvent] = []
    server = XdsServer(
        "127.0.0.1:0",
        assign=assign,
        publisher=publisher,
        on_event=heard.append,
        options=TransportOptions(**options),
        identifier="here",
    )
    port = await server.start()
    try:
        yield House(server, publisher, port, heard)
    finally:
        await server.stop(grace=1.0)


def bodies(reply: Reply) -> list[bytes]:
    return [resource.value for resource in reply.resources]


def test_a_client_waits_for_the_first_snapshot_and_follows_changes() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as client:
            await client.asks("C")
            await until(lambda: bool(home.server.clients()))
            home.publisher.publish({VIEW: world("C a=1")})
            first = await client.reads()
            assert (bodies(first), first.nonce, first.control_plane.identifier) == ([b"a=1"], "1", "here")
            await client.acks(first)
            await until(lambda: bool(home.said(Acked)))
            home.publisher.publish({VIEW: world("C a=2")})
            assert bodies(await client.reads()) == [b"a=2"]

    run(talk)


def test_a_slow_client_gets_only_the_latest() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as client:
            home.publisher.publish({VIEW: world("C a=0")})
            await client.asks("C")
            first = await client.reads()
            for version in range(1, 50):
                home.publisher.publish({VIEW: world(f"C a={version}")})
            await client.acks(first)
            assert bodies(await client.reads()) == [b"a=49"]
            assert len(home.said(Sent)) == 2

    run(talk)


def test_what_the_policy_refuses_is_told_to_the_client() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as client:
            await client.asks("C", region="")
            assert await client.status() == ("FAILED_PRECONDITION", "set node.locality.region in the bootstrap")
            await until(lambda: bool(home.said(Closed)))
            assert home.said(Closed) == [Closed("FAILED_PRECONDITION", "set node.locality.region in the bootstrap")]
            assert home.server.clients() == ()

    run(talk)


def test_of_a_client_without_a_place_nothing_is_taken_in() -> None:
    async def test() -> None:
        async with house() as home, home.client() as client:
            await client.asks("C", "x" * 2_000, region="")  # too long a name, if anybody looked
            assert await client.status() == ("FAILED_PRECONDITION", "set node.locality.region in the bootstrap")

    run(test)


def test_a_client_that_says_too_much_of_itself_is_told_so_shortly() -> None:
    async def test() -> None:
        async with house() as home, home.client() as client:
            await client.asks("C", region="\x01" * 900_000)
            code, details = await client.status()
            assert code == "INVALID_ARGUMENT"
            assert details == "node.locality.region has 900000 characters, more than 512"
            await until(lambda: bool(home.heard))
            (event,) = home.heard
            assert len(str(event)) < 500

    run(test)


def test_the_registry_says_who_is_there_and_where_they_are() -> None:
    async def talk() -> None:
        async with house() as home:
            home.publisher.publish({VIEW: world("C a=1", "E a=1")})
            async with home.client() as client:
                await client.asks("C")
                clusters = await client.reads()
                await client.acks(clusters)
                await client.asks("E", "a")
                await client.acks(await client.reads(), "a", error="bad endpoint")
                await until(lambda: bool(home.said(Nacked)))
                (status,) = home.server.clients()
                assert (status.view, status.node.node_id, status.variant) == (VIEW, "n1", "sotw")
                cds, eds = status.types
                assert cds.sent == cds.acked == cds.synced == clusters.version_info
                assert eds.nacked is not None
                assert (eds.acked, eds.nacked.error) == ("", "bad endpoint")
            await until(lambda: home.server.clients() == ())
            assert isinstance(home.heard[0].what, Connected)
            assert home.said(Closed) == [Closed("", "the client ended the stream")]

    run(talk)


def test_what_was_rejected_is_told_as_long_as_it_is_wanted() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as client:
            good = world("C a=1", "C b=1")
            home.publisher.publish({VIEW: good})
            await client.asks("C")
            await client.acks(await client.reads())
            home.publisher.publish({VIEW: world("C a=2", "C b=1")})
            await client.acks(await client.reads(), error="bad cluster")
            await until(lambda: [each.name for each in home.server.clients()[0].types[0].rejected] == ["a"])
            home.publisher.publish({VIEW: good})
            assert home.server.clients()[0].types[0].rejected == ()
            home.publisher.publish({VIEW: world("C a=2", "C b=1")})
            assert [each.error for each in home.server.clients()[0].types[0].rejected] == ["bad cluster"]

    run(talk)


def test_an_added_resource_that_was_rejected_is_told_until_it_is_taken_back_unless_it_is_only_kept_back() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as client:
            good, added = world("C a=1"), world("C a=1", "C b=2")
            home.publisher.publish({VIEW: added})
            await client.asks("C")
            await client.acks(await client.reads(), error="bad cluster b")
            await client.acks(await client.reads())  # a alone

            def rejected() -> list[str]:
                return [each.name for each in home.server.clients()[0].types[0].rejected]

            await until(lambda: rejected() == ["b"])
            home.publisher.kept_back = {(VIEW, Key(TypeUrl.CLUSTER, "b"), "2")}
            home.publisher.publish({VIEW: good})
            assert rejected() == ["b"]
            home.publisher.kept_back = frozenset()
            assert rejected() == []

    run(talk)


def test_who_has_accepted_a_version_is_counted_view_by_view() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as one, home.client() as other:
            home.publisher.publish({VIEW: world("C a=1")})

            def accepting(version: str, view: ViewKey = VIEW, name: str = "a") -> int:
                return home.server.accepting(view, Key(TypeUrl.CLUSTER, name), version)

            for client in (one, other):
                await client.asks("C")
            assert accepting("1") == 0
            await one.acks(await one.reads())
            await other.acks(await other.reads(), error="bad cluster")
            await until(lambda: accepting("1") == 1)
            assert (accepting("2"), accepting("1", name="b"), accepting("1", VIEW._replace(kind="grpc"))) == (0, 0, 0)
            home.publisher.publish({VIEW: world("C a=2")})
            for client in (one, other):
                await client.acks(await client.reads())
            await until(lambda: (accepting("1"), accepting("2")) == (0, 2))

    run(talk)


def test_a_client_moves_to_another_view_when_the_policy_says_so() -> None:
    places = {"us-east-1": VIEW}

    def by_table(node: Identified, _: object) -> ViewKey:
        if node.region not in places:
            raise Refused(Code.NOT_FOUND, "no such region")
        return places[node.region]

    async def talk() -> None:
        publisher, heard = Publisher(), list[ClientEvent]()
        server = XdsServer("127.0.0.1:0", assign=by_table, publisher=publisher, on_event=heard.append)
        home = House(server, publisher, await server.start(), heard)
        other = ViewKey("other", "us-east-1")
        publisher.publish({VIEW: world("C a=1"), other: world("C b=1")})
        async with home.client() as client:
            await client.asks("C")
            await client.acks(await client.reads())
            await until(lambda: bool(home.said(Acked)))
            places["us-east-1"] = other
            server.reassign()
            moved = await client.reads()
            assert bodies(moved) == [b"b=1"]
            assert home.said(Moved) == [Moved(VIEW)]
            places.clear()
            server.reassign()
            assert await client.status() == ("NOT_FOUND", "no such region")
        await server.stop()

    run(talk)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x22\x02\xff\xfe", b"\x12\x7fshort"])
def test_garbage_ends_the_stream_and_nothing_else(garbage: bytes) -> None:
    async def talk() -> None:
        async with house() as home, home.client() as good, home.client() as bad:
            home.publisher.publish({VIEW: world("C a=1")})
            await good.asks("C")
            await bad.call.write(garbage)
            code, message = await bad.status()
            assert code == "INVALID_ARGUMENT"
            assert "DiscoveryRequest" in message
            assert bodies(await good.reads()) == [b"a=1"]

    run(talk)


def test_a_flood_is_cut_off() -> None:
    async def talk() -> None:
        async with house(requests_per_s=1.0, burst=20) as home, home.client() as client:
            for _ in range(21):
                await client.asks("E", "a", nonce="stale")
            assert await client.status() == ("RESOURCE_EXHAUSTED", "more than 1 requests a second")

    run(talk)


def test_a_stream_that_says_nothing_is_ended() -> None:
    async def talk() -> None:
        async with house(first_request_s=0.05) as home, home.client() as client:
            assert (await client.status())[0] == "DEADLINE_EXCEEDED"

    run(talk)


def test_too_many_streams_are_refused() -> None:
    async def talk() -> None:
        async with house(max_streams=1) as home, home.client() as first:
            home.publisher.publish({VIEW: world("C a=1")})
            await first.asks("C")
            await first.reads()
            async with home.client() as second:
                assert (await second.status())[0] == "RESOURCE_EXHAUSTED"

    run(talk)


def test_streams_that_come_while_the_loop_is_busy_wait_and_none_is_refused() -> None:
    """gRPC takes them in threads of its own; with its own limits it refuses some as soon as 1,000 wait."""
    connections, streams = 20, range(1, 200, 2)

    async def talk() -> None:
        async with house() as home:
            address = ("127.0.0.1", home.port)
            sockets = [open_.enter_context(socket.create_connection(address, LIMIT)) for _ in range(connections)]
            for one in sockets:
                one.sendall(preface() + b"".join(call(METHOD, number) for number in streams) + frame(PING, 0, 0, PONG))
            for one in sockets:  # not awaited: the server's loop stands still meanwhile
                assert {kind for kind, _ in frames_until_pong(one)} == {SETTINGS, WINDOW, PING}
            for one in sockets:
                one.sendall(b"".join(message(HELLO, number) for number in streams))
            await until(lambda: len(home.said(Connected)) == connections * len(streams))

    with ExitStack() as open_:
        run(talk)


def frames_until_pong(one: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield what the server sends, up to the answer to our ping: by then it has taken what came before it."""
    with one.makefile("rb") as file:
        while True:
            head = file.read(9)
            kind, flags, payload = head[3], head[4], file.read(int.from_bytes(head[:3], "big"))
            if kind == SETTINGS and not flags & ACK:
                one.sendall(frame(SETTINGS, ACK, 0, b""))
            yield kind, payload
            if kind == PING and payload == PONG:
                return


def test_one_address_has_its_share_of_them_and_gets_it_back() -> None:
    async def talk() -> None:
        async with house(max_streams_of_one=1) as home, home.client() as first:
            home.publisher.publish({VIEW: world("C a=1")})
            await first.asks("C")
            await first.reads()
            async with home.client() as second:
                refusal = "more than 1 streams of one certificate or address"
                assert await second.status() == ("RESOURCE_EXHAUSTED", refusal)
            first.call.cancel()
            await until(lambda: not home.server.clients())
            async with home.client() as third:
                await third.asks("C")
                assert bodies(await third.reads()) == [b"a=1"]

    run(talk)


def test_stopping_tells_clients_to_come_back() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as idle, home.client() as client:
            home.publisher.publish({VIEW: world("C a=1")})
            await client.asks("C")
            await client.reads()
            await idle.asks("E", "nothing")
            await until(lambda: len(home.server.clients()) == 2)
            await home.server.stop()
            assert (await client.status())[0] == "UNAVAILABLE"
            assert (await idle.status())[0] == "UNAVAILABLE"

    run(talk)


def test_a_taken_port_is_an_error_that_names_it() -> None:
    async def talk() -> None:
        async with house() as home:
            address = f"127.0.0.1:{home.port}"
            second = XdsServer(address, assign=assign, publisher=Publisher(), on_event=home.heard.append)
            with pytest.raises(BindError, match=address):
                await second.start()

    run(talk)


def test_a_client_that_goes_away_while_it_is_written_to_harms_nobody() -> None:
    async def talk() -> None:
        async with house() as home, home.client() as stays:
            large = world(*(f"C c{n}={'x' * 10_000}" for n in range(200)))
            home.publisher.publish({VIEW: world("C a=1")})
            await stays.asks("C")
            await stays.acks(await stays.reads())
            async with home.client() as leaves:
                await leaves.asks("C")
                await leaves.acks(await leaves.reads())
                await until(lambda: len(home.said(Acked)) == 2)
                home.publisher.publish({VIEW: large})
                leaves.call.cancel()
            assert len(bodies(await stays.reads())) == 200
            await until(lambda: len(home.server.clients()) == 1)

    run(talk)
