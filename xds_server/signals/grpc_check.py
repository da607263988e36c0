"""A probe by gRPC's health protocol (grpc.health.v1, `Health/Check`) over a kept connection.

Each target has a channel of its own. gRPC waits longer and longer between attempts to connect, up to two minutes, and
fails calls at once meanwhile; a probe would then see a recovery minutes late, so the wait is bounded by
`RECONNECT_MS`. The two messages have one field each and are written by hand: the package that has them would be one
more dependency for four bytes.
"""

from __future__ import annotations

import errno

import grpc

from xds_server.model import Address

METHOD = "/grpc.health.v1.Health/Check"
RECONNECT_MS = 100
MOST_BYTES = 4 * 1024

_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_SERVICE_TAG, _STATUS_TAG = 0x0A, 0x08

_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MOST_BYTES),
)


class GrpcCheck:
    """Asks one address after the health of one service; the channel is opened by the first probe."""

    def __init__(
        self, address: Address, service: str, credentials: grpc.ChannelCredentials | None = None, peer: str = ""
    ) -> None:
        self._credentials = credentials
        self._options = (*_OPTIONS, ("grpc.ssl_target_name_override", peer)) if peer else _OPTIONS
        self._target = f"ipv6:{address}" if ":" in address.ip else f"ipv4:{address}"
        name = service.encode()
        length = bytes((len(name) & 0x7F | 0x80, len(name) >> 7)) if len(name) > 0x7F else bytes((len(name),))
        self._request = bytes((_SERVICE_TAG,)) + length + name if name else b""
        self._channel: grpc.aio.Channel | None = None

    async def run(self) -> tuple[str, bool]:
        """Probe once; return "" if it serves, else why not, and whether the service said so.

        Raises OSError if this process is out of descriptors.
        """
        if self._channel is None:
            self._channel = self._new_channel()
        check = self._channel.unary_unary(METHOD)
        try:
            answer = await check(self._request)
        except grpc.aio.AioRpcError as error:
            return _words(error), False
        return "" if (status := status_of(answer)) == "SERVING" else f"gRPC health: {status}", True

    def _new_channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        return grpc.aio.secure_channel(self._target, self._credentials, options=self._options)

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()


def status_of(answer: bytes) -> str:
    """Return the status in an encoded HealthCheckResponse; without the field it is UNKNOWN."""
    number = answer[1] if len(answer) >= 2 and answer[0] == _STATUS_TAG else 0
    return _STATUSES[number] if number < len(_STATUSES) else "UNKNOWN"


def _words(error: grpc.aio.AioRpcError) -> str:
    details = error.details() or ""
    if "Too many open files" in details:
        raise OSError(errno.EMFILE, details) from error
    if "Connection refused" in details:
        return "connection refused"
    short = details.partition(";")[0][:100]
    return f"gRPC {error.code().name}: {short}" if short else f"gRPC {error.code().name}"
