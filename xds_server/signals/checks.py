"""One probe of one address: HTTP or gRPC over a kept connection, or a TCP connect. Says what happened in plain words.

HTTP is aiohttp's client, HTTP/1.1. Connections are kept between probes: a handshake per probe would cost the endpoint
more than the answer does. A kept connection that the peer closed just as the request left is tried once more on a new
one (aiohttp does this for GET), or an idle timeout at the endpoint would look like an outage. A redirect is a status
like any other. The body is read, up to a bound, because a connection with half an answer in it cannot be kept; what
the policy expects in it is looked for in its first `SEARCHED` bytes.

With TLS all three kinds shake hands, show the service's certificate if it has one, and verify the name; a TCP probe
then closes. The handshake is part of the probe, and of its time.

gRPC probes are in grpc_check.py.

What is our own trouble (no file descriptor, no free local port) says nothing about the endpoint: `Trouble`, which the
prober counts and never reports as evidence.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from xds_server.model import Address, Target
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.signals.grpc_check import GrpcCheck
from xds_server.signals.probe_tls import ProbeTls

MAX_BODY = 64 * 1024
"""Bytes of a health answer that are read; more than any health page needs, the connection is dropped beyond it."""

SEARCHED = 16 * 1024

KEEP_S = 75.0
"""How long an idle connection is kept: the default of common servers is 60 to 75 s; longer intervals reconnect."""

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN})

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.EACCES: "not permitted by a local firewall",
    errno.EPERM: "not permitted by a local firewall",
}


class TroubleError(Exception):
    """The probe could not be made for a reason of our own; it is no evidence about the endpoint."""


def new_session() -> aiohttp.ClientSession:
    """Return a client for all probes: no limits of its own (the prober has them), no cookies, no timeouts."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_S, force_close=False),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"user-agent": "xds-server"},
    )


class Found(NamedTuple):
    """What a probe found: nothing wrong, or why it is not healthy; and whether that is the target's own answer."""

    wrong: str = ""
    answered: bool = False


class Check:
    """How one target is probed. Made once per target, so that nothing is parsed per probe."""

    def __init__(self, target: Target, check: HealthCheck, tls: ProbeTls | None = None) -> None:
        assert (tls is not None) == bool(check.tls)
        address = target.address if check.port is None else Address(target.address.ip, check.port)
        self._address = address
        self._kind = check.kind
        self._statuses = check.statuses
        self._body = check.body.encode() if check.body is not None else b""
        self._tls = tls.context if tls is not None else None
        self._name = check.server_name or None
        credentials = tls.credentials() if tls is not None and check.kind is ProbeKind.GRPC else None
        is_grpc = check.kind is ProbeKind.GRPC
        self._grpc = GrpcCheck(address, check.grpc_service, credentials, check.server_name) if is_grpc else None
        self._url = URL(f"{'https' if tls is not None else 'http'}://{address}{check.path}", encoded=True)
        self._headers = {"host": check.host or str(address)}

    async def run(self, session: aiohttp.ClientSession) -> Found:
        """Probe once. Raises TroubleError if the trouble is ours."""
        try:
            if self._grpc is not None:
                return Found(*await self._grpc.run())
            if self._kind is ProbeKind.TCP:
                return await self._connect()
            return await self._get(session)
        except (aiohttp.ClientError, OSError) as error:
            return Found(_words(error))

    async def close(self) -> None:
        """Let go of what is kept between probes."""
        if self._grpc is not None:
            await self._grpc.close()

    async def _get(self, session: aiohttp.ClientSession) -> Found:
        more: dict[str, Any] = {"ssl": self._tls, "server_hostname": self._name} if self._tls is not None else {}
        async with session.get(self._url, headers=self._headers, allow_redirects=False, **more) as response:
            left, start = MAX_BODY, bytearray()
            while left > 0 and (piece := await response.content.read(left)):
                left -= len(piece)
                start += piece[: SEARCHED - len(start)]
            if response.status not in self._statuses:
                return Found(f"HTTP {response.status}", answered=True)
            missing = "" if self._body in start else f"HTTP {response.status} without the expected body"
            return Found(missing, answered=True)

    async def _connect(self) -> Found:
        loop = asyncio.get_running_loop()
        more: dict[str, Any] = {"ssl": self._tls, "server_hostname": self._name} if self._tls is not None else {}
        transport, _ = await loop.create_connection(asyncio.Protocol, self._address.ip, self._address.port, **more)
        transport.abort()
        return Found()


def _words(error: aiohttp.ClientError | OSError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _tls_words(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLError):
        return _tls_words(error)
    if isinstance(error, TimeoutError):
        return "connection timed out"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "connection closed without an answer"
    if not isinstance(error, OSError):
        return "not an HTTP answer"
    if error.errno in _OURS:
        raise TroubleError(error.strerror or str(error)) from error
    return _WORDS.get(error.errno or 0) or (error.strerror or str(error) or type(error).__name__).lower()


def _tls_words(error: Exception) -> str:
    """Return why a handshake failed: OpenSSL's own words for a certificate, else the name of its error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return f"TLS: {(reason or 'no handshake').replace('_', ' ').lower()}"
