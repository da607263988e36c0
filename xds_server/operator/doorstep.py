"""How many connections the admin address holds, and how long one may be silent: before anybody has said who they are.

Whoever reaches the address can open connections to it, so three things are limited for all of them, whatever they send:

- A connection that waits for a request, its first or the next, has ten seconds until the head of one is complete (a TLS
  handshake has ten of its own). A head that trickles in does not put that off.
- So many connections are open at once. One more takes the place of the one that waits longest: a platform's probe asks
  at once and gets its answer while others sit silent. Only if all are being answered is the new one closed.
- One address other than loopback has a quarter of them, and makes room among its own.

Taking connections is done here and not by asyncio's server, which knows no limit but the process' descriptors, and
tries and logs thousands of times a second once those are gone; the xDS port needs them, too. Answering 503, as uvicorn
does above its limit, was rejected: the probe reads that as not alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_S = 10.0
"""For a handshake, and for the head of a request."""

MOST_CONNECTIONS = 256
"""People, a scraper and a load balancer need a dozen."""

PARTS = 4
"""One address has this part of the connections, and all of them this part of the process' descriptors."""

GOODBYE_S = 2.0
RETRY_S = 0.5
"""When a connection cannot be taken, which is for lack of descriptors or memory."""


T = TypeVar("T")


class Caller(H11Protocol):
    """One connection, which is known to wait for a request or to be answered."""

    def __init__(self, *args: Any, patience_s: float = PATIENCE_S, **more: Any) -> None:
        super().__init__(*args, **more)
        self.waits_since: float | None = self.loop.time()
        self.lost = asyncio.Event()
        self._patience_s = patience_s
        self._unsent = inf
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came, which may be a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be over."""
        self._rest()
        super().connection_lost(exc)
        self.lost.set()

    def abort(self) -> None:
        """Close without a goodbye."""
        if self.transport is not None:
            self.transport.abort()

    def _look(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.waits_since is None:
            self.waits_since = self.loop.time()
            self._wait()
        elif not waits:
            self.waits_since = None
            self._rest()

    def _wait(self) -> None:
        self._unsent = inf
        self._deadline = self.loop.call_later(self._patience_s, self._enough)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _enough(self) -> None:
        """Close, unless what was answered before is still being taken."""
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._deadline = self.loop.call_later(self._patience_s, self._enough)
        else:
            self.abort()


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be at once, and how long one may wait."""

    most: int
    most_of_one: int
    patience_s: float = PATIENCE_S


def limits_of(descriptors: int) -> Limits:
    """Return what fits a process that may open so many files; -1: any number."""
    most = MOST_CONNECTIONS if descriptors < 0 else max(PARTS, min(MOST_CONNECTIONS, descriptors // PARTS))
    return Limits(most, most // PARTS)


def limits() -> Limits:
    """Return what fits this process."""
    return limits_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def who_leaves(held: Mapping[T, tuple[str, float | None]], peer: str, most: Limits) -> tuple[T, ...] | None:
    """Return who is closed so that one more of an address has room; None: nobody can be. `held`: whose, waits since."""
    theirs = {} if _near(peer) else {one: found for one, found in held.items() if found[0] == peer}
    if len(theirs) >= most.most_of_one:
        crowd: Mapping[T, tuple[str, float | None]] = theirs
    elif len(held) >= most.most:
        crowd = held
    else:
        return ()
    waiting = {one: since for one, (_, since) in crowd.items() if since is not None}
    return (min(waiting, key=waiting.__getitem__),) if waiting else None


class Doorstep:
    """Takes the connections of one listening socket. `refused` is told whose was not taken, and why."""

    def __init__(
        self,
        listener: socket.socket,
        caller: Callable[[], Caller],
        tls: Callable[[], ssl.SSLContext | None],
        refused: Callable[[str, str], None],
        most: Limits,
    ) -> None:
        self._listener = listener
        self._caller = caller
        self._tls = tls
        self._refused = refused
        self._most = most
        self._open: dict[asyncio.Task[None], tuple[str, Caller]] = {}

    async def run(self) -> None:
        """Take connections until cancelled; those that are open go on until `close`."""
        loop = asyncio.get_running_loop()
        with self._listener:
            while True:
                try:
                    accepted, address = await loop.sock_accept(self._listener)
                except OSError as error:
                    self._refused("somewhere", f"cannot be taken: {str(error.strerror).lower()}")
                    await asyncio.sleep(RETRY_S)
                    continue
                self._take(accepted, str(address[0]))
                await asyncio.sleep(0)  # others' turn: `sock_accept` does not wait while there is one to take

    async def close(self) -> None:
        """Close those that are left."""
        self._listener.close()  # `run` has, if it ever ran
        left = list(self._open)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _take(self, accepted: socket.socket, peer: str) -> None:
        waits = {task: (whose, caller.waits_since) for task, (whose, caller) in self._open.items()}
        leaving = who_leaves(waits, peer, self._most)
        if leaving is None:
            accepted.close()
            self._refused(peer, "too many at once, all of them being answered")
            return
        for task in leaving:
            del self._open[task]
            task.cancel()
        caller = self._caller()
        task = asyncio.create_task(self._hold(accepted, caller), name="admin connection")
        self._open[task] = peer, caller
        task.add_done_callback(lambda task: self._over(task, accepted))

    async def _hold(self, accepted: socket.socket, caller: Caller) -> None:
        tls: dict[str, Any] = {}  # asyncio refuses the others without `ssl`
        if (context := self._tls()) is not None:
            tls = {"ssl": context, "ssl_handshake_timeout": self._most.patience_s, "ssl_shutdown_timeout": GOODBYE_S}
        try:
            with contextlib.suppress(OSError):  # a handshake that failed is the caller's affair
                await asyncio.get_running_loop().connect_accepted_socket(lambda: caller, accepted, **tls)
                await caller.lost.wait()
        finally:
            caller.abort()

    def _over(self, task: asyncio.Task[None], accepted: socket.socket) -> None:
        self._open.pop(task, None)
        accepted.close()  # nobody has, if the task was cancelled before it began
        tell_failure(task)


def tell_failure(task: asyncio.Task[None]) -> None:
    """Log at once that a task failed, which would otherwise be known when the process stops."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        what = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        asyncio.get_running_loop().call_exception_handler(what)


def _near(peer: str) -> bool:
    return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
