"""What our configuration adds to a request: an Envoy with it against the same Envoy with a bare static route.

Both are the same binary with the same flags and forward to the same upstream. The bare one has a route "/" to a cluster
with the two local endpoints; ours is what `xds-server serve` sends for one service in four regions. There are two
upstreams: the demo's backends, which take two milliseconds as a fast service does, and another Envoy that answers by
itself, so that the proxies' own time is nearly all there is and the ratio hides nothing.

Open loop on one connection: a latency counts from when the request was due. Runs alternate, and who goes first
alternates too; the ratio is of neighbours: whatever else the machine does hits both.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from bench.bare_envoy import FORWARDS, config, listener
from bench.figures import Figure
from bench.run import CannotMeasureError, Run
from bench.stage import LIMIT_S, Stage, accepting, answering, listening, stage
from bench.world import FOUR
from xds_server.demo.processes import until

_REACH = 1.05
_SPIN_S = 0.0004
_REQUESTS = 250
_POOLED = 10
_ASK = b"GET /cart HTTP/1.1\r\nhost: service-0000\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Upstream:
    """What answers: the end of its answer, how often it is asked, and the reach that was set for it."""

    name: str
    start: Callable[[Stage], Awaitable[None]]
    answer: bytes
    every_s: float
    pairs: int
    reach: float | None = None


_DEMO = Upstream("backend of 2 ms", Stage.backends, b"\r\n\r\nany\n", 0.006, 40, _REACH)
_INSTANT = Upstream("upstream of 0 ms", Stage.upstream, b"\r\n\r\nok", 0.002, 120)


def latency(run: Run) -> list[Figure]:
    """Measure the two Envoys in turns, before each upstream."""
    return [figure for upstream in (_DEMO, _INSTANT) for figure in _latency(run, upstream)]


def _latency(run: Run, upstream: Upstream) -> list[Figure]:
    with stage(run, 1) as here:
        asyncio.run(_begin(here, upstream))
        pairs, requests = run.pick((upstream.pairs, _REQUESTS), (2, 50))
        run.say(f"{upstream.name}: {pairs} pairs of {requests} requests")
        with _connected(here.listen) as ours, _connected(here.spare) as bare:
            for warm in (ours, bare):
                _batch(warm, upstream, requests)
            batches = [_pair(ours, bare, turn, upstream, requests) for turn in range(pairs)]
    return _figures(batches, upstream)


async def _begin(here: Stage, upstream: Upstream) -> None:
    await upstream.start(here)
    _, ready, _ = await asyncio.to_thread(here.serve)
    await here.sidecar(FOUR[0], ready.xds)
    here.envoy("bare", config([listener(here.spare, FORWARDS)], here.upstream_ports[:2]))
    await until(listening([here.admin_ports[FOUR[0]]]), LIMIT_S, here.children, "the sidecar has its listener")
    await until(accepting(here.listen), LIMIT_S, here.children, "it takes connections")
    await until(answering([here.spare], "/healthz"), LIMIT_S, here.children, "the bare Envoy answers")


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


Batches = tuple[list[float], list[float]]


def _pair(ours: socket.socket, bare: socket.socket, turn: int, upstream: Upstream, requests: int) -> Batches:
    """Return the latencies of a run of each, in µs."""
    if turn % 2:
        second = _batch(bare, upstream, requests)
        return _batch(ours, upstream, requests), second
    return _batch(ours, upstream, requests), _batch(bare, upstream, requests)


def _batch(connection: socket.socket, upstream: Upstream, requests: int) -> list[float]:
    values = []
    due = time.perf_counter()
    for _ in range(requests):
        due += upstream.every_s
        _wait(due)
        connection.sendall(_ASK)
        answer = b""
        while not answer.endswith(upstream.answer):
            data = connection.recv(4096)
            if not data:
                raise CannotMeasureError(f"the proxy closed the connection after {answer!r}")
            answer += data
        if not answer.startswith(b"HTTP/1.1 200"):
            raise CannotMeasureError(f"the proxy answered {answer!r}")
        values.append((time.perf_counter() - due) * 1e6)
    return values


def _wait(due: float) -> None:
    """Sleep until shortly before, then spin: waking up late would be counted as latency."""
    left = due - time.perf_counter() - _SPIN_S
    if left > 0:
        time.sleep(left)
    while time.perf_counter() < due:
        pass


def _figures(batches: Sequence[Batches], upstream: Upstream) -> list[Figure]:
    name = upstream.name
    ours, bare = ([pair[which] for pair in batches] for which in (0, 1))
    ratios = [median(a) / median(b) for a, b in batches]
    figures = [
        Figure(f"p50, ours ÷ bare static route, {name}", "×", tuple(ratios), upstream.reach, "pair by pair"),
        Figure(f"p50, ours, {name}", "µs", tuple(median(batch) for batch in ours)),
        Figure(f"p50, bare static route, {name}", "µs", tuple(median(batch) for batch in bare)),
    ]
    for which, runs in (("ours", ours), ("bare static route", bare)):
        note = f"of {_POOLED} runs together, {_POOLED * _REQUESTS:,} requests" if len(runs) >= _POOLED else ""
        figures.append(Figure(f"p99, {which}, {name}", "µs", _p99(runs), note=note))
    return figures


def _p99(runs: Sequence[list[float]]) -> tuple[float, ...]:
    """Return the 99th percentile of every ten runs pooled: one run has too few requests for it."""
    pools = [runs[i : i + _POOLED] for i in range(0, len(runs), _POOLED)]
    return tuple(quantiles([value for run in pool for value in run], n=100)[98] for pool in pools)
