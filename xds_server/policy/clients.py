"""Who may speak as whom: the rule behind `clients:` in a policy.

What a node says of itself (id, fleet, region) is only a claim; the names in its certificate are proof. An entry of
`clients:` ties one to the other. A claim is good if one entry takes the certificate and all three parts of the claim.
Without any entry every claim is good: then the certificate authority alone decides who comes in.

Patterns are anchored at both ends. In identities `*` stands for any run of characters within one step (up to the next
`/` of a URI, the next `.` of a DNS name) and `**` for any run at all: with a star that crossed steps,
`spiffe://demo/ns/*/sa/web` would also take `spiffe://demo/ns/evil/sa/x/sa/web`. DNS names are compared without regard
to case. Node ids have no steps, so there one star is any run.

Reporting as an agent is a right of its own (`agent`): an agent's word counts for every view, so a sidecar's certificate
alone must not be enough to empty its region.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from xds_server.policy.types import Client

_STARS = re.compile(r"(\*+)")
MOST_SHOWN = 200


class _Rule(NamedTuple):
    identity: re.Pattern[str]
    nodes: tuple[re.Pattern[str], ...] | None
    client: Client

    def knows(self, identities: Iterable[str]) -> bool:
        return any(self.identity.fullmatch(identity) for identity in identities)

    def covers(self, node_id: str, fleet: str, region: str) -> bool:
        client = self.client
        return (
            (client.regions is None or region in client.regions)
            and (client.fleets is None or fleet in client.fleets)
            and (self.nodes is None or any(node.fullmatch(node_id) for node in self.nodes))
        )


class Clients:
    """The entries of one policy, ready to judge claims by."""

    def __init__(self, clients: Iterable[Client] = ()) -> None:
        self._rules = tuple(_rule(client) for client in clients)

    def may_speak(self, identities: Iterable[str], node_id: str, fleet: str, region: str) -> bool:
        """Return whether a peer with these names in its certificate may be that node."""
        known = tuple(identities)
        return not self._rules or any(r.knows(known) and r.covers(node_id, fleet, region) for r in self._rules)

    def may_report(self, identities: Iterable[str], region: str) -> bool:
        """Return whether a peer with these names may report on a region as an agent."""
        known = tuple(identities)
        return not self._rules or any(
            r.client.agent and r.knows(known) and (r.client.regions is None or region in r.client.regions)
            for r in self._rules
        )


def shown(identities: Iterable[str]) -> str:
    """Return who a peer is, in words for people."""
    names = ", ".join(identities)
    return f"the certificate of {_short(names)}" if names else "a peer without a name in its certificate"


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def _rule(client: Client) -> _Rule:
    nodes = None if client.nodes is None else tuple(_regex(node, ".*", ".*") for node in client.nodes)
    is_uri = "://" in client.identity
    identity = _regex(client.identity, "[^/]*" if is_uri else "[^./:]*", ".*" if is_uri else "[^/:]*", fold=not is_uri)
    return _Rule(identity, nodes, client)


def _regex(pattern: str, star: str, stars: str, *, fold: bool = False) -> re.Pattern[str]:
    parts = (
        re.escape(part) if not part.startswith("*") else star if part == "*" else stars for part in _split(pattern)
    )
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if fold else 0))


def _split(pattern: str) -> list[str]:
    return [part for part in _STARS.split(pattern) if part]
