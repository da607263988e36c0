"""The SotW conversation of one stream: `receive` a request, `offer` the latest snapshot, get responses to send.

    client                                server
      │  first request of a type            │   what it has (version), who it is (node)
      ├────────────────────────────────────►│
      │           response, nonce 1         │   at most one response per type is unanswered
      │◄────────────────────────────────────┤
      │  ACK 1, or NACK 1 (error_detail)    │   then the latest snapshot is compared again
      ├────────────────────────────────────►│

Rules, with their sections of Envoy's `xds_protocol` page:
- A request with an older nonce is ignored whole, names too: it crossed a newer response, and the client repeats its
  names when it answers that ("Resource updates"). But what it did not name it has let go of: if it names that again,
  it has to be sent. A request without a nonce counts as stale only while a response is
  unanswered.
- A NACK is known by `error_detail` alone ("ACK/NACK and resource type instance version").
- Each request states all names of its type; new ones are answered even if the server thinks they are there ("How the
  client specifies what resources to return").
- A type of which there is nothing is still answered if the answer is the full state: the client waits for it.
- A version claimed in the first request is believed for a wildcard. By name it is believed only of Envoy, whose names
  follow from its clusters and listeners: other clients may have dropped a resource and asked for it again
  ("ACK/NACK and resource type instance version", the last paragraph before the example). What an Envoy has dropped
  since is remembered for it (`doubt.py`).
"""

from __future__ import annotations

from xds_server.protocol.conversation import Conversation
from xds_server.protocol.doubt import NO_DOUBT
from xds_server.protocol.events import Event, Subscribed
from xds_server.protocol.plan import Around, Plan, Scene
from xds_server.protocol.rules import rule
from xds_server.protocol.typestate import TypeState
from xds_server.protocol.wire import Request
from xds_server.snapshot.resource import TypeUrl

ENVOY = "envoy"
"""The `user_agent_name` of Envoy."""

ENDPOINT_RANK = rule(TypeUrl.ENDPOINT).rank


class SotwStream(Conversation[Request, TypeState]):
    """One stream. Not for several threads; it never waits."""

    variant = "sotw"

    def receive(self, request: Request, now: float = 0.0) -> tuple[Event, ...]:
        """Take in a request; `offer` then says what to answer. Raises ProtocolError."""
        self._now = now
        events = [*self._introduced(request)]
        self._check(request.type_url, len(request.names))
        state = self._types.get(request.type_url) or self._begin(TypeState(request.type_url, request.version))
        if state.is_stale(request):
            events.append(self._crossed(request.type_url, request.nonce))
            self._moves += state.overhear(request.names, self._sharing)
            return tuple(events)
        self._offered = None
        if state.flight is not None:
            events.append(self._answered(state, state.flight, request.error, now))
        if state.subscribe(request.names, self._sharing):
            self._moves += 1
            events.append(Subscribed(request.type_url, state.subscription.names, state.subscription.wildcard))
        return tuple(events)

    def _believe(self, state: TypeState, around: Around) -> None:
        by_name = self._node is not None and self._node.agent == ENVOY and not around.shelf.label
        doubt = self._sharing.doubts(self._node).get(state.type_url, NO_DOUBT)
        absent = doubt.dropped and state.type_url == TypeUrl.ENDPOINT
        trusted = state.subscription.wildcard or (by_name and not state.full_state and not absent)
        claimed = self._sharing.claimed(Scene(around, state.subscription), str(state.claim)) if trusted else None
        state.believe(claimed, self._sharing, doubt)

    def _may_name(self, user: str, type_url: str) -> bool:
        return type_url == TypeUrl.CLUSTER and rule(user).rank > ENDPOINT_RANK

    def _body(self, state: TypeState, planned: Plan) -> bytes:
        return self._sharing.body(state.type_url, planned)
