"""What a client has of one type, and what a snapshot offers: shared, immutable, compared by identity.

Ten thousand clients of one view hold the same few things, so a holding is one object for all of them, and two clients
in the same state are recognised by `is`. Everything derived from it is computed once, on first use.

The version on the wire names the *whole* of what a client has of the type after the response, also when the response
carries only a part of it. So a version that comes back in the first request of a new stream ("ACK/NACK and resource
type instance version") says exactly what the client has, to any replica and after any restart. Where a client has
all of a snapshot's type, this is `Snapshot.versions`. A caller's own version goes on the wire unchanged instead; it
says less, so less is believed of it.

Endpoints depend on the cluster they were delivered for: Envoy warms a changed cluster until an assignment arrives
*after* it, even an unchanged one ("Resource warming", the note). `under` is the version of that cluster; an assignment
is up to date only if both agree. Keeping a list of "assignments owed" was rejected: it has to be kept right over NACKs
and reconnects, a comparison does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from xds_server.protocol.rules import WILDCARD
from xds_server.protocol.subscription import Subscription
from xds_server.snapshot.resource import Key, Resource, Snapshot, TypeUrl, content_version

UNKNOWN = (Key("", WILDCARD),)
"""What a resource needs of which only a client's word is known, its name and version: anything, of any type."""

MAYBE = "?"
"""The version of a resource that the client may have or not; one that may be newer has a version that starts so."""

STAND_IN_BYTES = 500
"""About what a resource without content takes: what stands for one of which only a client's word is known."""

_NOTHING: Mapping[str, Resource] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Holding:
    """Resources of one type by name. `label` is the version a caller gave, if one did."""

    resources: Mapping[str, Resource] = field(default_factory=lambda: _NOTHING)
    under: Mapping[str, str] = field(default_factory=dict)
    label: str = ""

    @cached_property
    def digest(self) -> str:
        """Return the hash of all of it; for all of a snapshot's type it is the snapshot's version."""
        return content_version(*(f"{name}\0{self._token(name)}".encode() for name in sorted(self.resources)))

    @cached_property
    def uncertain(self) -> frozenset[str]:
        """Return the names that the client may have other versions of, or not at all."""
        return frozenset(name for name, resource in self.resources.items() if resource.version.startswith(MAYBE))

    @property
    def version(self) -> str:
        """Return the version for the wire."""
        return self.label or self.digest

    @cached_property
    def size(self) -> int:
        """Return how many bytes of resources this keeps alive."""
        return _size(self.resources)

    @cached_property
    def parents(self) -> Mapping[str, str]:
        """For clusters: return, for every assignment that they need, the version of the cluster that needs it."""
        versions: dict[str, list[str]] = {}
        for resource in self.resources.values():
            for need in resource.needs:
                if need.type_url == TypeUrl.ENDPOINT:
                    versions.setdefault(need.name, []).append(resource.version)
        return {name: "+".join(found) for name, found in versions.items()}

    @cached_property
    def needs(self) -> Mapping[str, frozenset[str]]:
        """Return the names that these refer to, by type."""
        names: dict[str, set[str]] = {}
        for resource in self.resources.values():
            for need in resource.needs:
                names.setdefault(need.type_url, set()).add(need.name)
        return {type_url: frozenset(found) for type_url, found in names.items()}

    def needed(self, type_url: str) -> frozenset[str]:
        """Return the names of that type that these refer to; `*` is among them if that is not known."""
        return self.needs.get(type_url, frozenset()) | self.needs.get("", frozenset())

    def has(self, resource: Resource, under: str) -> bool:
        """Return whether the client has exactly this, delivered for that cluster."""
        mine = self.resources.get(resource.name)
        if mine is None or mine.version != resource.version or mine.needs == UNKNOWN:
            return False
        return self.under.get(resource.name, "") == under

    def without(self, names: Set[str]) -> Holding:
        """Return the rest of it."""
        kept = {name: resource for name, resource in self.resources.items() if name not in names}
        return Holding(kept, {name: self.under[name] for name in kept if name in self.under}, self.label)

    def _token(self, name: str) -> str:
        resource, under = self.resources[name], self.under.get(name)
        if resource.needs == UNKNOWN:
            return f"{resource.version}\0?"  # never mistaken for the resource itself
        return f"{resource.version}\0{under}" if under else resource.version


NOTHING = Holding()


@dataclass(frozen=True, eq=False)
class Shelf:
    """What a snapshot has of one type. `label` is the version a caller gave, if one did."""

    type_url: str
    resources: Mapping[str, Resource] = field(default_factory=lambda: _NOTHING)
    label: str = ""

    @cached_property
    def size(self) -> int:
        """Return how many bytes of resources this keeps alive."""
        return _size(self.resources)

    @cached_property
    def whole(self) -> Holding:
        """Return all of it as a client would hold it."""
        return Holding(self.resources, label=self.label)

    def wanted(self, subscription: Subscription) -> Mapping[str, Resource]:
        """Return what the subscription selects; names that do not exist yet are simply not in it."""
        everything = self.resources
        if subscription.wildcard or subscription.names.issuperset(everything):
            return everything
        names = subscription.names & everything.keys()
        if self.aliases:
            names |= {found for asked in subscription.names if (found := self.find(asked)) is not None}
        return {name: everything[name] for name in sorted(names)}

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """Return the resource that each alias names ("Resource names" under "Incremental xDS")."""
        return {alias: resource.name for resource in self.resources.values() for alias in resource.aliases}

    def find(self, asked: str) -> str | None:
        """Return the resource that a name, an alias, or the domain at its end stands for, as a route would find it."""
        if asked in self.resources:
            return asked
        return next((self.aliases[form] for form in _forms(asked) if form in self.aliases), None)


@dataclass(frozen=True, eq=False)
class Offering:
    """A snapshot as shelves. A type that did not change has the same shelf in the next snapshot."""

    snapshot: Snapshot
    shelves: Mapping[str, Shelf]


def _forms(asked: str) -> Iterator[str]:
    """Return what a host may be listed as, in the order of a route's virtual hosts: exact, `*` before, after, alone."""
    before, slash, host = asked.rpartition("/")
    yield asked
    host = host.lower()
    patterns = [host, *(f"*{host[n:]}" for n in range(1, len(host)))]
    patterns += [f"{host[:n]}*" for n in range(len(host) - 1, 0, -1)]
    for pattern in (*patterns, "*"):
        yield f"{before}{slash}{pattern}"


def _size(resources: Mapping[str, Resource]) -> int:
    return sum(len(resource.body) or STAND_IN_BYTES for resource in resources.values())
