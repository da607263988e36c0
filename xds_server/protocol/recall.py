"""What a client has, made out from the names and versions in its first delta request ("Incremental xDS", reconnect).

A version is compared with what would be sent now; failing that, with what this server remembers to have sent to anyone.
What is left is known by name and version alone, perhaps sent by another replica, or long ago: a stand-in takes its
place, with the needs `UNKNOWN`. It differs from everything, so it is replaced or removed, and while it is there, what
it might need is not removed. Believing that it needs nothing was rejected: after a restart of the server in the
middle of a change, clusters would go before the routes that still name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.protocol.delta_wire import wire_version
from xds_server.protocol.holding import UNKNOWN, Holding
from xds_server.protocol.plan import Around, under_now
from xds_server.snapshot.resource import Resource, content_version


def plain_digest(claim: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a holding with just these names and versions."""
    return content_version(*(f"{name}\0{version}".encode() for name, version in sorted(claim)))


def recall(around: Around, claim: Mapping[str, str], before: Holding | None, *, doubted: bool) -> Holding:
    """Return the holding. `before` has the same names and versions, if that much is remembered."""
    remembered = before.resources if before is not None else {}
    resources: dict[str, Resource] = {}
    unders: dict[str, str] = {}
    for name in sorted(claim):
        now = around.shelf.resources.get(name)
        under = under_now(around, name)
        if now is not None and not doubted and claim[name] == wire_version(now, under, around.shelf.label):
            resources[name] = now
            unders[name] = under
        else:
            resources[name] = remembered.get(name) or _stand_in(around, name, "" if doubted else claim[name])
    return Holding(resources, {name: under for name, under in unders.items() if under}, around.shelf.label)


def _stand_in(around: Around, name: str, version: str) -> Resource:
    return Resource(around.shelf.type_url, name, version, b"", UNKNOWN)
