"""One mock backend: `python -m xds_server.demo.backend --region us-east-1 --port 8080 ...`.

It answers every request with the name of its region, after the round trip of the path between the request's view
(the `x-view` header, put there by the load) and its own region, plus a service time. Only the answer is delayed:
connecting is as fast as loopback. A request without the header is taken to be local.

`GET /healthz` is the health check. `POST /_control?delay_ms=300&error_rate=0.4&healthy=false&capacity_rps=50` changes
its behaviour; with `monitored=false` only Envoys' health checks pass, which is how it looks when the control plane's
own network is cut. With `cut_off=PID` what that process opens is dropped, health checks included; given again, one more
process is cut off. `POST /_control?reset` undoes all changes, `GET /_control` shows the settings and what it served.

Above its capacity it answers 503 at once, with `x-envoy-ratelimited` if told to. The capacity is a token bucket that
holds a second's worth, so that a machine that pauses for a moment does not look like an overload.

`/broken` answers 503 in every region: a bug of the application, which no routing can help.

An id that is not a number is not noted: the ledger is for the demo's own load. It uses argparse and h11 rather than the
product's libraries because eight of these start at once and each import would be paid eight times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl
from weakref import WeakSet

from xds_server.demo.http1 import Answering, Request, Response
from xds_server.demo.ledger import Notes
from xds_server.demo.neighbours import held_by

BROKEN_PATH = "/broken"
_ENVOY = "Envoy/"
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """How a backend behaves. `capacity_rps` 0 means without limit."""

    delay_ms: float = 0.0
    error_rate: float = 0.0
    healthy: bool = True
    monitored: bool = True
    capacity_rps: float = 0.0
    shed_header: bool = False
    cut_off: tuple[int, ...] = ()


def changed(settings: Settings, query: str) -> Settings:
    """Return the settings with those named in a query string changed, or raise ValueError that names the bad one."""
    changes: dict[str, float | bool | tuple[int, ...]] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in Settings.__dataclass_fields__:
            raise ValueError(f"no setting {name!r}; there are {', '.join(Settings.__dataclass_fields__)}")
        if name == "cut_off":
            changes[name] = (*settings.cut_off, int(text))
        elif isinstance(getattr(settings, name), bool):
            if text not in {"true", "false"}:
                raise ValueError(f"{name} is true or false, not {text!r}")
            changes[name] = text == "true"
        else:
            if not 0.0 <= (value := float(text)) < float("inf"):
                raise ValueError(f"{name} must be 0 or more")
            changes[name] = value
    return replace(settings, **changes)  # type: ignore[arg-type]


class Bucket:
    """A token bucket that holds one second's worth (at least one token)."""

    def __init__(self, now: float) -> None:
        self._tokens = float("inf")
        self._at = now

    def take(self, rate: float, now: float) -> bool:
        """Take one token if there is one. Rate 0 means without limit."""
        if rate <= 0.0:
            return True
        self._tokens = min(max(rate, 1.0), self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Backend:
    """Answers requests by its settings. `place` is its region and port; time is the event loop's."""

    def __init__(
        self, place: tuple[str, int], rtt_ms: dict[str, float], service_ms: float, normal: Settings, notes: Notes
    ) -> None:
        region, self._port = place
        self._region = region
        self._rtt_ms = rtt_ms
        self._service_ms = service_ms
        self._normal = normal
        self._settings = normal
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._bucket = Bucket(self._loop.time())
        self._chance = random.Random(region)  # noqa: S311
        self._connections: WeakSet[Answering] = WeakSet()
        self._served = {"ok": 0, "error": 0, "shed": 0}

    def handle(self, request: Request, respond: Callable[[Response], None]) -> None:
        """Answer one request, later if its path is long."""
        path, _, query = request.target.partition("?")
        if path == "/_control":
            respond(self._control(request.method, query))
        elif path == "/healthz":
            seen = self._settings.monitored or request.headers.get("user-agent", "").startswith(_ENVOY)
            status = 200 if self._settings.healthy and seen else 503
            self._later(self._settings.delay_ms, respond, Response(status, b"ok" if status == 200 else b"unhealthy"))
        else:
            self._serve(request, respond)

    def opened(self, connection: Answering) -> None:
        """Take note of a connection, and drop it if its owner is cut off."""
        self._connections.add(connection)
        self._drop_if_cut_off(connection)

    def _drop_if_cut_off(self, connection: Answering) -> None:
        cut_off, peer = self._settings.cut_off, connection.peer_port
        if cut_off and peer is not None and held_by(cut_off, self._port, peer):
            connection.abort()

    def _serve(self, request: Request, respond: Callable[[Response], None]) -> None:
        self._note(request)
        rtt_ms = self._rtt_ms.get(request.headers.get("x-view", self._region), 0.0)
        if not self._bucket.take(self._settings.capacity_rps, self._loop.time()):
            self._served["shed"] += 1
            mark = (("x-envoy-ratelimited", "true"),) if self._settings.shed_header else ()
            self._later(rtt_ms, respond, Response(503, b"over capacity\n", mark))
            return
        failed = self._chance.random() < self._settings.error_rate or request.target == BROKEN_PATH
        self._served["error" if failed else "ok"] += 1
        answer = Response(503, b"error\n") if failed else Response(200, f"{self._region}\n".encode())
        self._later(rtt_ms + self._service_ms + self._settings.delay_ms, respond, answer)

    def _note(self, request: Request) -> None:
        self._notes.attempt()
        number = request.headers.get("x-demo-id", "")
        if request.method == "POST" and number.isdecimal() and "idempotency-key" not in request.headers:
            self._notes.plain_write(int(number))

    def _later(self, delay_ms: float, respond: Callable[[Response], None], response: Response) -> None:
        self._loop.call_later(delay_ms / 1000.0, respond, response)

    def _control(self, method: str, query: str) -> Response:
        if method == "POST":
            try:
                self._settings = self._normal if query == "reset" else changed(self._settings, query)
            except ValueError as problem:
                return Response(400, f"{problem}\n".encode())
            for connection in tuple(self._connections):
                self._drop_if_cut_off(connection)
        elif method != "GET":
            return Response(405, b"GET or POST\n")
        state = {"region": self._region, "settings": asdict(self._settings), "served": self._served}
        return Response(200, (json.dumps(state) + "\n").encode())


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    normal = Settings(capacity_rps=arguments.capacity, shed_header=arguments.shed_header)
    notes = Notes(arguments.notes, f"{arguments.region}-{arguments.port}")
    rtt_ms = {view: float(ms) for view, _, ms in (pair.partition("=") for pair in arguments.rtt)}
    backend = Backend((arguments.region, arguments.port), rtt_ms, arguments.service_ms, normal, notes)
    server = await loop.create_server(
        lambda: Answering(backend.handle, backend.opened), arguments.host, arguments.port, backlog=_BACKLOG
    )
    async with server:
        await stop.wait()
    notes.close()


def arguments_of(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m xds_server.demo.backend", description="One mock backend.")
    parser.add_argument("--region", required=True, help="the name it answers with")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rtt", nargs="*", default=[], metavar="VIEW=MS", help="round trip from each view")
    parser.add_argument("--service-ms", type=float, default=2.0, help="time to answer (default %(default)s)")
    parser.add_argument("--capacity", type=float, default=0.0, help="req/s; above it 503 at once; 0: no limit")
    parser.add_argument("--shed-header", action="store_true", help="mark those 503 with x-envoy-ratelimited")
    parser.add_argument("--notes", type=Path, default=Path(), help="directory for what it saw (default: here)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    asyncio.run(serve(arguments_of(sys.argv[1:])))
