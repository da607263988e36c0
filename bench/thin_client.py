"""Thousands of ADS clients in one process, cheap enough not to be what is measured.

    python -m bench.thin_client --port 18000 --streams 2500 [--delta] [--node-bytes 61000] [--ping-every 30]

Waits for a line on standard input, connects them all at once, and prints a line of JSON when the last has all its
configuration: seconds since then, CPU seconds of this process, how many were cut off, how often one tried again. Then
acknowledges what it is sent until it is ended, and answers each further line with its CPU seconds so far. Clients that
have everything ping, each at a time of its own, as Envoys do whose bootstrap says so.

A client that does not get through connects again after a while, as an Envoy does: cut off before it has everything, not
connected, or not answered a byte in ANSWER_S. `retried` counts those; `lost` counts clients cut off with all they need.

A connection each, as Envoys have, and on it one HTTP/2 stream of frames made beforehand: gRPC's own client costs more a
connection than the server does. What such a client must do is little: settings, pings, window updates, and messages
with five bytes before them (RFC 9113; "gRPC over HTTP2"). Header blocks of the server are not decoded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.world import FOUR
from xds_server.snapshot.listeners import ROUTE_CONFIGURATION
from xds_server.snapshot.resource import TypeUrl
from xds_server.transport.server import SERVICE

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STREAM = 1
LARGEST_FRAME = 16_384
LARGE_WINDOW = 2**31 - 1 - 65_535
REFILL = 2**20
"""A window update is sent each time this much was read."""
BACK_OFF_S = 0.5
BACK_OFF_MOST_S = 5.0
ANSWER_S = 15.0
"""How long a connection may be silent at its beginning."""

TYPES = (TypeUrl.CLUSTER, TypeUrl.ENDPOINT, TypeUrl.LISTENER, TypeUrl.ROUTE)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(data: bytes, stream: int = STREAM) -> bytes:
    """Return a gRPC message as DATA frames."""
    whole = b"\0" + struct.pack(">I", len(data)) + data
    pieces = [whole[at : at + LARGEST_FRAME] for at in range(0, len(whole), LARGEST_FRAME)]
    return b"".join(frame(DATA, 0, stream, piece) for piece in pieces)


def preface() -> bytes:
    """Return what a connection begins with: settings, and a large window."""
    settings = struct.pack(">HI", 4, 2**31 - 1)  # SETTINGS_INITIAL_WINDOW_SIZE
    window = struct.pack(">I", LARGE_WINDOW)
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings) + frame(WINDOW, 0, 0, window)


def call(path: str, stream: int = STREAM) -> bytes:
    """Return what a gRPC stream begins with."""
    headers = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"bench"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    )  # fmt: skip
    block = b"".join(b"\0" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in headers)
    return frame(HEADERS, END_HEADERS, stream, block)


def node(size: int) -> base_pb2.Node:
    """Return a node of about `size` bytes: an Envoy lists the extensions that it was built with."""
    made = base_pb2.Node(
        id="client",
        cluster="default",
        locality=base_pb2.Locality(region=FOUR[0]),
        user_agent_name="envoy",
        user_agent_build_version=base_pb2.BuildVersion(version={"major_number": 1, "minor_number": 40}),
    )
    while made.ByteSize() < size:
        made.extensions.add(
            name=f"envoy.filters.http.extension_{len(made.extensions)}",
            category="envoy.filters.http",
            type_urls=["envoy.extensions.filters.http.some_extension.v3.SomeExtension"],
        )
    return made


class Fleet:
    """All clients of this process."""

    def __init__(self, port: int, streams: int, *, delta: bool, node_bytes: int, ping_every_s: float) -> None:
        self.delta = delta
        self.ping_every_s = ping_every_s
        self.lost = 0
        self.retried = 0
        self._port = port
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        self._opening = preface() + call(f"/{SERVICE}/{method}")
        who = node(node_bytes)
        self._firsts = [self._first(number, who) for number in range(streams)]

    def _first(self, number: int, who: base_pb2.Node) -> bytes:
        who.id = f"client-{number}"
        if self.delta:
            asked = [
                discovery_pb2.DeltaDiscoveryRequest(node=who, type_url=TypeUrl.CLUSTER),
                discovery_pb2.DeltaDiscoveryRequest(type_url=TypeUrl.LISTENER),
                discovery_pb2.DeltaDiscoveryRequest(
                    type_url=TypeUrl.ROUTE, resource_names_subscribe=[ROUTE_CONFIGURATION]
                ),
            ]
        else:
            asked = [
                discovery_pb2.DiscoveryRequest(node=who, type_url=TypeUrl.CLUSTER),
                discovery_pb2.DiscoveryRequest(type_url=TypeUrl.LISTENER),
                discovery_pb2.DiscoveryRequest(type_url=TypeUrl.ROUTE, resource_names=[ROUTE_CONFIGURATION]),
            ]
        return self._opening + b"".join(message(request.SerializeToString()) for request in asked)

    async def connect(self) -> None:
        """Open all connections at once, and wait until the last client has all its configuration."""
        await asyncio.gather(*map(self._bring_up, self._firsts))
        self._firsts.clear()

    async def _bring_up(self, first: bytes) -> None:
        longest = BACK_OFF_S
        while not await self._through(Client(self, first)):
            self.retried += 1
            await asyncio.sleep(random.uniform(0, longest))
            longest = min(2 * longest, BACK_OFF_MOST_S)

    async def _through(self, client: Client) -> bool:
        """Connect a client; return whether it came to have all its configuration."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self._port)
                await client.answered.wait()
        except (OSError, TimeoutError):
            client.abandon()
            return False
        return await client.outcome


class Client(asyncio.Protocol):
    """One client."""

    def __init__(self, fleet: Fleet, first: bytes) -> None:
        self._fleet = fleet
        self._first = first
        self.answered = asyncio.Event()
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._read = b""
        self._body = b""
        self._unrefilled = 0
        self._names: dict[str, Sequence[str]] = {TypeUrl.ROUTE: (ROUTE_CONFIGURATION,)}
        self._missing = set(TYPES)
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Send the first requests."""
        self._transport = transport
        transport.write(self._first)
        self._first = b""

    def connection_lost(self, _: Exception | None) -> None:
        """Note that the client was cut off, and whether it had everything."""
        self.answered.set()
        if not self.outcome.done():
            self.outcome.set_result(False)
        elif self.outcome.result():
            self._fleet.lost += 1

    def ping_from(self, seconds: float) -> None:
        """Ping after so many seconds, and then for ever."""
        asyncio.get_running_loop().call_later(seconds, self._ping)

    def _ping(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(frame(PING, 0, 0, b"envoyish"))
            self.ping_from(self._fleet.ping_every_s)

    def abandon(self) -> None:
        """Have nothing more to do with this connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take whole frames."""
        self.answered.set()
        data = self._read + data if self._read else data
        at = 0
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            self._frame(data[at + 3], data[at + 4], data[at + 9 : at + 9 + size])
            at += 9 + size
        self._read = data[at:]

    def _frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == DATA:
            self._data(payload)
        elif kind == SETTINGS and not flags & ACK:
            self._transport.write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))
        elif kind in {GOAWAY, RST} or (kind == HEADERS and flags & END_STREAM):
            self._transport.close()

    def _data(self, payload: bytes) -> None:
        self._unrefilled += len(payload)
        if self._unrefilled > REFILL:
            update = struct.pack(">I", self._unrefilled)
            self._transport.write(frame(WINDOW, 0, 0, update) + frame(WINDOW, 0, STREAM, update))
            self._unrefilled = 0
        body = self._body + payload if self._body else payload
        while len(body) >= 5 and len(body) >= 5 + (size := int.from_bytes(body[1:5], "big")):
            self._message(body[5 : 5 + size])
            body = body[5 + size :]
        self._body = body

    def _message(self, data: bytes) -> None:
        answers = self._delta(data) if self._fleet.delta else self._sotw(data)
        self._transport.write(b"".join(map(message, answers)))

    def _sotw(self, data: bytes) -> list[bytes]:
        response = discovery_pb2.DiscoveryResponse.FromString(data)
        url = response.type_url
        new = url == TypeUrl.CLUSTER and TypeUrl.ENDPOINT not in self._names
        request = discovery_pb2.DiscoveryRequest
        ack = request(
            type_url=url,
            resource_names=self._names.get(url, ()),
            version_info=response.version_info,
            response_nonce=response.nonce,
        )
        answers = [ack.SerializeToString()]
        if new:
            self._names[TypeUrl.ENDPOINT] = _names(response.resources)
            asked = request(type_url=TypeUrl.ENDPOINT, resource_names=self._names[TypeUrl.ENDPOINT])
            answers.append(asked.SerializeToString())
        self._have(url)
        return answers

    def _delta(self, data: bytes) -> list[bytes]:
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        url = response.type_url
        request = discovery_pb2.DeltaDiscoveryRequest
        answers = [request(type_url=url, response_nonce=response.nonce).SerializeToString()]
        if url == TypeUrl.CLUSTER and TypeUrl.ENDPOINT not in self._names:
            self._names[TypeUrl.ENDPOINT] = [resource.name for resource in response.resources]
            asked = request(type_url=TypeUrl.ENDPOINT, resource_names_subscribe=self._names[TypeUrl.ENDPOINT])
            answers.append(asked.SerializeToString())
        if url == TypeUrl.ROUTE and TypeUrl.VIRTUAL_HOST not in self._names:
            self._names[TypeUrl.VIRTUAL_HOST] = (ROUTE_CONFIGURATION,)
            answers.append(request(type_url=TypeUrl.VIRTUAL_HOST).SerializeToString())
        self._have(url)
        return answers

    def _have(self, url: str) -> None:
        if url in self._missing:
            self._missing.remove(url)
            if not self._missing and not self.outcome.done():
                self.outcome.set_result(True)
                if every := self._fleet.ping_every_s:
                    self.ping_from(random.uniform(0, every))


def _names(resources: Any) -> list[str]:
    """Return the names of clusters: each is its message's first field."""
    return [resource.value[2 : 2 + resource.value[1]].decode() for resource in resources]


async def run(arguments: argparse.Namespace) -> None:
    """Wait for the word, connect, tell, stay."""
    fleet = Fleet(
        arguments.port,
        arguments.streams,
        delta=arguments.delta,
        node_bytes=arguments.node_bytes,
        ping_every_s=arguments.ping_every,
    )
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say({"ready": True})
    await lines.readline()
    started, cpu = time.monotonic(), time.process_time()
    await fleet.connect()
    took, used = time.monotonic() - started, time.process_time() - cpu
    say({"seconds": took, "cpu_s": used, "lost": fleet.lost, "retried": fleet.retried})
    while await lines.readline():
        say({"cpu_s": time.process_time(), "lost": fleet.lost, "retried": fleet.retried})


def say(value: object) -> None:
    """Print a line for the parent."""
    print(json.dumps(value), flush=True)


def main(argv: Sequence[str]) -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.thin_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--node-bytes", type=int, default=0)
    parser.add_argument("--delta", action="store_true")
    parser.add_argument("--ping-every", type=float, default=0.0, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * arguments.streams + 1_000)), hard))
    asyncio.run(run(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
