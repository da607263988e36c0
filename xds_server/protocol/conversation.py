"""What both variants of the protocol do alike: one stream's types, their order, and what each depends on.

The variants differ in how a request is read (`sotw.py`, `delta.py`), in what an answer says (`plan.py`,
`delta_plan.py`) and in what a client can claim to have when it comes back. Everything else is here:

- One response per type in flight, and only the latest snapshot behind it: a slow client skips versions, and costs a
  bounded amount of memory. Sending newer versions at once and sorting out nonces later was rejected: it saves one round
  trip, and the server no longer knows what the client has.
- A nonce belongs to the stream and to one response ("Basic Protocol Overview"), so it is a counter, never made from the
  version: a version may be sent twice.
- Types are asked in the order of "Eventual consistency considerations" (`rules.py`).

A stream of a single type (CDS, EDS, … each on its own) is a conversation with one type: there is nothing to wait for,
and so no order across streams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from xds_server.protocol.doubt import Doubt
from xds_server.protocol.events import Code, Event, Identified, ProtocolError, Sent, StaleNonce
from xds_server.protocol.holding import Holding, Offering
from xds_server.protocol.inventory import ResourceStatus, inventory
from xds_server.protocol.plan import Around, Plan
from xds_server.protocol.refusals import REMEMBERED
from xds_server.protocol.rules import referrers, rule
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.typestate import NOBODY, Flight, TypeState, TypeStatus
from xds_server.protocol.wire import with_nonce
from xds_server.snapshot.resource import Key, Snapshot, TypeUrl

R = TypeVar("R", bound="Request")
S = TypeVar("S", bound=TypeState)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may ask for, `names` over all types.

    Envoy uses fewer than 10 types, and asks for one assignment per cluster: 8,000 for 1,000 services in 8 regions.
    A request with an old nonce is normal when two messages cross; `stale` of them in a row are not.
    """

    types: int = 32
    names: int = 50_000
    stale: int = 1_000


class Response(NamedTuple):
    """A response for one stream; the body is shared with other streams."""

    sent: Sent
    body: bytes

    def encode(self) -> bytes:
        """Return the bytes for the wire."""
        return with_nonce(self.body, self.sent.nonce)


class Request(Protocol):
    """What every request has."""

    @property
    def type_url(self) -> str:
        """Return the type asked for."""

    @property
    def node(self) -> Identified | None:
        """Return who asks, if it says so."""


class Conversation(ABC, Generic[R, S]):
    """One stream. Not for several threads; it never waits."""

    variant: str

    def __init__(self, sharing: Sharing, limits: Limits | None = None) -> None:
        self._sharing = sharing
        self._limits = limits or Limits()
        self._types: dict[str, S] = {}
        self._order: tuple[S, ...] = ()
        self._users_of: dict[str, tuple[S, ...]] = {}
        self._clusters: S | None = None
        self._endpoints: S | None = None
        self._node: Identified | None = None
        self._responses = 0
        self._stale = 0
        self._warming = NOBODY
        self._moves = 0
        self._offered: Offering | None = None
        self._unheard = False
        self._now = 0.0

    @property
    def claims(self) -> bool:
        """Return whether the client has said, and it is not yet settled, that it has something already."""
        return any(state.claim for state in self._order)

    @abstractmethod
    def receive(self, request: R, now: float = 0.0) -> tuple[Event, ...]:
        """Take in a request; `offer` then says what to answer. Raises ProtocolError.

        `now`, on a clock of the caller's, is kept as the time of what the client has answered.
        """

    def offer(self, snapshot: Snapshot) -> tuple[Response, ...]:
        """Return the responses to send now, in order, so that the client gets to `snapshot`."""
        if self._offered is not None and self._offered.snapshot is snapshot:
            return ()
        offering = self._offered = self._sharing.offering(snapshot)
        if self._unheard:
            self._hear_of_users(offering)
        responses = []
        for state in self._order:
            if state.flight is None and not self._at_rest(offering, state):
                response = self._respond(offering, state)
                if response is not None:
                    responses.append(response)
        return tuple(responses)

    def status(self) -> tuple[TypeStatus, ...]:
        """Return where the client is with each type it has asked for."""
        return tuple(state.status() for state in self._order)

    def behind(self, versions: Mapping[str, str]) -> list[TypeState]:
        """Return the types of which the client does not have all that it asks for in these versions (by type)."""
        return [state for state in self._order if state.synced != versions.get(state.type_url, state.synced)]

    def has(self, key: Key, version: str) -> bool:
        """Return whether the client has accepted a resource in this version, and no other since."""
        state = self._types.get(key.type_url)
        held = state.held.resources.get(key.name) if state is not None else None
        return held is not None and held.version == version

    def resources(self, snapshot: Snapshot | None) -> tuple[ResourceStatus, ...]:
        """Return where the client is with each resource of the snapshot meant for it."""
        offering = self._sharing.offering(snapshot or Snapshot())
        shelves = ((state, self._sharing.shelf(offering, state.type_url)) for state in self._order)
        return tuple(status for state, shelf in shelves for status in inventory(state, shelf))

    def retry(self) -> None:
        """Have `offer` send once more what the client rejected."""
        for state in self._order:
            if state.refusals.condemned or state.words:
                state.absolve()
                self._offered = None

    def end(self) -> None:
        """Note what the client's claims are worth when it comes back.

        A rejected set is applied as far as it is good. What is asked for by name may have been dropped and asked for
        again while what names it was changing; the client's versions do not tell.
        """
        if self._node is None:
            return
        unsettled = {state.type_url for state in self._order if not state.settled}
        doubts = {url: Doubt(dropped=True) for url in (TypeUrl.ENDPOINT, TypeUrl.ROUTE) if referrers(url) & unsettled}
        for state in self._order:
            if not state.claim:  # else it was not looked at, and what was in doubt still is
                doubts[state.type_url] = state.doubt(unclear=bool(referrers(state.type_url) & unsettled))
        self._sharing.doubt(self._node, doubts)

    @abstractmethod
    def _believe(self, state: S, around: Around) -> None:
        """Settle what the client claims to have."""

    @abstractmethod
    def _may_name(self, user: str, type_url: str) -> bool:
        """Return whether resources of the one type may keep those of the other in use."""

    @abstractmethod
    def _body(self, state: S, planned: Plan) -> bytes:
        """Return the response of a plan, encoded, without a nonce."""

    def _introduced(self, request: Request) -> tuple[Event, ...]:
        if self._node is not None:
            return ()
        if request.node is None:
            raise ProtocolError(Code.INVALID_ARGUMENT, "the first request on a stream must carry a node")
        self._node = request.node
        return (request.node,)

    def _check(self, type_url: str, names: int) -> None:
        if not type_url:
            raise ProtocolError(Code.INVALID_ARGUMENT, "a request on an aggregated stream must have a type_url")
        known = self._types.get(type_url)
        if known is not None and names <= len(known.subscription.names):
            return
        others = sum(len(state.subscription.names) for state in self._order if state is not known)
        if names + others > self._limits.names:
            problem = f"{names + others} resource names, more than {self._limits.names}"
            raise ProtocolError(Code.RESOURCE_EXHAUSTED, problem)
        if known is None and len(self._types) >= self._limits.types:
            raise ProtocolError(Code.RESOURCE_EXHAUSTED, f"more than {self._limits.types} resource types")

    def _crossed(self, type_url: str, nonce: str) -> StaleNonce:
        self._stale += 1
        if self._stale > self._limits.stale:
            problem = f"more than {self._limits.stale} requests in a row with a stale nonce"
            raise ProtocolError(Code.RESOURCE_EXHAUSTED, problem)
        return StaleNonce(type_url, nonce)

    def _answered(self, state: S, flight: Flight, error: str | None, now: float) -> Event:
        self._stale = 0
        had = state.held
        event = state.answer(flight, error, self._sharing, now)
        self._moved(state, flight.plan, quiet=state.held is flight.plan.after)
        if state is self._clusters and self._endpoints is not None and had is not state.held:
            gone = had.parents.keys() - state.held.parents.keys()
            if gone:
                self._endpoints.forget(gone, self._sharing)
        return event

    def _moved(self, state: S, planned: Plan, *, quiet: bool = True) -> None:
        """Note that other types may have to be looked at again: what the client has of this one has changed.

        Most changes are quiet: of weights, say. What depends on routes or listeners looks at what they refer to alone.
        """
        others_look_closer = state is self._clusters or state is self._endpoints
        if others_look_closer or not (quiet and planned.quiet):
            self._moves += 1

    def _at_rest(self, offering: Offering, state: S) -> bool:
        """Return whether nothing has happened since there was nothing to send."""
        calm = state.calm
        if calm is None or state.calm_at != self._moves or calm.clusters_due is not None:
            return False
        if calm.shelf is not self._sharing.shelf(offering, state.type_url):
            return False
        return self._clusters is None or self._clusters.flight is None

    def _begin(self, state: S) -> S:
        self._moves += 1
        self._unheard |= bool(state.claim)
        self._types[state.type_url] = state
        if state.type_url == TypeUrl.CLUSTER:
            self._clusters = state
        elif state.type_url == TypeUrl.ENDPOINT:
            self._endpoints = state
        self._order = tuple(sorted(self._types.values(), key=lambda s: (rule(s.type_url).rank, s.type_url)))
        self._users_of = {
            type_url: tuple(user for user in self._order if self._may_name(user.type_url, type_url))
            for type_url in self._types
        }
        return state

    def _users(self, state: S) -> tuple[Holding, ...]:
        """Return what may name these of what the client has, or will have when it has taken what is under way."""
        users = self._users_of[state.type_url]
        if not users:
            return ()
        flying = [user.flight.plan.after for user in users if user.flight is not None]
        return (*[user.held for user in users], *flying)

    def _respond(self, offering: Offering, state: S) -> Response | None:
        around = self._around(offering, state)
        if state.calm == around:
            state.calm_at = self._moves
            return None
        if state.claim:
            self._believe(state, around)
            self._moves += 1
        if state is self._endpoints:
            self._owe_assignments()
        if state.refusals.suspects or len(state.refusals.bad) > REMEMBERED:
            state.refusals = state.refusals.still_in(around.shelf.wanted(state.subscription))
        planned = self._sharing.plan(state.scene(around, self._now))
        state.waiting = planned.waiting
        if not planned.due:
            state.settle(around, offering.snapshot, planned)
            if state.tired(self._now):
                state.calm = None  # to be looked at again when it may be tried again
            state.calm_at = self._moves
            return None
        self._responses += 1
        nonce = str(self._responses)
        if state is self._clusters:
            changed = _changed(state.last.parents, planned.after.parents) | state.shaky(planned)
            self._warming = self._sharing.names(self._warming | changed) if changed else self._warming
            self._owe_assignments()
        state.send(Flight(nonce, around.shelf, planned))
        self._moved(state, planned)
        body = self._body(state, planned)
        return Response(Sent(state.type_url, planned.after.version, nonce, len(planned.carried), len(body)), body)

    def _hear_of_users(self, offering: Offering) -> None:
        """Settle what the client claims to have of what may name its clusters, before any of those is taken away."""
        for state in self._order:
            if state.claim and state is not self._clusters and state is not self._endpoints:
                self._believe(state, self._around(offering, state))
                self._moves += 1
        self._unheard = False

    def _owe_assignments(self) -> None:
        """Have the assignments of changed clusters sent again, as soon as it is known what the client has of them."""
        if self._warming and self._endpoints is not None and not self._endpoints.claim:
            self._endpoints.renew(self._warming)
            self._warming = NOBODY

    def _around(self, offering: Offering, state: S) -> Around:
        shelf = self._sharing.shelf(offering, state.type_url)
        users = self._users(state)
        clusters = self._clusters
        if clusters is None or state is clusters:
            return Around(shelf, users=users)
        if state.type_url == TypeUrl.ENDPOINT:
            newest = self._sharing.shelf(offering, TypeUrl.CLUSTER)
            stuck = clusters.flight is not None and clusters.flight.shelf is not newest
            return Around(shelf, clusters.last, clusters_due=newest if stuck else None, users=users)
        if not clusters.subscription.wildcard:
            return Around(shelf, users=users)
        endpoints = None if self._endpoints is None else self._endpoints.held
        leaving = NOBODY if clusters.flight is None else clusters.flight.plan.removed
        return Around(shelf, clusters.held, endpoints, users=users, leaving=leaving)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> frozenset[str]:
    if before is after:
        return NOBODY
    return frozenset(name for name, version in after.items() if before.get(name) != version)
