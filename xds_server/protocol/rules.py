"""What the xDS protocol says of each resource type, as a table. Section names are those of Envoy's `xds_protocol` page.

`rank` is the order of "Eventual consistency considerations" (make before break): clusters, their endpoints, listeners,
routes, virtual hosts. Only routes and what is like them are gated on it, because clusters and listeners warm inside
the client before they take traffic, while "routes are not warmed": a route must not arrive before its clusters.

`full_state` follows "Grouping Resources into Responses": a SotW answer for listeners and clusters is the whole set, and
absence deletes ("Deleting Resources"); for every other type it may carry any part, and absence says nothing. Scoped
routes are not in that sentence, but Envoy treats them so (a SotW update deletes the scopes that are not in it).

`wildcard` follows "How the client specifies what resources to return": a client that never named a resource means all.
The page grants this to listeners and clusters; Envoy also asks for scoped routes with an empty list, and in delta for
virtual hosts, which it then adds to by name, on demand. For the others an
empty list means nothing: an Envoy without EDS clusters sends just that after a reconnect. The explicit name `*` is
honoured for every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from xds_server.snapshot.resource import TypeUrl

WILDCARD = "*"


class Rule(NamedTuple):
    """What holds for one resource type."""

    rank: int
    full_state: bool = False
    wildcard: bool = False


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        TypeUrl.RUNTIME: Rule(0),
        TypeUrl.CLUSTER: Rule(1, full_state=True, wildcard=True),
        TypeUrl.ENDPOINT: Rule(2),
        TypeUrl.LISTENER: Rule(3, full_state=True, wildcard=True),
        TypeUrl.SCOPED_ROUTE: Rule(4, full_state=True, wildcard=True),
        TypeUrl.ROUTE: Rule(5),
        TypeUrl.VIRTUAL_HOST: Rule(6, wildcard=True),
    }
)

OTHER = Rule(7)
"""Secrets, extension configuration and types unknown here: by name, any part, after what they may refer to."""


REFERRERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        TypeUrl.RUNTIME: frozenset(),
        TypeUrl.CLUSTER: frozenset({TypeUrl.LISTENER, TypeUrl.ROUTE, TypeUrl.VIRTUAL_HOST}),
        TypeUrl.ENDPOINT: frozenset({TypeUrl.CLUSTER}),
        TypeUrl.LISTENER: frozenset(),
        TypeUrl.SCOPED_ROUTE: frozenset(),
        TypeUrl.ROUTE: frozenset({TypeUrl.LISTENER, TypeUrl.SCOPED_ROUTE}),
        TypeUrl.VIRTUAL_HOST: frozenset(),
    }
)
"""Which types may name a resource of a type. In delta a resource is removed only when nothing the client has names it:
"Stale CDS clusters and related EDS endpoints (ones no longer being referenced) can then be removed"."""

REFERRERS_OF_OTHERS = frozenset({TypeUrl.CLUSTER, TypeUrl.LISTENER})


def referrers(type_url: str) -> frozenset[str]:
    """Return the types that may name a resource of this one."""
    return REFERRERS.get(type_url, REFERRERS_OF_OTHERS)


def rule(type_url: str) -> Rule:
    """Return the rule for a type."""
    return RULES.get(type_url, OTHER)
