"""The delta conversation of one stream: the same shape as SotW's, `receive` a request and `offer` the latest snapshot.

    client                                server
      │  names added, versions it has       │   who it is (node), once
      ├────────────────────────────────────►│
      │     what differs, what is gone      │   at most one response per type is unanswered
      │◄────────────────────────────────────┤
      │  ACK or NACK, by nonce              │   then the latest snapshot is compared again
      ├────────────────────────────────────►│
      │  names added, names removed         │   at any time, with or without a nonce
      ├────────────────────────────────────►│

Rules, with their sections of Envoy's `xds_protocol` page; those of names are in `subscription.py` and `delta_type.py`,
those of responses in `delta_plan.py`:

- A request with an older nonce answers nothing, but its names count: "the server must honor changes to the subscription
  state even if the nonce is stale" ("Incremental xDS"). A request without a nonce is a change of names alone.
- A NACK is known by `error_detail` ("ACK/NACK and resource type instance version").
- `initial_resource_versions` of the first request of a type say what the client has ("Incremental xDS", reconnect):
  only the difference is sent, and what was deleted meanwhile is removed. A version that is not known here any more
  still tells that the client has the name, and that it may need anything. A client that left while it was
  rejecting something has more than its versions say; one that left while its clusters changed may wait for their
  assignments: for those types everything is sent again.
"""

from __future__ import annotations

from xds_server.protocol.conversation import Conversation
from xds_server.protocol.delta_type import DeltaType
from xds_server.protocol.delta_wire import DeltaRequest
from xds_server.protocol.doubt import NO_DOUBT
from xds_server.protocol.events import Event, Subscribed
from xds_server.protocol.holding import MAYBE
from xds_server.protocol.plan import Around, Plan
from xds_server.protocol.rules import referrers
from xds_server.protocol.typestate import NOBODY
from xds_server.snapshot.resource import TypeUrl


class DeltaStream(Conversation[DeltaRequest, DeltaType]):
    """One stream. Not for several threads; it never waits."""

    variant = "delta"

    def receive(self, request: DeltaRequest, now: float = 0.0) -> tuple[Event, ...]:
        """Take in a request; `offer` then says what to answer. Raises ProtocolError."""
        self._now = now
        events = [*self._introduced(request)]
        state = self._types.get(request.type_url)
        names = state.subscription.names if state else NOBODY
        if request.added or request.removed:
            names = (names - request.removed) | request.added
        self._check(request.type_url, len(names) + len(request.versions))
        first = state is None
        state = state or self._begin(DeltaType(request.type_url, self._claim(request)))
        flight = state.flight
        if request.nonce and (flight is None or flight.nonce != request.nonce):
            events.append(self._crossed(request.type_url, request.nonce))
        elif request.nonce and flight is not None:
            self._offered = None
            events.append(self._answered(state, flight, request.error, now))
        if first or request.added or request.removed:
            self._offered = None
            if state.change(request, self._sharing, first=first):
                self._moves += 1
                events.append(Subscribed(request.type_url, state.subscription.names, state.subscription.wildcard))
        return tuple(events)

    def _claim(self, request: DeltaRequest) -> frozenset[tuple[str, str]]:
        """Return what the client says it has, and what it may have without knowing."""
        known = {name for name, _ in request.versions}
        touched = self._sharing.doubts(self._node).get(request.type_url, NO_DOUBT).touched
        return request.versions.union((name, MAYBE) for name in touched if name not in known)

    def _believe(self, state: DeltaType, around: Around) -> None:
        assert isinstance(state.claim, frozenset)
        doubt = self._sharing.doubts(self._node).get(state.type_url, NO_DOUBT)
        if doubt.dropped and state.type_url == TypeUrl.ENDPOINT:
            state.claim = ""  # all that it asks for is sent
            return
        state.recognise(self._sharing.recalled(around, state.claim, doubted=doubt.whole), self._sharing)

    def _may_name(self, user: str, type_url: str) -> bool:
        return user in referrers(type_url)

    def _body(self, state: DeltaType, planned: Plan) -> bytes:
        return self._sharing.delta_body(state.type_url, planned)
