"""Who may speak as whom: the rule behind `clients:` in a policy.

What a node says of itself (id, fleet, region) is only a claim; the names in its certificate are proof. An entry of
`clients:` ties one to the other. A claim is good if one entry takes the certificate and all three parts of the claim.
Without any entry every claim is good: then the certificate authority alone decides who comes in.

Patterns are anchored at both ends. In identities `*` stands for any run of characters within one step (up to the next
`/` of a URI, the next `.` of a DNS name) and `**` for any run at all: with a star that crossed steps,
`spiffe://demo/ns/*/sa/web` would also take `spiffe://demo/ns/evil/sa/x/sa/web`. DNS names are compared without regard
to case. Node ids have no steps, so there one star is any run. A URI and a DNS name never pass for each other: what has
a colon is a URI, on both sides.

Patterns are followed step by step, with all the places where a name may stand so far; that takes at most the length of
the name for every step. Regular expressions were rejected: with several stars they try all combinations, and a client
chooses what it is called.

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


class Pattern(NamedTuple):
    """Texts that stand one after the other, and between them runs of any characters but a few: sets of those."""

    steps: tuple[str | frozenset[str], ...]

    def takes(self, name: str) -> bool:
        """Return whether the pattern takes the whole name."""
        places = {0}
        for step in self.steps:
            if isinstance(step, str):
                places = {at + len(step) for at in places if name.startswith(step, at)}
            else:
                places = _run(name, places, step)
        return len(name) in places


class _Rule(NamedTuple):
    identity: Pattern
    nodes: tuple[Pattern, ...] | None
    client: Client

    def knows(self, identities: Iterable[str]) -> bool:
        if _is_uri(self.client.identity):
            return any(_is_uri(name) and self.identity.takes(name) for name in identities)
        return any(not _is_uri(name) and self.identity.takes(name.lower()) for name in identities)

    def covers(self, node_id: str, fleet: str, region: str) -> bool:
        client = self.client
        return (
            (client.regions is None or region in client.regions)
            and (client.fleets is None or fleet in client.fleets)
            and (self.nodes is None or any(node.takes(node_id) for node in self.nodes))
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


def _is_uri(name: str) -> bool:
    return ":" in name


def _rule(client: Client) -> _Rule:
    nodes = None if client.nodes is None else tuple(pattern(node) for node in client.nodes)
    is_uri = _is_uri(client.identity)
    identity = pattern(client.identity, "/") if is_uri else pattern(client.identity.lower(), ".")
    return _Rule(identity, nodes, client)


def pattern(text: str, between: str = "") -> Pattern:
    """Return a pattern, in which one star does not go beyond what stands `between` steps."""
    return Pattern(tuple(_step(part, between) for part in _STARS.split(text) if part))


def _step(part: str, between: str) -> str | frozenset[str]:
    if not part.startswith("*"):
        return part
    return frozenset(between if part == "*" else "")


def _run(name: str, places: set[int], never: frozenset[str]) -> set[int]:
    """Return every place that a run of characters from one of these places may end at."""
    reached: set[int] = set()
    for start in places:
        at = start
        while at not in reached:
            reached.add(at)
            if at == len(name) or name[at] in never:
                break
            at += 1
    return reached
