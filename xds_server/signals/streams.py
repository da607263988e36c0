"""What the gRPC services of signals share: bounded streams that are ended together.

Each service takes streams of raw bytes on the xDS port. A stream's first message says who the Envoy is; one without a
place in the policy is turned away (its ADS stream says why). Everything is bounded: streams of a service, the time
until the first message, and by gRPC the size of a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from xds_server.model import SourceStatus, ViewKey
from xds_server.protocol.events import Code, Identified, ProtocolError
from xds_server.protocol.identity import host_of, identities
from xds_server.protocol.wire import identify

FIRST_MESSAGE_S = 30.0
MOST_STREAMS = 40_000
"""Of one service: twice the clients of the xDS port, because every worker of an Envoy logs on a stream of its own."""

ViewOf = Callable[[Identified], ViewKey | None]
"""Says which view a client belongs to; None if the policy has no place for it. Raises ProtocolError if it may not."""


class Counts:
    """What one source did so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.streams = 0
        self.messages = 0
        self.ignored = 0

    def status(self) -> SourceStatus:
        """Return it as a value."""
        return SourceStatus(self.source, self.streams, self.messages, self.ignored)


class StreamService:
    """One gRPC method with streams of bytes; `talk` serves one stream until it returns or raises ProtocolError."""

    def __init__(self, service: str, method: str, counts: Counts, talk: Callable[[Any], Awaitable[None]]) -> None:
        self._service = service
        self._method = method
        self._counts = counts
        self._talk = talk
        self._tasks: set[asyncio.Task[Any]] = set()
        self._nodes: dict[asyncio.Task[Any], Identified] = {}
        self._endings: dict[asyncio.Task[Any], ProtocolError] = {}
        self._closing = False

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what the server adds."""
        handlers = {self._method: grpc.stream_stream_rpc_method_handler(self._serve)}
        return grpc.method_handlers_generic_handler(self._service, handlers)

    def close(self) -> None:
        """End every stream with UNAVAILABLE, and take no more."""
        self._closing = True
        for task in self._tasks:
            task.cancel()

    def place(self, view_of: ViewOf, context: Any, node: Any) -> ViewKey:
        """Return the view of the client whose stream this task serves. Raises ProtocolError if it has none."""
        who = replace(identify(node), identities=identities(context.auth_context()))
        view = view_of(who)
        if view is None:
            problem = "the policy has no place for this node; its ADS stream says why"
            raise ProtocolError(Code.FAILED_PRECONDITION, problem)
        task = asyncio.current_task()
        assert task is not None
        self._nodes[task] = who
        return view

    def recheck(self, view_of: ViewOf) -> None:
        """End the streams of clients that may no longer be who they say: the policy has changed."""
        for task, who in tuple(self._nodes.items()):
            try:
                view_of(who)
            except ProtocolError as error:
                self._endings[task] = error
                task.cancel()

    async def _serve(self, _: Any, context: Any) -> None:
        if self._closing or len(self._tasks) >= MOST_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {MOST_STREAMS} streams")
        ending = await self._run(context)
        if ending is not None:
            await context.abort(grpc.StatusCode[ending.code], ending.message)

    async def _run(self, context: Any) -> ProtocolError | None:
        """Serve one stream; return with what status we end it, None if the client did."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._counts.streams += 1
        try:
            await self._talk(context)
        except ProtocolError as error:
            return error
        except DecodeError as error:
            return ProtocolError(Code.INVALID_ARGUMENT, f"not a message of this service: {error}")
        except asyncio.CancelledError:
            ending = self._endings.pop(task, None)
            if not self._closing and ending is None:
                raise  # by gRPC: the client is gone
            task.uncancel()
            return ending or ProtocolError(Code.UNAVAILABLE, "the control plane is shutting down")
        except (grpc.aio.InternalError, grpc.aio.UsageError):
            pass  # a write to a client that is gone
        finally:
            self._counts.streams -= 1
            self._tasks.discard(task)
            self._nodes.pop(task, None)
            self._endings.pop(task, None)
        return None


async def first_message(context: Any) -> Any:
    """Return the first message of a stream, or EOF. Raises ProtocolError if it does not come."""
    try:
        async with asyncio.timeout(FIRST_MESSAGE_S):
            return await context.read()
    except TimeoutError as error:
        raise ProtocolError(Code.DEADLINE_EXCEEDED, f"no message within {FIRST_MESSAGE_S:g} s") from error


def reporter_of(context: Any) -> tuple[str, str] | None:
    """Return by what a client is told from others, however many streams it opens; None without a certificate."""
    names = identities(context.auth_context())
    return (names[0], host_of(context.peer())) if names else None
