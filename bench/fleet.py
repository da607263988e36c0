"""A whole fleet on one server: what a change, an idle stream and a storm of reconnects cost at 1,000 to 10,000 clients.

Each row has a process of its own, in which the server is alone, so its CPU time is the server's and no row finds what
an earlier one left behind; the clients are in further processes (thin_client.py), with a connection each and a first
request that carries a node of a real Envoy's size. All are on the same cores: the clients' CPU time stands beside the
server's. A bare handler (bare.py) serves the same clients: the ratio says what the product adds.

    storm    all clients are cut off (their processes are killed), and all come back at once with nothing in hand
    change   the weights of one service: one response to everyone, and everyone's ACK
    idle     nothing happens for longer than the server's keepalive, so that everyone is pinged; and the same with
             pings of the clients as well, as often as our bootstrap has them
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple

from bench.acks import Acks
from bench.bare import BareServer
from bench.fanout import resident_kb
from bench.figures import Figure
from bench.run import CannotMeasureError, Run
from bench.snapshots import Round
from bench.world import FOUR, Incident, policy
from xds_server.model import Decision, ViewKey
from xds_server.protocol.events import Acked, Nacked
from xds_server.snapshot.bootstrap import PING_INTERVAL_MS
from xds_server.snapshot.kinds import kind_of
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.transport.clients import ClientEvent
from xds_server.transport.memory import LOOK_EVERY_S, collect_seldom
from xds_server.transport.options import TransportOptions
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import XdsServer

_SIZES = ((10, 1_000), (10, 5_000), (10, 10_000), (1_000, 200))
"""Services and streams. A client of the state of the world with 1,000 services is sent 2.7 MB of routes alone."""
_NODE_BYTES = 61_000
_PROCESSES = 4
_LEAST_OF_A_PROCESS = 100
_LIMIT_S = 300.0
_SETTLE_S = 2.5 * LOOK_EVERY_S
"""Until the server has given back what it needed for the rush."""
_IDLE_S = TransportOptions().keepalive_s + 10
_IDLE_STREAMS = 10_000
_CPU_REACH_US = 150.0
_STORM_REACH_S = 20.0
_MEMORY_REACH_KB = 60.0
_IDLE_REACH = 2.0
_BARE, _SOTW, _DELTA = "bare handler", "SotW", "delta"


class _Row(NamedTuple):
    """What is measured in one process."""

    services: int
    streams: int
    kind: str

    def __str__(self) -> str:
        return f"{self.streams:,} streams, {self.services:,} services, {self.kind}"


class _Change(NamedTuple):
    """What one change took: CPU of the server and of the clients in µs a stream, and ms until the last ACK."""

    cpu_us: float
    ms: float
    clients_us: float


def fleet(run: Run) -> list[Figure]:
    """Measure each size in both variants, and a bare handler."""
    sizes = run.pick(_SIZES, ((10, 100),))
    rows = [_Row(*size, kind) for size in sizes for kind in (_SOTW, _DELTA, _BARE) if kind != _BARE or size[0] == 10]
    figures = []
    for row in rows:
        run.say(str(row))
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found = process.submit(_row, replace(run, say=print), row).result()  # a voice that can be sent there
        except CannotMeasureError as problem:
            run.say(f"could not be measured: {problem}")
            continue
        run.say(", ".join(f"{median(figure.values):.2f} {figure.unit}" for figure in found))
        figures += found
    return figures


def _row(run: Run, row: _Row) -> list[Figure]:
    return asyncio.run(_bare(run, row) if row.kind == _BARE else _ours(run, row))


def _pair(services: int, *, delta: bool) -> tuple[Snapshot, Snapshot]:
    """Return two snapshots that differ in one service's weights."""
    of = policy(services, FOUR)
    incident = Incident()
    incident.begin(of)
    decision = incident.controller.decision
    assert decision is not None
    first, *others = decision.services
    turned = replace(first, weights=tuple((*row[1:], row[0]) for row in first.weights))
    moved = replace(decision, services=(turned, *others))
    round_ = Round(of)
    view = _view(delta=delta)
    return _built(round_, decision, view), _built(round_, moved, view)


def _view(*, delta: bool) -> ViewKey:
    return ViewKey("default", FOUR[0], kind_of("envoy", "1.40.0", delta=delta))


def _built(round_: Round, decision: Decision, view: ViewKey) -> Snapshot:
    return round_.build(decision, view)[view]


async def _bare(run: Run, row: _Row) -> list[Figure]:
    server = BareServer(_pair(row.services, delta=False))
    collect_seldom(row.streams)
    port = await server.start()
    try:
        before = resident_kb()
        with _fleet(port, row.streams, delta=False) as clients:
            took, _ = await _storm(clients)
            await asyncio.sleep(run.pick(_SETTLE_S, 0.2))
            memory = (resident_kb() - before) / row.streams
            changes = [await _change(server, clients, row.streams, which) for which in (1, 0) * run.pick(3, 1)]
    finally:
        await server.stop()
    return [
        *_of_changes(changes, row),
        Figure(f"all come → the last has everything, {row}", "s", (took,)),
        Figure(f"memory of an idle stream, nothing given back, {row}", "kB", (memory,)),
    ]


async def _ours(run: Run, row: _Row) -> list[Figure]:
    delta, streams = row.kind == _DELTA, row.streams
    server = _Server(_pair(row.services, delta=delta), delta=delta)
    port = await server.start()
    try:
        before = resident_kb()
        with _fleet(port, streams, delta=delta) as clients:
            await clients.connected()
            await asyncio.sleep(run.pick(_SETTLE_S, 0.2))
            memory = (resident_kb() - before) / streams
            changes = [await _change(server, clients, streams, which) for which in (1, 0) * run.pick(3, 1)]
            idle = await _idle(run, row)
        with _fleet(port, streams, delta=delta, ping_every_s=PING_INTERVAL_MS / 1000) as clients:
            storm, left = await _storm(clients)
            pinged = await _idle(run, row)
        await server.emptied()
        gc.collect()
        await asyncio.sleep(run.pick(_SETTLE_S, 0.2))
        kept = (resident_kb() - before) / streams
    finally:
        await server.stop()
    bounded = row.services <= 10
    return [
        *_of_changes(changes, row, _CPU_REACH_US if bounded or streams > 1_000 else None),
        Figure(f"all come back → the last has everything, {row}", "s", (storm,), _STORM_REACH_S, left),
        Figure(f"memory of an idle stream, {row}", "kB", (memory,), _MEMORY_REACH_KB if bounded else None),
        Figure(f"the same after all have left twice, {row}", "kB", (kept,)),
        *(Figure(f"CPU at rest, {row}", "% of a core", (used,), _IDLE_REACH) for used in idle),
        *(Figure(f"the same, clients ping as well, {row}", "% of a core", (used,)) for used in pinged),
    ]


def _of_changes(changes: list[_Change], row: _Row, reach: float | None = None) -> list[Figure]:
    notes = f"clients used {median(change.clients_us for change in changes):.0f} µs of CPU a stream themselves"
    used = tuple(change.cpu_us for change in changes)
    return [
        Figure(f"server CPU a stream, one change, {row}", "µs CPU", used, reach, notes),
        Figure(f"published → last ACK, {row}", "ms", tuple(change.ms for change in changes)),
    ]


async def _idle(run: Run, row: _Row) -> tuple[float, ...]:
    """Return the CPU time of a quiet while, in percent of a core; nothing where it is not asked for."""
    if row.streams < _IDLE_STREAMS and not run.quick:
        return ()
    cpu, clock = time.process_time(), time.perf_counter()
    await asyncio.sleep(run.pick(_IDLE_S, 0.5))
    return (100 * (time.process_time() - cpu) / (time.perf_counter() - clock),)


async def _change(server: _Server | BareServer, fleet: _Fleet, streams: int, which: int) -> _Change:
    """Publish, and wait for everybody's ACK."""
    expected = server.acks.count + streams
    busy = await fleet.cpu_s()
    cpu, clock = time.process_time(), time.perf_counter()
    server.push(which)
    await server.acks.reach(expected)
    used, took = time.process_time() - cpu, time.perf_counter() - clock
    busy = await fleet.cpu_s() - busy
    return _Change(used * 1e6 / streams, took * 1e3, busy * 1e6 / streams)


async def _storm(fleet: _Fleet) -> tuple[float, str]:
    """Let all connect; return the seconds until the last has everything, and what to say of it."""
    cpu, clock = time.process_time(), time.perf_counter()
    told = await fleet.connected()
    took, used = time.perf_counter() - clock, time.process_time() - cpu
    lost, retried = (sum(said[what] for said in told) for what in ("lost", "retried"))
    busy = sum(said["cpu_s"] for said in told)
    return (
        took,
        f"{retried} connected again, {lost} cut off; the server used {used:.1f} s of CPU, the clients {busy:.1f} s",
    )


class _Fleet:
    """Client processes, and what they say."""

    def __init__(self, children: list[subprocess.Popen[bytes]]) -> None:
        self._children = children

    async def connected(self) -> list[dict[str, Any]]:
        """Let all connect at once; return what each process said when its last client had everything."""
        return await self._each("go")

    async def cpu_s(self) -> float:
        """Return the CPU seconds of all of them so far."""
        return float(sum(said["cpu_s"] for said in await self._each("cpu")))

    async def _each(self, word: str) -> list[dict[str, Any]]:
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{word}\n".encode())
            child.stdin.flush()
        try:
            async with asyncio.timeout(_LIMIT_S):
                return list(await asyncio.gather(*(asyncio.to_thread(_said, child) for child in self._children)))
        except TimeoutError as late:
            raise CannotMeasureError(f"the clients were not ready in {_LIMIT_S:.0f} s") from late


def _said(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise CannotMeasureError("a client process ended")
    found: dict[str, Any] = json.loads(line)
    return found


@contextmanager
def _fleet(port: int, streams: int, *, delta: bool, ping_every_s: float = 0.0) -> Iterator[_Fleet]:
    processes = min(_PROCESSES, math.ceil(streams / _LEAST_OF_A_PROCESS))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, streams + 1_000)), hard))
    argv = [sys.executable, "-m", "bench.thin_client", "--port", str(port), "--streams", str(streams // processes)]
    argv += ["--node-bytes", str(_NODE_BYTES), "--ping-every", str(ping_every_s)] + (["--delta"] if delta else [])
    children = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for child in children:
            _said(child)
        yield _Fleet(children)
    finally:
        for child in children:
            child.kill()
            child.communicate()


class _Server:
    """The product's server with one view."""

    def __init__(self, pair: tuple[Snapshot, Snapshot], *, delta: bool) -> None:
        self.acks = Acks()
        self._pair, self._view = pair, _view(delta=delta)
        self._counted = TypeUrl.VIRTUAL_HOST if delta else TypeUrl.ROUTE
        self._publisher = Publisher()
        self._server = XdsServer(
            "127.0.0.1:0",
            assign=lambda *_: self._view,
            publisher=self._publisher,
            on_event=self._heard,
            options=TransportOptions(collect_seldom=True),  # as `serve` has it
        )

    async def start(self) -> int:
        self._publisher.publish({self._view: self._pair[0]})
        return await self._server.start()

    def push(self, which: int) -> None:
        self._publisher.publish({self._view: self._pair[which]})

    async def emptied(self) -> None:
        """Wait until nobody is connected."""
        async with asyncio.timeout(_LIMIT_S):
            while self._server.clients():  # noqa: ASYNC110  (the product tells nobody that it is empty)
                await asyncio.sleep(0.2)

    async def stop(self) -> None:
        await self._server.stop(0.0)

    def _heard(self, event: ClientEvent) -> None:
        assert not isinstance(event.what, Nacked), event.what
        if isinstance(event.what, Acked) and event.what.type_url == self._counted:
            self.acks.add()
