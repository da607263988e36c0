"""Where one stream is with one type: the part of a conversation's state that both variants of the protocol have.

Plain moves from state to state; which move a request or a snapshot calls for is decided in `sotw.py` and `delta.py`.
What is said here of names and claims is SotW; `delta_type.py` has delta's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from xds_server.protocol.doubt import Doubt
from xds_server.protocol.events import Acked, Nacked, Version
from xds_server.protocol.holding import NOTHING, Holding, Shelf
from xds_server.protocol.plan import Around, Plan, Scene
from xds_server.protocol.refusals import NO_REFUSALS, PATIENCE, PATIENCE_PER_S, Refusals, blamed
from xds_server.protocol.rules import WILDCARD, rule
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.subscription import Subscription
from xds_server.protocol.updates import Update, noted
from xds_server.protocol.wire import Request
from xds_server.snapshot.resource import Snapshot, TypeUrl

NOBODY: frozenset[str] = frozenset()

Claim = str | frozenset[tuple[str, str]]
"""What a client says it has in the first request of a new stream: one version, or in delta one for each name."""

_NONE_REFUSED: frozenset[Version] = frozenset()


class Refusal(NamedTuple):
    """A resource that a client rejected, alone or among others, the client's words, and when it last said so."""

    name: str
    version: str
    error: str
    at: float = 0.0


_NO_WORDS: Mapping[str, Refusal] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where a client is with one type. `synced` is the snapshot's version of which it has all that it asked for.

    `rejected` is what it rejected and has not been sent in another version since; of a response that is still being
    searched for its culprit, all that was new in it.
    """

    type_url: str
    sent: str
    acked: str
    synced: str
    nacked: Nacked | None
    waiting: frozenset[str]
    resources: int
    rejected: tuple[Refusal, ...] = ()


class Flight(NamedTuple):
    """A response without an answer yet."""

    nonce: str
    shelf: Shelf
    plan: Plan


class TypeState:
    """One type on one stream."""

    delta = False
    __slots__ = (
        "accepted", "acked", "calm", "calm_at", "claim", "doubtful", "flight", "fresh", "full_state", "held",
        "last", "lost", "nack", "nonce", "patience", "patient_at", "refusals", "returning", "sent", "spoken",
        "subscription", "synced", "type_url", "unmet", "unsure", "updates", "waiting", "words",
    )  # fmt: skip

    def __init__(self, type_url: str, claim: Claim) -> None:
        self.type_url = type_url
        self.full_state = rule(type_url).full_state
        self.claim = claim
        self.calm: Around | None = None
        self.calm_at = 0
        self.subscription = Subscription()
        self.held = NOTHING
        self.last = NOTHING
        self.accepted: Holding | None = NOTHING
        self.lost = NOBODY
        self.fresh = NOBODY
        self.unmet = NOBODY
        self.refusals: Refusals = NO_REFUSALS
        self.patience = float(PATIENCE)
        self.patient_at = 0.0
        self.flight: Flight | None = None
        self.nonce = ""
        self.spoken = False
        self.returning = False
        self.unsure = False
        self.doubtful = False
        self.sent = ""
        self.acked = ""
        self.synced = ""
        self.nack: Nacked | None = None
        self.waiting: frozenset[str] = frozenset()
        self.words: Mapping[str, Refusal] = _NO_WORDS
        self.updates: tuple[Update, ...] = ()

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
        self.calm = None
        self.subscription = after._replace(names=sharing.names(after.names))
        self.fresh = frozenset(name for name in self.fresh if after.covers(name)) | after.added_since(before)
        self.held = sharing.within(self.type_url, self.held, after)
        self.last = sharing.within(self.type_url, self.last, after)
        return True

    def answer(self, flight: Flight, error: str | None, sharing: Sharing, now: float) -> Acked | Nacked:
        """Take in the client's answer to the response in flight."""
        self.calm = None
        self.flight = None
        self.returning = False
        version = flight.plan.after.version
        if error is None:
            held = sharing.within(self.type_url, flight.plan.after, self.subscription)
            self.held = sharing.without(self.type_url, held, self.lost)
            self.accepted = flight.plan.after
            self.updates = noted(self.updates, now, flight.plan.names)
            self.unmet = NOBODY
            self.unsure = False
            self.acked = version
            self._unsay(flight.plan.changed)
            self.refusals = self.refusals.acked(flight.plan.changed)
            self.doubtful = bool(self.refusals.suspects)
            return Acked(self.type_url, version, flight.nonce)
        self.patience = self._patience(now) - 1.0
        self.patient_at = now
        self.nack = Nacked(self.type_url, version, flight.nonce, error, flight.plan.changed)
        self.rejected(flight, error, sharing)
        self._unsay(flight.plan.changed)
        guilty = self.refusals.condemned.intersection(flight.plan.changed)
        self.words = {**self.words, **{v.name: Refusal(*v, error, now) for v in guilty}}
        return self.nack

    def rejected(self, flight: Flight, error: str, sharing: Sharing) -> None:
        """Take in what a rejection says of the client's state."""
        if self.unsure:
            sent = {Version(r.name, r.version) for r in flight.plan.carried}
            again = self.refusals.condemned & sent  # a set that nothing may be left out of has them in it once more
            self.refusals = self.refusals.blaming(blamed(error, again.union(flight.plan.changed)) - again)
            bad = {name for name, _ in self.refusals.bad}
            self.held = sharing.without(self.type_url, flight.plan.after, bad)
        else:
            self.refusals = self.refusals.nacked(flight.plan.changed)
            if not self.full_state:
                asked = flight.plan.names if self.refusals.suspects else self.unmet
                self.fresh |= {name for name in asked if self.subscription.covers(name)}
            self.unmet = NOBODY
            self.doubtful = self.doubtful or not self._nothing_applied(flight)
            self.held = sharing.without(self.type_url, self.held, flight.plan.removed)  # that much is applied
            if not self.doubtful:
                self.last = self.held

    def tired(self, now: float) -> bool:
        """Return whether the client has rejected so much that its suspects must wait."""
        return bool(self.refusals.suspects) and self._patience(now) < 1.0

    def _patience(self, now: float) -> float:
        return min(float(PATIENCE), self.patience + (now - self.patient_at) * PATIENCE_PER_S)

    def absolve(self) -> None:
        """Forget what the client rejected, so that it is sent once more."""
        if self.unsure:  # the bad ones are in the full state it was sent last: only asking anew sends that again
            self.fresh |= {name for name, _ in self.refusals.condemned if self.subscription.covers(name)}
        self.calm = None
        self.refusals = NO_REFUSALS
        self.words = _NO_WORDS

    def _unsay(self, answered: Iterable[Version]) -> None:
        if self.words:
            names = {name for name, _ in answered}
            self.words = {name: refusal for name, refusal in self.words.items() if name not in names} or _NO_WORDS

    def believe(self, held: Holding | None, sharing: Sharing, doubt: Doubt) -> None:
        """Settle the claim of the first request: the client has this, or more or less this, or nothing that we know."""
        self.claim = ""
        self.accepted = held
        if held is None:
            self.unsure = self.full_state
            return
        self.held = sharing.within(self.type_url, held, self.subscription)
        self.acked = held.version
        self.returning = True
        self.doubtful = doubt.whole
        if self.type_url == TypeUrl.ENDPOINT:  # of other types what it needs must stay, as long as it may be there
            self.held = sharing.without(self.type_url, self.held, doubt.missing)
        if not doubt.whole:
            self.last = self.held
            self.spoken = True
            has = self.held.resources.keys() - doubt.owed - doubt.missing
            self.fresh = frozenset(name for name in self.fresh if name not in has and name != WILDCARD)

    def doubt(self, *, unclear: bool) -> Doubt:
        """Return what speaks against the version that the client will name; `unclear` if what names these changes."""
        if self.full_state:
            return Doubt(not self.settled)
        if unclear or self.accepted is None:
            return Doubt(not self.settled, dropped=True)
        return Doubt(not self.settled, missing=self._missing(self.accepted), owed=self._owed(self.accepted))

    def _missing(self, accepted: Holding) -> frozenset[str]:
        gone = NOBODY if accepted is self.held else accepted.resources.keys() - self.held.resources.keys()
        return self.lost | gone

    def _owed(self, accepted: Holding) -> frozenset[str]:
        asked = self.fresh | self.unmet
        return asked & accepted.resources.keys() if asked else NOBODY

    @property
    def settled(self) -> bool:
        """Return whether the client has exactly what its last accepted version says."""
        return self.flight is None and not self.doubtful and not self.unsure

    def send(self, flight: Flight) -> None:
        """Note that a response is under way."""
        self.calm = None
        self.flight = flight
        self.nonce = flight.nonce
        self.last = flight.plan.after
        self.lost = NOBODY
        self.sent = flight.plan.after.version
        self.spoken = True
        self.unmet = self.fresh & flight.plan.names
        told = self.full_state or self.delta  # that what is not sent is not there
        self.fresh = self.fresh & flight.plan.waiting if told else self.fresh - self.unmet

    def settle(self, around: Around, snapshot: Snapshot, planned: Plan) -> None:
        """Note that there is nothing to send: unless something waits, the client is in sync."""
        self.calm = around
        if not planned.waiting and planned.after.digest == self.held.digest:
            self.synced = snapshot.versions.get(self.type_url, planned.after.version)

    def shaky(self, planned: Plan) -> frozenset[str]:  # noqa: ARG002  (in SotW `last` is what a client may have)
        """Return the assignments of clusters in a plan of which the client may have had another content meanwhile."""
        return NOBODY

    def forget(self, names: Set[str], sharing: Sharing) -> None:
        """Note that the client has let go of these, or will have when it has taken what is under way."""
        self.calm = None
        self.lost |= names
        self.held = sharing.without(self.type_url, self.held, names)

    def overhear(self, names: Set[str], sharing: Sharing) -> bool:
        """Note what a request that crossed a response does not name; return whether the client had any of it."""
        if self.full_state or self.subscription.wildcard or self.flight is None:
            return False
        gone = self.held.resources.keys() - names - self.flight.plan.names  # what is under way comes to it in any case
        if gone:
            self.forget(gone, sharing)
        return bool(gone)

    def renew(self, names: Set[str]) -> None:
        """Note that the client needs these again if it asks for them."""
        wanted = names if self.subscription.wildcard else names & self.subscription.names
        if wanted:
            self.calm = None
            self.fresh |= wanted

    def scene(self, around: Around, now: float) -> Scene:
        """Return all that the next plan depends on."""
        refused = _NONE_REFUSED
        if self.refusals is not NO_REFUSALS:
            refused = self.refusals.condemned if self.tired(now) else self.refusals.refused
        answer = not self.spoken and self.full_state
        return Scene(
            around,
            self.subscription,
            self.held,
            self.last,
            self.fresh,
            answer,
            self.returning,
            self.unsure,
            refused,
            self.delta,
        )

    def _nothing_applied(self, flight: Flight) -> bool:
        """Return whether a rejected response differed from what the client has by the one culprit alone."""
        changed = {name for name, _ in flight.plan.changed}
        return (
            len(changed) == 1 and self.held.resources.keys() - changed == flight.plan.after.resources.keys() - changed
        )

    def status(self) -> TypeStatus:
        """Return the part that operators see."""
        return TypeStatus(
            self.type_url, self.sent, self.acked, self.synced, self.nack, self.waiting, len(self.held.resources),
            tuple(self.words[name] for name in sorted(self.words)) if self.words else (),
        )  # fmt: skip
