"""What one Envoy is sent when the weights of one service move, in bytes of responses.

The conversation is the product's own, without a socket. What a runtime layer would take is encoded, not served. The
refresh of priority 1 is counted apart: it is another type, and another message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from envoy.service.runtime.v3 import rtds_pb2

from bench.figures import Figure
from bench.run import Run
from bench.snapshots import Round
from bench.world import EIGHT, Incident, policy
from xds_server.model import Decision, Row, ServiceDecision, ViewKey
from xds_server.policy.types import DEFAULT_FLEET
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.delta_wire import DeltaRequest
from xds_server.protocol.events import Identified
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.wire import Request
from xds_server.snapshot.kinds import kind_of
from xds_server.snapshot.resource import Snapshot, TypeUrl

_REACH = 4 * 1024
_NODE = Identified("bench", DEFAULT_FLEET, EIGHT[0], "", "envoy", "1.40.0")
_ALL = (TypeUrl.CLUSTER, TypeUrl.LISTENER, TypeUrl.VIRTUAL_HOST)
_BY_NAME = (TypeUrl.ENDPOINT, TypeUrl.ROUTE)


def route_bytes(run: Run) -> list[Figure]:
    """Measure with many services and with few."""
    figures: list[Figure] = []
    for services in run.pick((1_000, 100), (10,)):
        run.say(f"{services} services in {len(EIGHT)} regions")
        of = policy(services, EIGHT)
        incident = Incident()
        incident.begin(of)
        decision = incident.controller.decision
        assert decision is not None
        figures += _figures(Round(of), decision, f"{services:,} services")
    return figures


def _figures(round_: Round, decision: Decision, size: str) -> list[Figure]:
    weights = _sent(round_, decision, _weights_moved, delta=True)
    plans = _sent(round_, decision, _plans_moved, delta=True)
    whole = _sent(round_, decision, _weights_moved, delta=False)
    layer = _runtime_layer(decision)
    return [
        Figure(f"routes to one Envoy, one service's weights, {size}, delta", "B", (weights.total(),), _REACH),
        Figure(f"the same, state of the world, {size}", "B", (whole.total(),)),
        Figure(f"the same, were weights a runtime layer, {size}", "B", (layer,)),
        Figure(f"assignments to one Envoy, one service's priority 1, {size}, delta", "B", (plans.total(),)),
    ]


def _sent(
    round_: Round, decision: Decision, change: Callable[[ServiceDecision], ServiceDecision], *, delta: bool
) -> Counter[str]:
    """Return the bytes of responses by type that a change of the first service brings to a client that had all."""
    first, *others = decision.services
    view = ViewKey(DEFAULT_FLEET, EIGHT[0], kind_of(_NODE.agent, _NODE.version, delta=delta))
    before = round_.build(decision, view)[view]
    after = round_.build(replace(decision, services=(change(first), *others)), view)[view]
    client = _Client(before, delta=delta)
    client.settle(before)
    return client.settle(after)


def _weights_moved(decided: ServiceDecision) -> ServiceDecision:
    return replace(decided, weights=tuple(_turned(row) for row in decided.weights))


def _plans_moved(decided: ServiceDecision) -> ServiceDecision:
    return replace(decided, reflex=tuple(tuple(_turned(row) for row in table) for table in decided.reflex))


def _turned(row: Sequence[int]) -> Row:
    return (*row[1:], row[0])


def _runtime_layer(decision: Decision) -> int:
    """Return the size of one view's weights as runtime keys: a layer comes whole."""
    layer = rtds_pb2.Runtime(name="weights")
    for decided in decision.services:
        for region, weight in zip(decided.regions, decided.weights[0], strict=True):
            layer.layer.fields[f"outbound.{decided.service}.{decided.service}@{region}"].number_value = weight
    return int(layer.ByteSize())


class _Client:
    """A client of one stream that asks for everything and acknowledges everything."""

    def __init__(self, has: Snapshot, *, delta: bool) -> None:
        self._delta = delta
        self._stream: Any = DeltaStream(Sharing()) if delta else SotwStream(Sharing())
        self._names = {url: frozenset(has.resources[url]) for url in _BY_NAME}
        for url in _ALL if delta else _ALL[:2]:
            self._ask(url, frozenset())
        for url, names in self._names.items():
            self._ask(url, names)

    def settle(self, snapshot: Snapshot) -> Counter[str]:
        """Take all that comes until nothing more does; return the bytes of it by type."""
        sizes: Counter[str] = Counter()
        while responses := self._stream.offer(snapshot):
            for response in responses:
                sizes[response.sent.type_url] += len(response.encode())
                self._acknowledge(response.sent)
        return sizes

    def _ask(self, url: str, names: frozenset[str]) -> None:
        request = DeltaRequest(url, names, node=_NODE) if self._delta else Request(url, names, node=_NODE)
        self._stream.receive(request)

    def _acknowledge(self, sent: Any) -> None:
        url = sent.type_url
        names = self._names.get(url, frozenset())
        self._stream.receive(
            DeltaRequest(url, nonce=sent.nonce)
            if self._delta
            else Request(url, names, version=sent.version, nonce=sent.nonce)
        )
