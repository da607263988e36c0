"""What a client has asked for of one type, as a value ("How the client specifies what resources to return").

The one trap is the legacy wildcard: an empty list means "everything" only as long as the client has never named a
resource of that type on this stream; after that it means "nothing" ("Unsubscribing From Resources"). `explicit`
remembers which of the two it is. Both variants of the protocol move through the same values; SotW states the full list
each time (`stated`), delta says what is added and removed.
"""

from __future__ import annotations

from typing import NamedTuple

from xds_server.protocol.rules import WILDCARD, rule


class Subscription(NamedTuple):
    """Names asked for, and whether everything is."""

    names: frozenset[str] = frozenset()
    wildcard: bool = False
    explicit: bool = False

    def stated(self, type_url: str, names: frozenset[str]) -> Subscription:
        """Return the subscription after a SotW request that states `names`."""
        explicit = self.explicit or bool(names)
        legacy = not explicit and rule(type_url).wildcard
        return Subscription(names - {WILDCARD}, legacy or WILDCARD in names, explicit)

    def changed(self, type_url: str, added: frozenset[str], removed: frozenset[str], *, first: bool) -> Subscription:
        """Return the subscription after a delta request. A name in both lists is one to be reminded of."""
        legacy = first and not added and not removed and rule(type_url).wildcard
        kept = self.wildcard and WILDCARD not in removed
        names = (self.names - removed) | (added - {WILDCARD})
        return Subscription(names, legacy or kept or WILDCARD in added, self.explicit or bool(added))

    def covers(self, name: str) -> bool:
        """Return whether the client wants that resource."""
        return self.wildcard or name in self.names

    def added_since(self, before: Subscription) -> frozenset[str]:
        """Return what is asked for now and was not before, `*` among it: the server must answer with these."""
        added = self.names - before.names
        return added | {WILDCARD} if self.wildcard and not before.wildcard else added
