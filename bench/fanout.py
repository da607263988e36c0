"""One change to many streams: what it costs the server a stream, its ACK included, and how long until all have it.

The server is in this process and the clients in others, so this process's CPU time (all threads) is the server's. Each
client has a connection and a stream of its own and subscribes as an Envoy does: clusters, assignments, listener and
routes; by SotW, and by delta. The change is one of weights: one response with all routes (its size is in the name of
the figure) and one ACK.

Beside it, in the same run, a bare `grpc.aio` handler writes one encoded payload of the same size to the same clients:
what gRPC in Python costs by itself. The ratio says what the conversation adds, on any machine. An idle stream's memory
is what the process grows by from before its clients connect until they have everything, divided by their number.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from bench.acks import Acks
from bench.bare import BareServer
from bench.figures import Figure
from bench.run import Run
from bench.world import FOUR, Incident, policy
from xds_server.model import ViewKey
from xds_server.protocol.events import Acked, Identified, Nacked
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.transport.clients import ClientEvent
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import XdsServer

_CLIENT_PROCESSES = 2
_TURNS = 2
_SETTLE_S = 0.5
_VIEW = ViewKey("default", FOUR[0])


@dataclass(frozen=True, slots=True)
class _Measured:
    """What changes took, server CPU a stream and time until all had acknowledged it; and memory a stream, at rest."""

    cpu_us: tuple[float, ...] = ()
    ms: tuple[float, ...] = ()
    kb: tuple[float, ...] = ()

    def __add__(self, more: _Measured) -> _Measured:
        return _Measured(self.cpu_us + more.cpu_us, self.ms + more.ms, self.kb + more.kb)


class Server(Protocol):
    """Something that streams routes to clients and counts their ACKs of them."""

    acks: Acks

    async def start(self) -> int:
        """Listen; return the port."""

    def push(self, which: int) -> None:
        """Send everyone the one or the other routes."""

    async def stop(self) -> None:
        """End all streams."""


def fanout(run: Run) -> list[Figure]:
    """Measure ours and the bare one, in turns."""
    streams, changes = run.pick((1_000, 7), (50, 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * streams + 1_000)), hard))
    figures = []
    for services in run.pick((1, 100), (1,)):
        pair = _two_snapshots(services)
        payload = len(_routes_of(pair[0]))
        figures += asyncio.run(_both(run, pair, streams, changes, f"{streams:,} streams, {payload / 1000:.1f} kB"))
    return figures


def _two_snapshots(services: int) -> tuple[Snapshot, Snapshot]:
    """Return two snapshots that differ in weights alone."""
    incident = Incident()
    incident.begin(policy(services, FOUR))
    calm = incident.snapshots[_VIEW]
    for _ in range(2):
        incident.step(incident.seen(_VIEW.region))
    moved = incident.snapshots[_VIEW].resources[TypeUrl.ROUTE]
    rest = [r for url, by_name in calm.resources.items() if url != TypeUrl.ROUTE for r in by_name.values()]
    return calm, Snapshot.of([*rest, *moved.values()])


def _routes_of(snapshot: Snapshot) -> bytes:
    (routes,) = snapshot.resources[TypeUrl.ROUTE].values()
    return routes.body


async def _both(run: Run, pair: tuple[Snapshot, Snapshot], streams: int, changes: int, size: str) -> list[Figure]:
    ours, delta, bare = _Measured(), _Measured(), _Measured()
    for turn in range(_TURNS):
        run.say(f"turn {turn + 1}, SotW, {size}")
        ours += await _measure(_Ours(pair), streams, changes)
        run.say(f"turn {turn + 1}, delta, {size}")
        delta += await _measure(_Ours(pair), streams, changes, delta=True)
        run.say(f"turn {turn + 1}, bare handler, {size}")
        bare += await _measure(BareServer(pair), streams, changes)
    return [
        Figure(f"server CPU a stream, with ACK, {size}", "µs CPU", ours.cpu_us),
        Figure(f"the same in delta, {size}", "µs CPU", delta.cpu_us),
        Figure(f"the same, bare grpc.aio handler, {size}", "µs CPU", bare.cpu_us),
        Figure(f"ours ÷ bare, {size}", "×", (median(ours.cpu_us) / median(bare.cpu_us),)),
        Figure(f"change published → last ACK, {size}", "ms", ours.ms),
        Figure(f"the same in delta, {size}", "ms", delta.ms),
        Figure(f"the same, bare grpc.aio handler, {size}", "ms", bare.ms),
        Figure(f"memory of an idle stream, first fleet of the process, {size}", "kB", ours.kb[:1]),
    ]


async def _measure(server: Server, streams: int, changes: int, *, delta: bool = False) -> _Measured:
    """Return what each change cost."""
    before = resident_kb()
    async with _clients(server, streams, delta=delta):
        values = _Measured(kb=((resident_kb() - before) / streams,))
        for which in itertools.islice(itertools.cycle((1, 0)), changes):
            expected = server.acks.count + streams
            cpu, clock = time.process_time(), time.perf_counter()
            server.push(which)
            await server.acks.reach(expected)
            used = (time.process_time() - cpu) * 1e6 / streams
            values += _Measured((used,), ((time.perf_counter() - clock) * 1e3,))
        return values


@asynccontextmanager
async def _clients(server: Server, streams: int, *, delta: bool) -> AsyncIterator[None]:
    """Connect all clients; without us they would end when their streams do."""
    port = await server.start()
    each = streams // _CLIENT_PROCESSES
    argv = [sys.executable, "-m", "bench.fanout_client", "--port", str(port), "--streams", str(each)]
    argv += ["--delta"] if delta else []
    children = [_started(argv) for _ in range(_CLIENT_PROCESSES)]
    try:
        await server.acks.reach(streams)
        await asyncio.sleep(_SETTLE_S)  # what connecting left behind is not to be measured
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            await asyncio.to_thread(child.wait)
        await server.stop()


def resident_kb() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1_000


def _started(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv)


class _Ours:
    """The product's server."""

    def __init__(self, pair: tuple[Snapshot, Snapshot]) -> None:
        self._pair = pair
        self._publisher = Publisher()
        self._server = XdsServer("127.0.0.1:0", assign=self._assign, publisher=self._publisher, on_event=self._heard)
        self.acks = Acks()

    async def start(self) -> int:
        self._publisher.publish({_VIEW: self._pair[0]})
        return await self._server.start()

    def push(self, which: int) -> None:
        self._publisher.publish({_VIEW: self._pair[which]})

    async def stop(self) -> None:
        await self._server.stop(0.0)

    @staticmethod
    def _assign(_: Identified, __: object) -> ViewKey:
        return _VIEW

    def _heard(self, event: ClientEvent) -> None:
        assert not isinstance(event.what, Nacked), event.what
        if isinstance(event.what, Acked) and event.what.type_url == TypeUrl.ROUTE:
            self.acks.add()
