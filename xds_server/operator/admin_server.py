"""Serves the admin side on one address.

uvicorn serves, without its signal handlers (the process has one place for signals) and its logging set-up. The socket
is bound here first: the port is known before anything is served, and a taken one is one line that names the address.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Collection, Generator

import uvicorn

from xds_server.model import Address
from xds_server.operator.access import Door
from xds_server.operator.admin import AdminApp, Source
from xds_server.operator.https import Connection, Https

GOODBYE_S = 2.0
"""How long a request under way may take once the server is told to stop."""


MOST_CONNECTIONS = 256
"""People, a scraper and a load balancer need a dozen; more is answered 503 by uvicorn."""


class CannotListenError(Exception):
    """The address cannot be listened on; the message names it and says why."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture nothing."""
        yield


class AdminServer:
    """Serves the admin side on one address; only on a loopback one if nobody has to say who they are."""

    def __init__(
        self,
        source: Source,
        host: str,
        port: int,
        names: Collection[str] = (),
        *,
        door: Door | None = None,
        https: Https | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._door = door or Door()
        app = AdminApp(source, (host, *names), self._door)
        self._broadcast = app.broadcast
        config = uvicorn.Config(
            app.app(),
            http=Connection,
            ssl_context_factory=None if https is None else lambda *_: https.context,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            server_header=False,
            timeout_graceful_shutdown=int(GOODBYE_S),
        )
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> Address:
        """Bind and serve; return the address in use. Raises CannotListenError."""
        listener = _listen(self._host, self._port, loopback_only=not self._door.guard.closed)
        ip, port = listener.getsockname()[:2]
        self._looking = asyncio.create_task(self._broadcast.run(), name="broadcast")
        self._looking.add_done_callback(_tell_failure)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="admin")
        return Address(ip, port)

    async def stop(self) -> None:
        """Finish requests under way and close."""
        self._broadcast.close()
        if self._task is not None and self._looking is not None:
            self._server.should_exit = True
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
            await self._task


OPEN_TO_ALL = (
    "without tokens or client certificates the admin side is served on loopback addresses alone, because whoever "
    "reaches it may give orders; give --admin-tokens FILE or --admin-client-ca FILE, or use --admin 127.0.0.1:PORT"
)


def _tell_failure(task: asyncio.Task[None]) -> None:
    """Log at once that a task failed, which would otherwise be known when the process stops."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        what = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        asyncio.get_running_loop().call_exception_handler(what)


def _listen(host: str, port: int, *, loopback_only: bool) -> socket.socket:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if loopback_only and not ipaddress.ip_address(found[4][0]).is_loopback:
            raise CannotListenError(f"admin address {shown}: {OPEN_TO_ALL}")
        listener = socket.create_server(found[4][:2], family=found[0], backlog=128)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # a look-up's error numbers are negative
        why = os.strerror(error.errno or 0) if known else str(error.strerror or error)
        raise CannotListenError(f"admin address {shown}: {why.lower()}") from error
    listener.setblocking(False)
    return listener
