"""Where one delta stream is with one type: what differs from SotW is how names change, and what a rejection leaves.

Names are added and removed, and a name that is added again is to be answered again even if unchanged: the client may
have forgotten it ("Subscribing to Resources" under "Incremental xDS"). A name that is removed while `*` stays is
answered too: with the resource, or by telling that it is gone ("Unsubscribing from Resources").

A rejected response was applied in part, and nobody knows which: an Envoy applies the removals and the good clusters and
listeners, and stops at the first bad one of other types. So what was in it is owed again (`fresh`), removals ride along
with the next response, and only when one single resource was in it is it known that nothing happened. `uncertain`
are the names of which this is not settled yet, by an ACK of a response with them. A response
with nothing but removals that is rejected is not repeated.
"""

from __future__ import annotations

from xds_server.protocol.delta_wire import DeltaRequest
from xds_server.protocol.doubt import Doubt
from xds_server.protocol.events import Acked, Nacked
from xds_server.protocol.holding import Holding
from xds_server.protocol.plan import Plan
from xds_server.protocol.rules import WILDCARD, rule
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.typestate import NOBODY, Claim, Flight, TypeState
from xds_server.snapshot.resource import TypeUrl


class DeltaType(TypeState):
    """One type on one delta stream."""

    __slots__ = ("uncertain",)
    delta = True

    def __init__(self, type_url: str, claim: Claim) -> None:
        super().__init__(type_url, claim)
        self.full_state = False
        self.uncertain = NOBODY

    def change(self, request: DeltaRequest, sharing: Sharing, *, first: bool) -> bool:
        """Take in the names of a request; return whether the subscription is another one now."""
        if isinstance(self.claim, frozenset) and not first:  # not looked at yet, and what it says of these is over
            over = request.added | request.removed
            self.claim = frozenset(pair for pair in self.claim if pair[0] not in over)
        before = self.subscription
        after = before.changed(self.type_url, request.added, request.removed, first=first)
        asked = (request.added - {WILDCARD}) | (after.added_since(before) & {WILDCARD})
        if after.wildcard:
            asked |= request.removed & before.names
        if after == before and not asked:
            return first
        self.calm = None
        self.subscription = after._replace(names=sharing.names(after.names))
        self.fresh = frozenset(name for name in self.fresh if after.covers(name)) | asked
        self.held = sharing.within(self.type_url, self.held, after)
        self.last = sharing.within(self.type_url, self.last, after)
        return first or after != before

    def rejected(self, flight: Flight, error: str, sharing: Sharing) -> None:  # noqa: ARG002  (SotW reads the words)
        """Take in what a rejection says of the client's state."""
        planned = flight.plan
        self.refusals = self.refusals.nacked(planned.changed)
        self.held = sharing.without(self.type_url, self.held, planned.removed)
        self.last = self.held
        touched = _names(planned)
        if len(touched) > 1 and planned.changed:
            self.uncertain |= touched
        owed = touched & (self.uncertain | self.unmet)
        self.unmet = NOBODY
        self.fresh |= {name for name in owed if self.subscription.covers(name)}

    def answer(self, flight: Flight, error: str | None, sharing: Sharing, now: float) -> Acked | Nacked:
        """Take in the client's answer to the response in flight."""
        if error is None:
            self.uncertain -= _names(flight.plan)
        return super().answer(flight, error, sharing, now)

    def shaky(self, planned: Plan) -> frozenset[str]:
        """Return the assignments of clusters in a plan that were in a rejected response, and may have changed twice."""
        again = (need for resource in planned.carried if resource.name in self.uncertain for need in resource.needs)
        return frozenset(need.name for need in again if need.type_url == TypeUrl.ENDPOINT)

    def recognise(self, held: Holding, sharing: Sharing) -> None:
        """Take in what the client has, by its own account in the first request."""
        self.claim = ""
        self.held = sharing.within(self.type_url, held, self.subscription)
        self.last = self.held
        self.acked = held.version
        self.returning = True
        self.fresh = frozenset(name for name in self.fresh if name not in {*self.held.resources, WILDCARD})

    def doubt(self, *, unclear: bool) -> Doubt:
        """Return what speaks against the versions that the client will name."""
        by_name = not rule(self.type_url).wildcard
        return Doubt(not self.settled, by_name and (unclear or self._owing), self._touched)

    @property
    def _owing(self) -> bool:
        """Return whether the client asked for something that it has not been sent, rejections apart."""
        return not self.fresh <= {name for name, _ in self.refusals.refused}

    @property
    def _touched(self) -> frozenset[str]:
        """Return what the client may have and cannot name when it comes back; what it asks for by name it names."""
        if not self.subscription.wildcard:
            return NOBODY
        flying = self.flight.plan.changed if self.flight is not None else ()
        return (self.fresh | self.uncertain | self.held.uncertain | {name for name, _ in flying}) - {WILDCARD}

    @property
    def settled(self) -> bool:
        """Return whether the client has exactly what the versions say that it can name."""
        return self.flight is None and not self.fresh and not self.held.uncertain


def _names(planned: Plan) -> frozenset[str]:
    """Return what a response changes."""
    return planned.removed.union(name for name, _ in planned.changed)
