"""One client's stream: bytes in, bytes out. What they mean is decided in protocol/, who gets what by the app.

The reading task also writes the answers to what it has read. A published snapshot is written by a short-lived task of
its own, so that an idle stream costs no second task; `_writing` sees to it that there is one writer at a time. The
conversation is asked for responses just before each write: while a slow client is being written to, newer snapshots
replace each other and nothing queues up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc

from xds_server.model import ViewKey
from xds_server.protocol.events import Code, Event, Identified, ProtocolError
from xds_server.protocol.identity import identities
from xds_server.protocol.inventory import ResourceStatus
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.typestate import TypeStatus
from xds_server.snapshot.resource import Key, Snapshot
from xds_server.transport.admission import Admission
from xds_server.transport.bucket import Bucket
from xds_server.transport.clients import ClientEvent, ClientStatus, Closed, Connected, Moved, Refused, Settled
from xds_server.transport.options import TransportOptions
from xds_server.transport.publisher import Publisher
from xds_server.transport.services import Method


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every stream of a server has around it."""

    publisher: Publisher
    assign: Callable[[Identified, Method], ViewKey]
    emit: Callable[[ClientEvent], None]
    sharing: Sharing
    admission: Admission
    options: TransportOptions
    now: Callable[[], float]


class ClientStream:
    """One stream, from its first byte to its status."""

    __slots__ = (
        "_admitted", "_bucket", "_context", "_conversation", "_ending", "_method", "_node", "_number", "_peer",
        "_since", "_surroundings", "_task", "_view", "_writer", "_writing",
    )  # fmt: skip

    def __init__(self, number: int, method: Method, context: Any, surroundings: Surroundings) -> None:
        options = surroundings.options
        self._number = number
        self._context = context
        self._surroundings = surroundings
        self._method = method
        self._conversation = method.conversation(surroundings.sharing)
        self._since = surroundings.now()
        self._bucket = Bucket(options.requests_per_s, options.burst, self._since)
        self._peer: str = context.peer()
        self._node: Identified | None = None
        self._view: ViewKey | None = None
        self._ending: Closed | None = None
        self._admitted = False
        self._writing = False
        self._task: asyncio.Task[Any] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the stream until either side ends it."""
        self._task = asyncio.current_task()
        try:
            await self._converse()
        except (ProtocolError, Refused) as error:
            self._ending = Closed(error.code, error.message)
        except asyncio.CancelledError:
            if self._ending is None or self._task is None:
                raise  # by gRPC: the client is gone
            self._task.uncancel()
        except (grpc.aio.InternalError, grpc.aio.UsageError):
            pass  # a write to a client that is gone
        finally:
            if self._writer is not None:
                self._writer.cancel()
            self._conversation.end()
            self._emit(self._ending or Closed("", "the client ended the stream"))
        if self._ending is not None:
            await self._context.abort(grpc.StatusCode[self._ending.code], self._ending.message)

    def wake(self) -> None:
        """Tell the stream that there may be something newer to send."""
        busy = self._writing or self._writer is not None
        if not busy and self._admitted and self._view is not None and self._ending is None:
            self._writer = asyncio.get_running_loop().create_task(self._flush_from_outside())

    def close(self, code: Code, message: str) -> None:
        """End the stream with a status."""
        if self._ending is None and self._task is not None:
            self._ending = Closed(code, message)
            self._task.cancel()

    def reassign(self) -> None:
        """Ask again which view the client has; the policy may have changed."""
        if self._node is None or self._view is None:
            return
        before = self._view
        try:
            self._view = self._surroundings.assign(self._node, self._method)
        except Refused as error:
            self.close(error.code, error.message)
            return
        if self._view != before:
            self._emit(Moved(before))
            self.wake()

    def retry(self) -> None:
        """Send once more what the client rejected."""
        self._conversation.retry()
        self.wake()

    @property
    def view(self) -> ViewKey | None:
        """Return the client's view, once it has one."""
        return self._view

    def status(self) -> ClientStatus | None:
        """Return what operators see of the client, once it has said who it is."""
        if self._node is None or self._view is None:
            return None
        latest, variant = self._latest(), self._conversation.variant
        types = tuple(self._without_moot(status, latest) for status in self._conversation.status())
        return ClientStatus(
            self._number,
            self._peer,
            self._node,
            self._view,
            variant,
            self._since,
            types,
            latest.versions if latest is not None else {},
            self._surroundings.publisher.on_trial(self._number),
        )

    def _without_moot(self, status: TypeStatus, latest: Snapshot | None) -> TypeStatus:
        """Leave out what a client rejected and is not to have any more: after a rollback it keeps nothing out."""
        if not status.rejected or latest is None:
            return status
        wanted, kept_back = latest.resources.get(status.type_url, {}), self._surroundings.publisher.kept_back
        left = tuple(
            one
            for one in status.rejected
            if (one.name in wanted and wanted[one.name].version == one.version)
            or (self._view, Key(status.type_url, one.name), one.version) in kept_back
        )
        return replace(status, rejected=left)

    def has(self, key: Key, version: str) -> bool:
        """Return whether the client has accepted a resource in this version, and nothing else since."""
        return self._conversation.has(key, version)

    def behind(self) -> bool:
        """Return whether the client has yet to acknowledge what it was last sent; what it rejects is not waited for."""
        latest = self._latest()
        return latest is not None and any(not state.words for state in self._conversation.behind(latest.versions))

    def resources(self) -> tuple[ResourceStatus, ...]:
        """Return where the client is with each resource that it has or is to have."""
        return self._conversation.resources(self._latest())

    async def _converse(self) -> None:
        data = await self._first_request()
        while data is not grpc.aio.EOF:
            self._hear(data)
            if not self._admitted:
                await self._surroundings.admission.admit(empty_handed=not self._conversation.claims)
                self._admitted = True
            await self._flush()
            data = await self._context.read()

    async def _first_request(self) -> Any:
        limit = self._surroundings.options.first_request_s
        problem = f"no request within {limit:g} s"
        alarm = asyncio.get_running_loop().call_later(limit, self.close, Code.DEADLINE_EXCEEDED, problem)
        try:
            return await self._context.read()
        finally:
            alarm.cancel()

    def _hear(self, data: bytes) -> None:
        now = self._surroundings.now()
        if not self._bucket.take(now):
            rate = self._surroundings.options.requests_per_s
            raise ProtocolError(Code.RESOURCE_EXHAUSTED, f"more than {rate:g} requests a second")
        request = self._method.request(data, with_node=self._node is None)
        view = self._view or self._place(request.node)
        for event in self._conversation.receive(request, now):
            if isinstance(event, Identified):
                self._view = view
                self._emit(Connected())
            else:
                self._emit(event)

    def _place(self, node: Identified | None) -> ViewKey | None:
        """Return the view of a client that begins. Before anything it asks for is taken in: it may have no place."""
        if node is None:
            return None
        self._node = replace(node, identities=identities(self._context.auth_context()))
        return self._surroundings.assign(self._node, self._method)

    async def _flush_from_outside(self) -> None:
        try:
            await self._flush()
        except (grpc.aio.InternalError, grpc.aio.UsageError):
            pass  # the client is gone; the reading task will find out too
        finally:
            self._writer = None

    async def _flush(self) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            while responses := self._due():
                for response in responses:
                    await self._context.write(response)
            self._tell_if_settled()
        finally:
            self._writing = False

    def _due(self) -> list[bytes]:
        snapshot = self._latest()
        if snapshot is None:
            return []
        encoded = []
        for response in self._conversation.offer(snapshot):
            self._emit(response.sent)
            encoded.append(response.encode())
        return encoded

    def _latest(self) -> Snapshot | None:
        return None if self._view is None else self._surroundings.publisher.latest(self._view, self._number)

    def _tell_if_settled(self) -> None:
        """Tell, of a stream on trial, that the client has acknowledged all of the snapshot it was given."""
        publisher = self._surroundings.publisher
        if self._view is None or not publisher.on_trial(self._number):
            return
        snapshot = publisher.latest(self._view, self._number)
        if snapshot is not None and not self._conversation.behind(snapshot.versions):
            self._emit(Settled())

    def _emit(self, what: Event | Connected | Moved | Settled | Closed) -> None:
        self._surroundings.emit(ClientEvent(self._number, self._peer, self._node, self._view, what))
