"""The load: `python -m xds_server.demo.load --rps 400 --sidecar us-east-1=10001 ... --share us-east-1=0.4 ...`.

A process of its own, so that neither the screen nor anything else delays a request. It sends by the schedule of `mix`
through every sidecar, over kept-alive connections of which it opens as many as are needed at once, and writes a
`tally.Delta` as a JSON line to standard output twice a second. The time of a request starts when it was due, also if
this process was late in sending it; how late it was at worst is in the line, so that a starved load can be told from a
slow fleet. The first line is `{"started_at": ...}`, the system's monotonic clock at second 0.

`--duration` ends the sending; what is in flight then gets `--drain` seconds. SIGTERM does the same at once. The last
line has `"last": true`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from xds_server.demo.histogram import merged, quantile
from xds_server.demo.http1 import Asking, Response
from xds_server.demo.mix import Due, Kind, Mix
from xds_server.demo.tally import SLOT_S, Delta

_CONNECTIONS_PER_SIDECAR = 4_000
_TIMEOUT_S = 30.0
_NAP_S = 0.1
_BODY = b'{"cart": 17}'


@dataclass(slots=True)
class _Call:
    due: Due
    connection: Asking | None = None
    over: bool = False


class Sidecar:
    """One Envoy as the load sees it: an address and a pool of connections, the most recently used first."""

    def __init__(self, at: tuple[str, int], host: str) -> None:
        self._at = at
        self._host = host
        self._idle: list[Asking] = []
        self._open = 0
        self._connecting: set[asyncio.Task[None]] = set()

    def send(self, call: _Call, done: Callable[[Response | None], None]) -> None:
        """Send a request on an idle connection, or on a new one; None if neither can be had."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                self._ask(connection, call, done)
                return
        if self._open >= _CONNECTIONS_PER_SIDECAR:
            done(None)
            return
        self._open += 1
        task = asyncio.get_running_loop().create_task(self._connect(call, done))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, call: _Call, done: Callable[[Response | None], None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Asking(self._closed), *self._at)
        except OSError:
            self._open -= 1
            done(None)
            return
        if call.over:
            self._idle.append(connection)
        else:
            self._ask(connection, call, done)

    def _ask(self, connection: Asking, call: _Call, done: Callable[[Response | None], None]) -> None:
        def finished(response: Response | None) -> None:
            if connection.reusable:
                self._idle.append(connection)
            done(response)

        call.connection = connection
        write = call.due.kind is not Kind.READ
        headers = [("host", self._host), ("x-view", call.due.view), ("x-demo-id", str(call.due.number))]
        if call.due.kind is Kind.KEYED_WRITE:
            headers.append(("idempotency-key", f"demo-{call.due.number}"))
        connection.ask("POST" if write else "GET", "/cart", headers, _BODY if write else b"", finished)

    def _closed(self, _: Asking) -> None:
        self._open -= 1


class Load:
    """Sends by schedule and keeps the score."""

    def __init__(self, mix: Mix, sidecars: dict[str, Sidecar]) -> None:
        self._mix = mix
        self._sidecars = sidecars
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, _Call] = {}
        self._delta = Delta()
        self._start = self._loop.time()
        self._draining = False
        self._quiet = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Requests that are not over."""
        return len(self._calls)

    async def send(self, duration_s: float, stop: asyncio.Event) -> None:
        """Send until the time is over or `stop` is set."""
        self._start = self._loop.time()
        number = 0
        while not stop.is_set():
            due = self._mix.request(number)
            if due.at_s >= duration_s:
                return
            wait = self._start + due.at_s - self._loop.time()
            if wait > 0.0:
                await asyncio.sleep(min(wait, _NAP_S))
                continue
            self._send(due, -wait)
            number += 1
            if number % 64 == 0:
                await asyncio.sleep(0)

    def _send(self, due: Due, late_s: float) -> None:
        call = _Call(due)
        self._calls[due.number] = call
        self._delta.sent += 1
        self._delta.lag_ms = max(self._delta.lag_ms, late_s * 1000.0)
        self._sidecars[due.view].send(call, lambda response: self._over(call, response))

    def _over(self, call: _Call, response: Response | None) -> None:
        if call.over:
            return
        call.over = True
        del self._calls[call.due.number]
        if self._draining and not self._calls:
            self._quiet.set()
        status = None if response is None else response.status
        body = "" if response is None else response.body.decode("latin-1").strip()
        latency_ms = (self._loop.time() - self._start - call.due.at_s) * 1000.0
        self._delta.record(call.due, status, body, latency_ms)

    async def drain(self, limit_s: float) -> None:
        """Wait until nothing is in flight; give up what still is after the limit."""
        self._draining = True
        if self._calls:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), limit_s)
        self.expire(0.0)

    def expire(self, older_than_s: float) -> None:
        """Give up requests that were due longer ago than that."""
        limit = self._loop.time() - self._start - older_than_s
        for call in [call for call in self._calls.values() if call.due.at_s <= limit]:
            self._over(call, None)
            if call.connection is not None:
                call.connection.close()

    def take(self) -> Delta:
        """Return what happened since the last call."""
        delta, self._delta = self._delta, Delta()
        delta.in_flight = self.in_flight
        return delta


async def report(load: Load, words: Callable[[Delta], str], every_s: float) -> None:
    """Write a line every so often, for ever."""
    while True:
        await asyncio.sleep(every_s)
        load.expire(_TIMEOUT_S)
        write(words(load.take()))


def as_json(delta: Delta) -> str:
    """Return what happened as one JSON line, for the program that started this one."""
    return json.dumps(delta.to_json(), separators=(",", ":"))


def brief(delta: Delta) -> str:
    """Return what happened in words, for the log of a container."""
    latency = merged(cell.latency for cell in delta.cells.values())
    times = f"p50 {quantile(latency, 0.5) or 0:.0f} ms, p99 {quantile(latency, 0.99) or 0:.0f} ms"
    served = ", ".join(f"{region} {count}" for region, count in sorted(delta.served_by.items()))
    failed = ", ".join(f"{count} {status}" for status, count in sorted(delta.failed_by_status.items()))
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(delta.failed_by_kind.items()))
    losses = f"{failed} ({kinds})" if failed else "0"
    return f"{delta.completed_by_view.total()} requests, failed {losses}; {times}; served by {served or 'nobody'}"


def write(line: str) -> None:
    """Write one line to standard output."""
    os.write(1, line.encode() + b"\n")


async def run(arguments: argparse.Namespace) -> None:
    """Send, drain, and write the last line."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sidecars = {view: Sidecar(_address(text), arguments.host) for view, text in _pairs(arguments.sidecar)}
    share = {view: float(text) for view, text in _pairs(arguments.share)}
    load = Load(Mix(arguments.rps, share), sidecars)
    words, every_s = (as_json, SLOT_S) if arguments.brief is None else (brief, arguments.brief)
    if arguments.brief is None:
        write(json.dumps({"started_at": loop.time()}))
    reporting = loop.create_task(report(load, words, every_s))
    await load.send(arguments.duration or float("inf"), stop)
    await load.drain(arguments.drain)
    reporting.cancel()
    write(words(load.take()) if arguments.brief else json.dumps({**load.take().to_json(), "last": True}))


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


def arguments_of(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m xds_server.demo.load", description="An open-loop load.")
    parser.add_argument("--rps", type=float, required=True, help="requests per second in total")
    parser.add_argument("--duration", type=float, help="seconds to send for (default: until SIGTERM)")
    parser.add_argument("--drain", type=float, default=20.0, help="seconds for what is in flight (default %(default)s)")
    parser.add_argument("--host", default="checkout.demo", help="the Host header (default %(default)s)")
    parser.add_argument("--sidecar", action="append", required=True, metavar="VIEW=[HOST:]PORT")
    parser.add_argument("--share", action="append", required=True, metavar="VIEW=SHARE", help="of the requests")
    parser.add_argument("--brief", type=float, metavar="SECONDS", help="write a line for people this often, not JSON")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Run the load until it is over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 32_768)), hard))
    asyncio.run(run(arguments_of(argv)))


if __name__ == "__main__":
    main(sys.argv[1:])
