"""What our configuration adds to a request: an Envoy with it against the same Envoy with a bare static route.

Both are the same binary with the same flags and forward to the same upstream: another Envoy that answers by itself, in
tens of microseconds, so that the proxies' own time is nearly all there is and a ratio hides nothing. The bare one has a
route "/" to a cluster with the two local endpoints. Ours is what `xds-server serve` sends for one service in four
regions.

Open loop, a request every two milliseconds on one connection; a latency counts from when the request was due. Runs of
half a second alternate, and who goes first alternates too; the ratio is of neighbours: whatever else the machine does
hits both.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from statistics import median, quantiles

from bench.bare_envoy import FORWARDS, config, listener
from bench.figures import Figure
from bench.run import CannotMeasureError, Run
from bench.stage import LIMIT_S, Stage, answering, listening, stage
from bench.world import FOUR
from xds_server.demo.processes import until

_REACH = 1.05
_EVERY_S = 0.002
_SPIN_S = 0.0004
_REQUESTS = 250
_POOLED = 10
_ASK = b"GET /cart HTTP/1.1\r\nhost: service-0000\r\n\r\n"
_ANSWER = b"\r\n\r\nok"


def latency(run: Run) -> list[Figure]:
    """Measure the two in turns."""
    with stage(run, 1) as here:
        asyncio.run(_begin(run, here))
        pairs = run.pick(120, 3)
        run.say(f"{pairs} pairs of {_REQUESTS} requests")
        with _connected(here.listen) as ours, _connected(here.spare) as bare:
            for warm in (ours, bare):
                _batch(warm)
            batches = [_pair(ours, bare, turn) for turn in range(pairs)]
    return _figures(batches)


async def _begin(run: Run, here: Stage) -> None:
    run.say("starting the upstream, the control plane and two Envoys")
    await here.upstream()
    _, ready, _ = await asyncio.to_thread(here.serve)
    await here.sidecar(FOUR[0], ready.xds)
    here.envoy("bare", config([listener(here.spare, FORWARDS)], here.upstream_ports[:2]))
    await until(listening([here.admin_ports[FOUR[0]]]), LIMIT_S, here.children, "the sidecar has its listener")
    await until(answering([here.spare]), LIMIT_S, here.children, "the bare Envoy answers")


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _pair(ours: socket.socket, bare: socket.socket, turn: int) -> tuple[list[float], list[float]]:
    """Return the latencies of a run of each, in µs."""
    if turn % 2:
        second = _batch(bare)
        return _batch(ours), second
    return _batch(ours), _batch(bare)


def _batch(connection: socket.socket) -> list[float]:
    values = []
    due = time.perf_counter()
    for _ in range(_REQUESTS):
        due += _EVERY_S
        _wait(due)
        connection.sendall(_ASK)
        answer = b""
        while not answer.endswith(_ANSWER):
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


def _figures(batches: Sequence[tuple[list[float], list[float]]]) -> list[Figure]:
    ours, bare = ([pair[which] for pair in batches] for which in (0, 1))
    ratios = [median(a) / median(b) for a, b in batches]
    figures = [
        Figure("latency p50, our configuration ÷ bare static route", "×", tuple(ratios), _REACH, "pair by pair"),
        Figure("latency p50, our configuration", "µs", tuple(median(batch) for batch in ours)),
        Figure("latency p50, bare static route", "µs", tuple(median(batch) for batch in bare)),
    ]
    for name, runs in (("our configuration", ours), ("bare static route", bare)):
        note = f"of {_POOLED} runs together, {_POOLED * _REQUESTS:,} requests" if len(runs) >= _POOLED else ""
        figures.append(Figure(f"latency p99, {name}", "µs", _p99(runs), note=note))
    return figures


def _p99(runs: Sequence[list[float]]) -> tuple[float, ...]:
    """Return the 99th percentile of every ten runs pooled: one run has too few requests for it."""
    pools = [runs[i : i + _POOLED] for i in range(0, len(runs), _POOLED)]
    return tuple(quantiles([value for run in pool for value in run], n=100)[98] for pool in pools)
