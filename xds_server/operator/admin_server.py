"""Serves the admin side on one address.

uvicorn serves what `doorstep` lets stay, without its signal handlers (the process has one place for signals) and its
logging set-up; what it warns of is what anybody may send, a malformed request for one, so only errors are logged. The
socket is bound here first: the port is known before anything is served, and a taken one is one line that names the
address.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Collection, Generator

import uvicorn

from xds_server.model import Address
from xds_server.operator.access import Denied, Door
from xds_server.operator.admin import AdminApp
from xds_server.operator.doorstep import GOODBYE_S, Doorstep, Limits, limits, tell_failure
from xds_server.operator.https import Connection, Https
from xds_server.operator.source import Source


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
        most: Limits | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._door = door or Door()
        app = AdminApp(source, (host, *names), self._door)
        self._broadcast = app.broadcast
        config = uvicorn.Config(
            app.app(),
            http=Connection,
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=int(GOODBYE_S),
        )
        self._server = _Uvicorn(config)
        self._most = most or limits()
        self._tls = https
        self._doorstep: Doorstep | None = None
        self._task: asyncio.Task[None] | None = None
        self._beside: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> Address:
        """Bind and serve; return the address in use. Raises CannotListenError."""
        listener = _listen(self._host, self._port, loopback_only=not self._door.guard.closed)
        ip, port = listener.getsockname()[:2]
        self._doorstep = Doorstep(listener, self._caller, self._context, self._crowded, self._most)
        self._beside = (
            asyncio.create_task(self._broadcast.run(), name="broadcast"),
            asyncio.create_task(self._doorstep.run(), name="admin address"),
        )
        for task in self._beside:
            task.add_done_callback(tell_failure)
        self._task = asyncio.create_task(self._server.serve(sockets=[]), name="admin")
        return Address(ip, port)

    async def stop(self) -> None:
        """Finish requests under way and close."""
        self._broadcast.close()
        if self._task is not None and self._doorstep is not None:
            self._server.should_exit = True
            for task in self._beside:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await self._task
            await self._doorstep.close()

    def _caller(self) -> Connection:
        return Connection(self._server.config, self._server.server_state, {}, patience_s=self._most.patience_s)

    def _context(self) -> ssl.SSLContext | None:
        return None if self._tls is None else self._tls.context

    def _crowded(self, peer: str, why: str) -> None:
        self._door.refused(Denied("crowded", why), peer, "a connection")


OPEN_TO_ALL = (
    "without tokens or client certificates the admin side is served on loopback addresses alone, because whoever "
    "reaches it may give orders; give --admin-tokens FILE or --admin-client-ca FILE, or use --admin 127.0.0.1:PORT"
)


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
