"""Where one stream is with one type: the part of a conversation's state that both variants of the protocol have.

Plain moves from state to state; which move a request or a snapshot calls for is decided in `sotw.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xds_server.protocol.events import Acked, Nacked
from xds_server.protocol.holding import NOTHING, Holding, Offering
from xds_server.protocol.plan import Plan
from xds_server.protocol.refusals import NO_REFUSALS, Refusals
from xds_server.protocol.rules import WILDCARD
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.subscription import Subscription
from xds_server.protocol.wire import Request


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where a client is with one type. `synced` is the snapshot's version of which it has all that it asked for."""

    type_url: str
    sent: str
    acked: str
    synced: str
    nacked: Nacked | None
    waiting: frozenset[str]
    resources: int


class Flight(NamedTuple):
    """A response without an answer yet."""

    nonce: str
    offering: Offering
    plan: Plan


class TypeState:
    """One type on one stream."""

    __slots__ = (
        "acked", "claim", "flight", "fresh", "held", "nack", "nonce", "refusals", "returning", "sent", "spoken",
        "subscription", "synced", "type_url", "waiting",
    )  # fmt: skip

    def __init__(self, type_url: str, claim: str) -> None:
        self.type_url = type_url
        self.claim = claim
        self.subscription = Subscription()
        self.held = NOTHING
        self.fresh: frozenset[str] = frozenset()
        self.refusals: Refusals = NO_REFUSALS
        self.flight: Flight | None = None
        self.nonce = ""
        self.spoken = False
        self.returning = False
        self.sent = ""
        self.acked = ""
        self.synced = ""
        self.nack: Nacked | None = None
        self.waiting: frozenset[str] = frozenset()

    def is_stale(self, request: Request) -> bool:
        """Return whether the request was made before our last response arrived."""
        if request.nonce == self.nonce or not self.nonce:
            return False
        return bool(request.nonce) or self.flight is not None

    def subscribe(self, names: frozenset[str], sharing: Sharing) -> bool:
        """Take in the names of a request; return whether they changed anything."""
        if self.spoken and names == self.subscription.names and not self.subscription.wildcard:
            return False
        before = self.subscription
        after = before.stated(self.type_url, names)
        if after == before:
            return False
        self.subscription = after._replace(names=sharing.names(after.names))
        self.fresh = frozenset(name for name in self.fresh if after.covers(name)) | after.added_since(before)
        self.held = self.held.within(after)
        return True

    def answer(self, flight: Flight, error: str | None) -> Acked | Nacked:
        """Take in the client's answer to the response in flight."""
        self.flight = None
        self.returning = False
        version = flight.plan.after.version
        if error is None:
            self.held = flight.plan.after.within(self.subscription)
            self.acked = version
            self.refusals = self.refusals.acked(flight.plan.changed)
            return Acked(self.type_url, version, flight.nonce)
        self.refusals = self.refusals.nacked(flight.plan.changed)
        self.nack = Nacked(self.type_url, version, flight.nonce, error, flight.plan.changed)
        return self.nack

    def believe(self, held: Holding | None) -> None:
        """Settle the claim of the first request: the client has this, or nothing that we know."""
        self.claim = ""
        if held is None:
            return
        self.held = held.within(self.subscription)
        self.acked = held.version
        self.spoken = True
        self.returning = True
        self.fresh = frozenset(name for name in self.fresh if name not in {*self.held.resources, WILDCARD})

    def was_refused(self, planned: Plan) -> bool:
        """Return whether this response says nothing new and was rejected: nothing would come of repeating it."""
        return self.nack is not None and not planned.changed and planned.after.version == self.nack.version

    def send(self, flight: Flight) -> None:
        """Note that a response is under way."""
        self.flight = flight
        self.nonce = flight.nonce
        self.sent = flight.plan.after.version
        self.spoken = True
        self.fresh &= flight.plan.waiting

    def settle(self, offering: Offering, planned: Plan) -> None:
        """Note that there is nothing to send: unless something waits, the client is in sync."""
        if not planned.waiting:
            self.synced = offering.snapshot.versions.get(self.type_url, planned.after.version)
            self.held = planned.after

    def status(self) -> TypeStatus:
        """Return the part that operators see."""
        return TypeStatus(
            self.type_url, self.sent, self.acked, self.synced, self.nack, self.waiting, len(self.held.resources)
        )
