"""What is served, as opaque bytes: resources and snapshots. Knows nothing of policies, decisions or Envoy's messages.

A resource is a serialized message with a name, a version and the names of what it needs. A snapshot is one immutable,
consistent set of them. Versions are hashes of content unless a caller gives one (a library user's version goes on the
wire unchanged). `needs` is what ordering rests on: a route may be sent only when the clusters it names are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


class TypeUrl:
    """The type URLs of xDS v3 (Envoy, xds_protocol, "Resource Types")."""

    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type)
    RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
    EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    SCOPED_ROUTE = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
    VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"


class Key(NamedTuple):
    """Names one resource."""

    type_url: str
    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. `body` is the serialized message (without its `Any` wrapper), `needs` what it refers to by name.

    `aliases` are other names that it may be asked for by in delta: for a virtual host, its route configuration's name
    and one of its domains, `shop/www.example.com`; a domain may begin or end with `*`, as in a route.
    """

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False, metadata={"recorded_as": b""})  # it may hold a secret
    needs: tuple[Key, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Return the type and name."""
        return Key(self.type_url, self.name)


def content_version(*parts: bytes) -> str:
    """Return a version for deterministic bytes: 16 hex digits of SHA-256, equal on every replica."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable, consistent set of resources for one view. Make it with `Snapshot.of`.

    `resources[type_url][name]`, names sorted; `versions[type_url]` changes exactly when a resource of that type does.
    `labelled` are the types whose version the caller gave: it is not a hash of the content, and says less.
    """

    resources: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    labelled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, resources: Iterable[Resource], versions: Mapping[str, str] | None = None) -> Snapshot:
        """Group resources by type. `versions` names a type's version where the caller has one; else it is a hash.

        A type may have a version and no resources: then its clients are told that there are none.

        Raises ValueError if two resources share type and name.
        """
        grouped: dict[str, dict[str, Resource]] = {}
        for resource in sorted(resources, key=lambda r: r.key):
            by_name = grouped.setdefault(resource.type_url, {})
            if resource.name in by_name:
                raise ValueError(f"two resources named {resource.name!r} of type {resource.type_url}")
            by_name[resource.name] = resource
        given = {type_url: version for type_url, version in (versions or {}).items() if version}
        hashed = {t: _type_version(by_name) for t, by_name in grouped.items() if t not in given}
        return cls(
            resources=MappingProxyType({t: MappingProxyType(by_name) for t, by_name in grouped.items()}),
            versions=MappingProxyType(hashed | given),
            labelled=frozenset(given),
        )

    def get(self, key: Key) -> Resource | None:
        """Return one resource, or None."""
        return self.resources.get(key.type_url, {}).get(key.name)

    def missing(self) -> tuple[tuple[Resource, Key], ...]:
        """Return every reference to a name that is not in the snapshot; empty means consistent."""
        return tuple(
            (resource, need)
            for by_name in self.resources.values()
            for resource in by_name.values()
            for need in resource.needs
            if self.get(need) is None
        )


def _type_version(by_name: Mapping[str, Resource]) -> str:
    return content_version(*(f"{r.name}\0{r.version}".encode() for r in by_name.values()))
