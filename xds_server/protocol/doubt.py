"""What a client's claims are worth when it comes back: what the server that saw it leave knows better.

A client that returns names versions, and a version says what the client accepted, not what it has kept. An Envoy drops
an assignment with its cluster, and a route configuration with its last listener, while the version of the type stays:
when the same name is wanted again, "version 1, names b" may come from a client that has b, and from one that waits for
it. An assignment that is believed to be there and is not lets a route go to a cluster without endpoints, and is never
sent. So for each client that left with such a difference, the names are remembered.

A server that did not see the client leave cannot tell the two apart, and believes the version. Sending a response when
a name is dropped, so that the version changes with it, was rejected: nobody asked for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_NOBODY: frozenset[str] = frozenset()


class Doubt(NamedTuple):
    """What speaks against the versions of one type that a client names.

    `unsettled`: it left with a response that it had not answered, or had rejected: what it has is there, and may be
    newer. `dropped`: it may have let go of any of it, because what names it was changing. Both are sent again, and
    until then count as there, so that what they need stays; but a route must not rest on an assignment that may not be
    there.

    `touched` may be there without the client being able to say so: it was in such a response. `missing` are names that
    its version covers and that it has let go of; `owed` are names that it has, and has asked for once more.
    """

    unsettled: bool = False
    dropped: bool = False
    touched: frozenset[str] = _NOBODY
    missing: frozenset[str] = _NOBODY
    owed: frozenset[str] = _NOBODY

    @property
    def whole(self) -> bool:
        """Return whether the versions say too little of everything."""
        return self.unsettled or self.dropped

    @property
    def names(self) -> frozenset[str]:
        """Return the names remembered."""
        return self.touched | self.missing | self.owed


NO_DOUBT = Doubt()

Doubts = Mapping[str, Doubt]
"""By type; of types that are not in it the versions are believed."""

NO_DOUBTS: Doubts = MappingProxyType({})


def renewed(before: Doubts, now: Doubts) -> Doubts:
    """Return what is in doubt after a stream has ended that had to do with the types of `now` alone."""
    return {url: doubt for url, doubt in {**before, **now}.items() if doubt != NO_DOUBT}
