"""What one client has rejected of one type, so that it is not sent again, and the search for the culprit.

A NACK covers a whole response. The response as such is never repeated, but what was good in it must still flow: weights
and endpoints wait for nobody else's mistake. If one resource was new to the client, that one is bad. If several were,
they are suspects: halved, and the halves tried one after the other, until each is either accepted or alone. The log2(n)
extra NACKs this costs happen once per mistake. Reading the culprit out of Envoy's error text was rejected: only CDS and
LDS name it, and the words change between versions.

There is one exception. A client that comes back with a set of clusters or listeners unknown to us must not be sent a
part of the new set on trial: what is left out is deleted. There the text is read (`blamed`), and the rest counts as
accepted, because Envoy applies what is good in a set that it rejects.

A resource counts as the same as long as its name and version are the same: new content is tried afresh. What was found
bad is remembered even while other content is in force, so that a flapping mistake is sent once. The memory is bounded,
but what is still to be had is never forgotten: it would be sent for ever.

A client that rejects a great deal is tried with `PATIENCE`: each trial of thousands of suspects costs milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from xds_server.protocol.events import MOST_ERROR, Version
from xds_server.snapshot.resource import Resource

REMEMBERED = 1_000
"""Bad resources kept in mind per client and type that are not in the snapshot now; then the oldest is forgotten."""

PATIENCE = 100
"""Rejections of a type until its suspects must wait: a search for one culprit among 8,000 takes 13."""

PATIENCE_PER_S = 5.0


class Refusals(NamedTuple):
    """`bad` was rejected alone; of `suspects` the first group is being tried and the others wait."""

    bad: tuple[Version, ...] = ()
    suspects: tuple[frozenset[Version], ...] = ()

    @property
    def refused(self) -> frozenset[Version]:
        """Return what must not be sent now."""
        return frozenset(self.bad).union(*self.suspects[1:])

    @property
    def condemned(self) -> frozenset[Version]:
        """Return all that was rejected, alone or among others."""
        return frozenset(self.bad).union(*self.suspects)

    def nacked(self, resources: Iterable[Version]) -> Refusals:
        """Return the refusals after a response was rejected in which `resources` were new to the client."""
        ordered = sorted(resources)
        rest = _without(self.suspects, frozenset(ordered))
        if len(ordered) <= 1:
            return Refusals((*self.bad, *ordered), rest)
        middle = len(ordered) // 2
        return Refusals(self.bad, (frozenset(ordered[:middle]), frozenset(ordered[middle:]), *rest))

    def acked(self, resources: Iterable[Version]) -> Refusals:
        """Return the refusals after a response was accepted that carried `resources`."""
        return Refusals(self.bad, _without(self.suspects, frozenset(resources))) if self.suspects else self

    def still_in(self, wanted: Mapping[str, Resource]) -> Refusals:
        """Return the refusals without suspects that nobody wants to send any more: they would hold up the others."""
        if len(self.bad) > REMEMBERED:
            others = [bad for bad in self.bad if _version(wanted.get(bad.name)) != bad.version]
            forgotten = frozenset(others[:-REMEMBERED])
            if forgotten:
                return Refusals(tuple(b for b in self.bad if b not in forgotten), self.suspects).still_in(wanted)
        gone = {s for group in self.suspects for s in group if _version(wanted.get(s.name)) != s.version}
        return Refusals(self.bad, _without(self.suspects, gone)) if gone else self

    def blaming(self, resources: Iterable[Version]) -> Refusals:
        """Return the refusals after the client has named the culprits itself."""
        return Refusals((*self.bad, *sorted(resources)), self.suspects)


NO_REFUSALS = Refusals()


def blamed(error: str, resources: Iterable[Version]) -> frozenset[Version]:
    """Return the resources that an error text names; all of them if it names none, or was cut."""
    every = frozenset(resources)
    if len(error) > MOST_ERROR:
        return every
    named = frozenset(r for r in every if re.search(rf"(?<![\w@.-]){re.escape(r.name)}(?![\w@-])", error))
    return named or every


def _without(groups: tuple[frozenset[Version], ...], gone: Iterable[Version]) -> tuple[frozenset[Version], ...]:
    return tuple(left for group in groups if (left := group.difference(gone)))


def _version(resource: Resource | None) -> str | None:
    return None if resource is None else resource.version
