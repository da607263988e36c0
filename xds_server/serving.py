"""The serving half as a library: for a program that makes its own decisions and wants them on Envoys.

    async with SnapshotServer("127.0.0.1:18000") as server:
        server.set_snapshot("edge", [resource(cluster), resource(listener)], version="1")
        server.set("edge", resource(other_cluster), version="2")
        server.remove("edge", TypeUrl.CLUSTER, "old", version="3")

A *group* is the clients that get the same resources: by default those with the same `node.id`; `group_of` says
otherwise. Connected clients get what differs: state of the world or delta, aggregated or per type, in the order that
makes before it breaks. Changes within `BATCH_S` go out together: calls in a row are one response, and a request that a
client made just before a change, and that is still under way, is taken in before it.

**Versions.** A caller's version goes on the wire unchanged: as `version_info` of the types that the call touches, and
as the version of each resource it brings (delta). Where none is given, both are hashes of the content. A version names
content: the same name with the same version and another body is refused.

Ordering by reference (a route waits for its clusters) happens where a resource says what it `needs`; see `resource`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import any_pb2, descriptor_pool, message_factory

from xds_server.model import ViewKey
from xds_server.protocol.events import MOST_TEXT, Acked, Identified, Nacked
from xds_server.snapshot.resource import Key, Resource, Snapshot, TypeUrl, content_version
from xds_server.transport.clients import ClientEvent, ClientStatus, Refused
from xds_server.transport.options import TransportOptions
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import BindError, XdsServer

__all__ = [
    "Acked",
    "BindError",
    "ClientEvent",
    "ClientStatus",
    "Identified",
    "Key",
    "Nacked",
    "Refused",
    "Resource",
    "SnapshotServer",
    "TransportOptions",
    "TypeUrl",
    "resource",
]

BATCH_S = 0.02
"""How long the first of several changes waits for the others, in seconds."""

_NAMES = ("name", "cluster_name")


def resource(message: Any, *, name: str = "", version: str = "", needs: Iterable[Key] = ()) -> Resource:
    """Return a resource made from a protobuf message of Envoy's API, or from an `Any` that holds one.

    `name` is the message's own unless it is given; ValueError if it has none. `version` is on the wire unchanged; empty
    means a hash of the content. `needs` are resources that a client must have before it gets this one.
    """
    if isinstance(message, any_pb2.Any):
        message = _unpacked(message)
    found = name or next((str(value) for field in _NAMES if (value := getattr(message, field, ""))), "")
    if not found:
        raise ValueError(f"{message.DESCRIPTOR.full_name} has no name: give one")
    body = message.SerializeToString(deterministic=True)
    type_url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    return Resource(type_url, found, version, body, tuple(needs))


def _unpacked(packed: any_pb2.Any) -> Any:
    pool = descriptor_pool.Default()
    try:
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(packed.TypeName()))
    except KeyError as error:
        raise ValueError(f"{packed.type_url} is not known: import its module (…_pb2)") from error
    return kind.FromString(packed.value)


class SnapshotServer:
    """An xDS server whose snapshots its owner sets. All methods belong to one event loop.

    `address` is HOST:PORT, port 0 picks a free one. `group_of` says which group a client is in; it may raise Refused.
    `on_event` hears what clients say (Connected, Acked, Nacked, Closed …). With `credentials` the port speaks TLS, and
    `identities` of a client are the names in its certificate.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:0",
        *,
        group_of: Callable[[Identified], str] = lambda node: node.node_id,
        on_event: Callable[[ClientEvent], None] | None = None,
        options: TransportOptions | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._host = address.rpartition(":")[0]
        self._groups: dict[str, _Group] = {}
        self._publisher = Publisher()
        self._on_event = on_event
        self._heard = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()
        self._due: set[str] = set()
        self._batch: asyncio.TimerHandle | None = None
        self._serving = False
        self._server = XdsServer(
            address,
            assign=lambda node, _: _view(group_of(node)),
            publisher=self._publisher,
            on_event=self._hear,
            options=options,
            credentials=credentials,
        )

    async def start(self) -> str:
        """Listen and serve; return the address, HOST:PORT. Raises BindError."""
        port = await self._server.start()
        self._serving = True
        return f"{self._host}:{port}"

    async def stop(self, grace: float = 1.0) -> None:
        """End every stream so that clients go elsewhere and keep what they have; `grace` in seconds."""
        self._serving = False
        self._send_out()
        await self._server.stop(grace)
        for notice in tuple(self._notices):
            notice.cancel()

    async def __aenter__(self) -> Self:
        self.address = await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    def set_snapshot(self, group: str, resources: Iterable[Resource], version: str = "") -> None:
        """Replace everything a group has. Raises ValueError for two resources of one type and name."""
        self._change(group, _Group().with_resources(resources, version, every=self._group(group)))

    def set(self, group: str, *resources: Resource, version: str = "") -> None:
        """Add resources, or put them in the place of those with their names; the others stay."""
        self._change(group, self._group(group).with_resources(resources, version))

    def remove(self, group: str, type_url: str, *names: str, version: str = "") -> None:
        """Take resources away. Raises KeyError for a name that is not there."""
        self._change(group, self._group(group).without(type_url, names, version))

    def clear(self, group: str) -> None:
        """Forget a group. Its clients keep what they have and get nothing more."""
        self._groups.pop(group, None)
        self._publisher.withdraw(frozenset({_view(group)}))

    def retry(self) -> None:
        """Send every client once more what it rejected: a port that was taken may be free now."""
        self._server.retry()

    def clients(self) -> tuple[ClientStatus, ...]:
        """Return who is connected, and where each is with each type."""
        return self._server.clients()

    async def wait_acked(self, group: str, type_url: str, version: str, clients: int = 1) -> None:
        """Wait until so many clients of a group have acknowledged a version of a type; set a limit around it."""

        def acked() -> bool:
            there = [c for c in self.clients() if c.view == _view(group)]
            return sum(any(t.type_url == type_url and t.acked == version for t in c.types) for c in there) >= clients

        async with self._heard:
            await self._heard.wait_for(acked)

    def _group(self, name: str) -> _Group:
        return self._groups.get(name, _EMPTY)

    def _change(self, name: str, group: _Group) -> None:
        self._groups[name] = group
        self._due.add(name)
        if not self._serving:
            self._send_out()
        elif self._batch is None:
            self._batch = asyncio.get_running_loop().call_later(BATCH_S, self._send_out)

    def _send_out(self) -> None:
        """Let clients have what has changed since the last time."""
        if self._batch is not None:
            self._batch.cancel()
            self._batch = None
        due, self._due = self._due, set()
        self._publisher.publish({_view(name): self._groups[name].snapshot() for name in due if name in self._groups})

    def _hear(self, event: ClientEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)
        notice = asyncio.get_running_loop().create_task(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._heard:
            self._heard.notify_all()


class _Group:
    """What one group has: resources by type and name, and the version that the caller gave each type. Immutable."""

    def __init__(
        self, resources: Mapping[Key, Resource] | None = None, versions: Mapping[str, str] | None = None
    ) -> None:
        self.resources = dict(resources or {})
        self._versions = dict(versions or {})

    def with_resources(self, given: Iterable[Resource], version: str, every: _Group | None = None) -> _Group:
        """Return the group with these in it; `every` is one that this replaces whole: all its types are touched."""
        brought = [_versioned(r, version) for r in given]
        before = every or self
        for new in brought:
            old = before.resources.get(new.key)
            if old is not None and old.version == new.version and old.body != new.body:
                raise ValueError(f"{new.name} has version {new.version} already, with another content")
        resources = {r.key: r for r in brought}
        if len(resources) != len(brought):
            raise ValueError("two resources of one type and name")
        touched = {r.type_url for r in brought} | ({key.type_url for key in every.resources} if every else set())
        return _Group({**self.resources, **resources}, self._labels(touched, version))

    def without(self, type_url: str, names: Iterable[str], version: str) -> _Group:
        """Return the group without these."""
        left = dict(self.resources)
        for name in names:
            del left[Key(type_url, name)]
        return _Group(left, self._labels({type_url}, version))

    def snapshot(self) -> Snapshot:
        """Return what the group's clients get."""
        return Snapshot.of(self.resources.values(), self._versions)

    def _labels(self, touched: set[str], version: str) -> dict[str, str]:
        if len(version) > MOST_TEXT:
            raise ValueError(f"a version has at most {MOST_TEXT} characters, because clients send it back")
        labels = {type_url: label for type_url, label in self._versions.items() if type_url not in touched}
        return {**labels, **dict.fromkeys(touched, version)} if version else labels


_EMPTY = _Group()


def _versioned(given: Resource, version: str) -> Resource:
    return Resource(
        given.type_url,
        given.name,
        given.version or version or content_version(given.body),
        given.body,
        given.needs,
        given.aliases,
    )


def _view(group: str) -> ViewKey:
    return ViewKey(group, "", "library")
