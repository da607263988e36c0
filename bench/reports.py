"""Load reports: what one costs the server, and whether all that was reported is counted.

The server is in this process and the Envoys in others, so this process's CPU time (all threads) is the server's. Each
report is 61 KB, because Envoy repeats its whole node in it. The server takes them with the product's own service and
gRPC settings, and looks for garbage as seldom. Beside it, in the same run, a bare `grpc.aio` handler that reads the
same messages and does nothing: what is left of ours is the parsing and adding up.

From the cost follows how many Envoys can report each second with one core; more report at longer intervals.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc

from bench.figures import Figure
from bench.reports_client import ISSUED, SERVICES
from bench.run import CannotMeasureError, Run
from bench.world import FOUR, policy
from xds_server.model import LoadReport, ViewKey
from xds_server.protocol.events import Identified
from xds_server.signals.lrs import MOST_REPORTS_PER_S, SERVICE, LoadServer
from xds_server.signals.places import Places
from xds_server.transport.memory import collect_seldom
from xds_server.transport.options import TransportOptions, channel_options

_PROCESSES = 2
_LIMIT_S = 120.0
_CORE_US = 1e6


def reports(run: Run) -> list[Figure]:
    """Measure ours and the bare handler, in turns."""
    streams, each = run.pick((200, 50), (10, 10))
    collect_seldom(streams)
    ours: list[float] = []
    bare: list[float] = []
    lost = 0
    for turn in range(run.pick(3, 1)):
        run.say(f"turn {turn + 1}")
        used, counted = asyncio.run(_ours(streams, each))
        ours.append(used)
        lost += streams * each * SERVICES * len(FOUR) * ISSUED - counted
        bare.append(asyncio.run(_bare(streams, each)))
    size = f"61 kB, {streams} streams"
    fits = (
        f"beyond {MOST_REPORTS_PER_S:,} Envoys the interval grows: one core takes {_CORE_US / max(ours):,.0f} a second"
    )
    return [
        Figure(f"server CPU a load report, {size}", "µs CPU", tuple(ours), _CORE_US / 10_000, fits),
        Figure(f"the same, bare grpc.aio handler, {size}", "µs CPU", tuple(bare)),
        Figure("requests reported and not counted", "", (lost,), 0),
    ]


async def _ours(streams: int, each: int) -> tuple[float, int]:
    """Return the CPU time of a report in µs, and how many requests were counted."""
    places, told = Places(), list[LoadReport]()
    world = policy(SERVICES, FOUR)
    places.follow(world)

    def view_of(node: Identified) -> ViewKey:
        return ViewKey("default", node.region)

    server = LoadServer(told.append, places, view_of, time.monotonic)
    used = await _measure(server.handler(), lambda: server.counts.messages, streams, each)
    server.flush(0.0)
    return used, sum(report.issued for report in told)


async def _bare(streams: int, each: int) -> float:
    count = 0

    async def read(_: Any, context: Any) -> None:
        nonlocal count
        await context.read()
        await context.write(b"")
        while await context.read() is not grpc.aio.EOF:
            count += 1

    handler = grpc.stream_stream_rpc_method_handler(read)
    generic = grpc.method_handlers_generic_handler(SERVICE, {"StreamLoadStats": handler})
    return await _measure(generic, lambda: count, streams, each)


async def _measure(handler: grpc.GenericRpcHandler, count: Callable[[], int], streams: int, each: int) -> float:
    """Return the server's CPU time of one report in µs."""
    server = grpc.aio.server(options=channel_options(TransportOptions()))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    per = streams // _PROCESSES
    argv = [sys.executable, "-m", "bench.reports_client", f"--port={port}", f"--streams={per}", f"--reports={each}"]
    clients = [_Client(argv) for _ in range(_PROCESSES)]
    try:
        async with asyncio.timeout(_LIMIT_S):
            for client in clients:
                await asyncio.to_thread(client.ready)
            started = time.process_time()
            for client in clients:
                client.go()
            for client in clients:
                await asyncio.to_thread(client.wait)
        used = time.process_time() - started
    except TimeoutError as error:
        raise CannotMeasureError(f"only {count()} of {streams * each} reports arrived") from error
    finally:
        for client in clients:
            client.end()
        await server.stop(None)
    if count() != streams * each:
        raise CannotMeasureError(f"{count()} of {streams * each} reports arrived")
    return used * 1e6 / (streams * each)


class _Client:
    """A process of Envoys that says when all are connected, and sends when it is told to."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._words = self._process.stdin, self._process.stdout

    def ready(self) -> None:
        self._words.readline()

    def go(self) -> None:
        self._orders.write(b"\n")
        self._orders.close()

    def wait(self) -> None:
        self._process.wait()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._words.close()
        self._orders.close()
