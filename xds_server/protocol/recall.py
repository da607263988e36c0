"""What a client has, made out from the names and versions in its first delta request ("Incremental xDS", reconnect).

A version is compared with what would be sent now; failing that, with what this server remembers to have sent to anyone.
What is left is known by name and version alone, perhaps sent by another replica, or long ago: a stand-in takes its
place, with the needs `UNKNOWN`. It differs from everything, so it is replaced or removed, and while it is there, what
it might need is not removed. Believing that it needs nothing was rejected: after a restart of the server in the
middle of a change, clusters would go before the routes that still name them.

Where the client left in the middle of something (`doubted`) its version says what it had, and it may have more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.protocol.delta_wire import wire_version
from xds_server.protocol.holding import MAYBE, UNKNOWN, Holding
from xds_server.protocol.plan import Around, under_now
from xds_server.snapshot.resource import Resource, content_version


def plain_digest(claim: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a holding with just these names and versions."""
    return content_version(*(f"{name}\0{version}".encode() for name, version in sorted(claim) if version != MAYBE))


def recall(around: Around, claim: Mapping[str, str], before: Holding | None, *, doubted: bool) -> Holding:
    """Return the holding. `before` has the same names and versions, if that much is remembered."""
    remembered = before.resources if before is not None else {}
    resources: dict[str, Resource] = {}
    unders: dict[str, str] = {}
    for name in sorted(claim):
        now = around.shelf.resources.get(name)
        under = under_now(around, name)
        current = now is not None and claim[name] == wire_version(now, under, around.shelf.label)
        old = now if current else remembered.get(name)
        if old is None:
            resources[name] = Resource(around.shelf.type_url, name, claim[name], b"", UNKNOWN)
        elif doubted:
            resources[name] = _doubtful(old, now or old)
        else:
            resources[name] = old
            unders[name] = under if current else ""
    return Holding(resources, {name: under for name, under in unders.items() if under}, around.shelf.label)


def _doubtful(old: Resource, now: Resource) -> Resource:
    """Return what stands for a resource that is the old one, or perhaps already the one that is sent now."""
    needs = tuple(sorted({*old.needs, *now.needs}))
    return Resource(old.type_url, old.name, f"{MAYBE}{old.version}?{now.version}", b"", needs)
