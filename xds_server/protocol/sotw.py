"""The SotW conversation of one stream: `receive` a request, `offer` the latest snapshot, get responses to send.

    client                                server
      │  first request of a type            │   what it has (version), who it is (node)
      ├────────────────────────────────────►│
      │           response, nonce 1         │   at most one response per type is unanswered
      │◄────────────────────────────────────┤
      │  ACK 1, or NACK 1 (error_detail)    │   then the latest snapshot is compared again
      ├────────────────────────────────────►│

One response per type in flight, and only the latest snapshot behind it: a slow client skips versions, and costs a
bounded amount of memory. Sending newer versions at once and sorting out nonces later was rejected: it saves one round
trip, and the server no longer knows what the client has.

Rules, with their sections of Envoy's `xds_protocol` page:
- A nonce belongs to the stream and to one response ("Basic Protocol Overview"), so it is a counter, never made from the
  version: a version may be sent twice. A request with an older nonce is ignored whole, names too: it crossed a newer
  response, and the client repeats its names when it answers that ("Resource updates"). A request without a nonce counts
  as stale only while a response is unanswered.
- A NACK is known by `error_detail` alone ("ACK/NACK and resource type instance version").
- Each request states all names of its type; new ones are answered even if the server thinks they are there ("How the
  client specifies what resources to return").
- A type of which there is nothing is still answered if the answer is the full state: the client waits for it.
- A version claimed in the first request is believed for a wildcard. By name it is believed only of Envoy, whose names
  follow from its clusters and listeners: other clients may have dropped a resource and asked for it again
  ("ACK/NACK and resource type instance version", the last paragraph before the example).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xds_server.protocol.events import Code, Event, Identified, ProtocolError, Sent, StaleNonce, Subscribed
from xds_server.protocol.holding import Holding, Offering
from xds_server.protocol.plan import Around, Scene
from xds_server.protocol.rules import rule
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.typestate import NOBODY, Flight, TypeState, TypeStatus
from xds_server.protocol.wire import Request, with_nonce
from xds_server.snapshot.resource import Snapshot, TypeUrl

ENVOY = "envoy"
"""The `user_agent_name` of Envoy."""

ENDPOINT_RANK = rule(TypeUrl.ENDPOINT).rank


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may ask for.

    Envoy uses fewer than 10 types, and asks for one assignment per cluster: 8,000 for 1,000 services in 8 regions.
    """

    types: int = 32
    names: int = 50_000


class Response(NamedTuple):
    """A response for one stream; the body is shared with other streams."""

    sent: Sent
    body: bytes

    def encode(self) -> bytes:
        """Return the bytes for the wire."""
        return with_nonce(self.body, self.sent.nonce)


class SotwStream:
    """One stream. Not for several threads; it never waits."""

    def __init__(self, sharing: Sharing, limits: Limits | None = None) -> None:
        self._sharing = sharing
        self._limits = limits or Limits()
        self._types: dict[str, TypeState] = {}
        self._order: tuple[TypeState, ...] = ()
        self._clusters: TypeState | None = None
        self._endpoints: TypeState | None = None
        self._node: Identified | None = None
        self._responses = 0
        self._offered: Offering | None = None

    @property
    def identified(self) -> bool:
        """Return whether the first request has come."""
        return self._node is not None

    def receive(self, request: Request) -> tuple[Event, ...]:
        """Take in a request; `offer` then says what to answer. Raises ProtocolError."""
        events: list[Event] = []
        if self._node is None:
            if request.node is None:
                raise ProtocolError(Code.INVALID_ARGUMENT, "the first request on a stream must carry a node")
            self._node = request.node
            events.append(request.node)
        self._check(request)
        state = self._types.get(request.type_url) or self._begin(request)
        if state.is_stale(request):
            events.append(StaleNonce(request.type_url, request.nonce))
            return tuple(events)
        self._offered = None
        if state.flight is not None:
            events.append(self._answered(state, state.flight, request.error))
        if state.subscribe(request.names, self._sharing):
            events.append(Subscribed(request.type_url, state.subscription.names, state.subscription.wildcard))
        return tuple(events)

    def offer(self, snapshot: Snapshot) -> tuple[Response, ...]:
        """Return the responses to send now, in order, so that the client gets to `snapshot`."""
        offering = self._sharing.offering(snapshot)
        if offering is self._offered:
            return ()
        self._offered = offering
        idle = (state for state in self._order if state.flight is None)
        return tuple(response for state in idle if (response := self._respond(offering, state)))

    def status(self) -> tuple[TypeStatus, ...]:
        """Return where the client is with each type it has asked for."""
        return tuple(state.status() for state in self._order)

    def end(self) -> None:
        """Note what the client's claims are worth when it comes back: rejected sets are applied as far as good."""
        if self._node is not None:
            unsettled = frozenset(state.type_url for state in self._order if not state.settled)
            self._sharing.doubt(self._node, unsettled)

    def _check(self, request: Request) -> None:
        if not request.type_url:
            raise ProtocolError(Code.INVALID_ARGUMENT, "a request on an aggregated stream must have a type_url")
        if len(request.names) > self._limits.names:
            problem = f"{len(request.names)} resource names, more than {self._limits.names}"
            raise ProtocolError(Code.RESOURCE_EXHAUSTED, problem)
        if request.type_url not in self._types and len(self._types) >= self._limits.types:
            raise ProtocolError(Code.RESOURCE_EXHAUSTED, f"more than {self._limits.types} resource types")

    def _answered(self, state: TypeState, flight: Flight, error: str | None) -> Event:
        had = state.held
        event = state.answer(flight, error, self._sharing)
        if state is self._clusters and self._endpoints is not None and had is not state.held:
            gone = had.parents.keys() - state.held.parents.keys()
            if gone:
                self._endpoints.forget(gone, self._sharing)
        return event

    def _begin(self, request: Request) -> TypeState:
        state = self._types[request.type_url] = TypeState(request.type_url, request.version)
        if request.type_url == TypeUrl.CLUSTER:
            self._clusters = state
        elif request.type_url == TypeUrl.ENDPOINT:
            self._endpoints = state
        self._order = tuple(sorted(self._types.values(), key=lambda s: (rule(s.type_url).rank, s.type_url)))
        return state

    def _respond(self, offering: Offering, state: TypeState) -> Response | None:
        around = self._around(offering, state)
        if state.calm == around:
            return None
        if state.claim:
            self._believe(state, around)
        if state.refusals.suspects:
            state.refusals = state.refusals.still_in(around.shelf.resources)
        planned = self._sharing.plan(state.scene(around))
        state.waiting = planned.waiting
        if not planned.due:
            state.settle(around, offering.snapshot, planned)
            return None
        self._responses += 1
        nonce = str(self._responses)
        if state is self._clusters and self._endpoints is not None:
            self._endpoints.renew(_changed(state.last.parents, planned.after.parents))
        state.send(Flight(nonce, around.shelf, planned))
        body = self._sharing.body(state.type_url, planned)
        return Response(Sent(state.type_url, planned.after.version, nonce, len(planned.carried), len(body)), body)

    def _believe(self, state: TypeState, around: Around) -> None:
        by_name = self._node is not None and self._node.agent == ENVOY and not around.shelf.label
        trusted = state.subscription.wildcard or (by_name and not state.full_state)
        claimed = self._sharing.claimed(Scene(around, state.subscription), state.claim) if trusted else None
        doubted = self._sharing.doubted(self._node, state.type_url)
        state.believe(claimed, self._sharing, doubted=doubted)

    def _around(self, offering: Offering, state: TypeState) -> Around:
        shelf = self._sharing.shelf(offering, state.type_url)
        if state.type_url == TypeUrl.CLUSTER:
            return Around(shelf, users=self._users())
        clusters = self._clusters
        if clusters is None:
            return Around(shelf)
        if state.type_url == TypeUrl.ENDPOINT:
            newest = self._sharing.shelf(offering, TypeUrl.CLUSTER)
            stuck = clusters.flight is not None and clusters.flight.shelf is not newest
            return Around(shelf, clusters.last, clusters_due=newest if stuck else None)
        if not clusters.subscription.wildcard:
            return Around(shelf)
        return Around(shelf, clusters.held, None if self._endpoints is None else self._endpoints.held)

    def _users(self) -> tuple[Holding, ...]:
        held = [state.held for state in self._order if rule(state.type_url).rank > ENDPOINT_RANK]
        flying = [s.flight.plan.after for s in self._order if s.flight and rule(s.type_url).rank > ENDPOINT_RANK]
        return (*held, *flying)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> frozenset[str]:
    if before is after:
        return NOBODY
    return frozenset(name for name, version in after.items() if before.get(name) != version)
