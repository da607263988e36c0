"""HTTP/1.1 for the demo's own processes: one connection that asks, one that answers, one call that fetches.

h11 does the protocol (it comes with uvicorn); this adds asyncio transports and nothing else. aiohttp was measured
against it and rejected here: its import alone costs 0.3 s of CPU, times eight backends, and its client several times
the CPU per request of h11's 60 µs, which on a small machine is time the Envoys need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import h11

Headers = list[tuple[str, str]]
_BODY_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a backend sees it; `headers` have lower-case names."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """One response, body complete."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class UnreachableError(OSError):
    """No response: refused, reset, or nothing in time."""


class Asking(asyncio.Protocol):
    """A client's side of one connection: one request at a time, kept alive between them.

    `done` gets the response, or None if the connection ended before it was complete.
    """

    def __init__(self, on_closed: Callable[[Asking], None] | None = None) -> None:
        self._h11 = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._done: Callable[[Response | None], None] | None = None
        self._status = 0
        self._body = bytearray()
        self._on_closed = on_closed

    @property
    def reusable(self) -> bool:
        """True if another request may be sent."""
        return self._transport is not None and self._done is None and self._h11.our_state is h11.IDLE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(
        self, method: str, target: str, headers: Headers, body: bytes, done: Callable[[Response | None], None]
    ) -> None:
        """Send a request; `done` is called exactly once."""
        assert self._transport is not None
        assert self._done is None
        self._done = done
        if body or method == "POST":
            headers = [*headers, ("content-length", str(len(body)))]
        sent = self._h11.send(h11.Request(method=method, target=target, headers=headers)) or b""
        if body:
            sent += self._h11.send(h11.Data(data=body)) or b""
        self._transport.write(sent + (self._h11.send(h11.EndOfMessage()) or b""))

    def data_received(self, data: bytes) -> None:
        """Read as far as the bytes go."""
        try:
            self._h11.receive_data(data)
            while self._read_one():
                pass
        except h11.RemoteProtocolError:
            self.close()

    def _read_one(self) -> bool:
        event = self._h11.next_event()
        if isinstance(event, h11.Response):
            self._status = event.status_code
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > _BODY_LIMIT:
                self.close()
                return False
        elif isinstance(event, h11.EndOfMessage):
            self._finish(Response(self._status, bytes(self._body)))
        return event is not h11.NEED_DATA and event is not h11.PAUSED

    def _finish(self, response: Response) -> None:
        done, self._done = self._done, None
        self._body.clear()
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        else:
            self.close()
        if done is not None:
            done(response)

    def close(self) -> None:
        """Drop the connection; a request under way ends with None."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End the request under way, if any."""
        self._transport = None
        done, self._done = self._done, None
        if done is not None:
            done(None)
        if self._on_closed is not None:
            self._on_closed(self)


class Answering(asyncio.Protocol):
    """A server's side of one connection. `handle(request, respond)` may call `respond` now or later, once.

    `opened` may `abort` it before a byte is read.
    """

    def __init__(
        self,
        handle: Callable[[Request, Callable[[Response], None]], None],
        opened: Callable[[Answering], None] = lambda _: None,
    ) -> None:
        self._h11 = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._handle = handle
        self._opened = opened
        self._request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._opened(self)

    @property
    def peer_port(self) -> int | None:
        """The other side's port; None once it is closed."""
        return None if self._transport is None else int(self._transport.get_extra_info("peername")[1])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the transport; a response that comes later goes nowhere."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Read as far as the bytes go."""
        self._h11.receive_data(data)
        self._read()

    def _read(self) -> None:
        try:
            while self._read_one():
                pass
        except h11.RemoteProtocolError:
            self.abort()

    def _read_one(self) -> bool:
        event = self._h11.next_event()
        if isinstance(event, h11.Request):
            self._request = Request(
                event.method.decode("ascii"),
                event.target.decode("ascii"),
                {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers},
            )
        elif isinstance(event, h11.EndOfMessage):
            assert self._request is not None
            self._handle(self._request, self._respond)
        elif isinstance(event, h11.ConnectionClosed):
            self.abort()
        return event is not h11.NEED_DATA and event is not h11.PAUSED and not isinstance(event, h11.ConnectionClosed)

    def _respond(self, response: Response) -> None:
        if self._transport is None:
            return
        headers = [("content-length", str(len(response.body))), ("content-type", "text/plain"), *response.headers]
        out = self._h11.send(h11.Response(status_code=response.status, headers=headers)) or b""
        out += self._h11.send(h11.Data(data=response.body)) or b""
        self._transport.write(out + (self._h11.send(h11.EndOfMessage()) or b""))
        if self._h11.our_state is h11.MUST_CLOSE:
            self._transport.close()
        elif self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            asyncio.get_running_loop().call_soon(self._read)

    def abort(self) -> None:
        """Drop the connection; a response that comes later goes nowhere."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


async def fetch(
    port: int, target: str, *, method: str = "GET", headers: Headers | None = None, timeout_s: float = 2.0
) -> Response:
    """Ask 127.0.0.1 one thing on a connection of its own. Raises UnreachableError."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Response | None] = loop.create_future()
    asking = Asking()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: asking, "127.0.0.1", port)
            own = [("connection", "close"), *(headers or [("host", "127.0.0.1")])]
            asking.ask(method, target, own, b"", lambda r: None if answer.done() else answer.set_result(r))
            response = await answer
    except (OSError, TimeoutError) as problem:
        raise UnreachableError(f"127.0.0.1:{port}{target}: {str(problem) or 'no answer in time'}") from None
    finally:
        asking.close()
    if response is None:
        raise UnreachableError(f"127.0.0.1:{port}{target}: the connection was closed")
    return response
