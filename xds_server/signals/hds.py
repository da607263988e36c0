"""Envoys that look at other regions for us (Envoy, "Health Discovery Service").

Every Envoy with HDS in its bootstrap opens a stream; a few are chosen (decision/watchers.py, handed in) and sent what
to probe; the others wait and cost an idle stream. Choosing happens a moment after streams come or go and after the
endpoints change, not once for each of ten thousand reconnects. An Envoy that does not take its orders within `ORDER_S`
is passed over from then on.

*Envoy's first word is a guess.* It counts an endpoint as failed until the first answer is in. A failure of an endpoint
that was never reported well counts only after a probe had the time to end: `interval` + `timeout` + `SETTLE_S` from
when it was ordered. Nor is a report evidence of a new look: Envoy repeats its last result every second; the
observation is dated by the report all the same, because an Envoy that reports is an Envoy that probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.config.core.v3 import health_check_pb2
from envoy.service.health.v3 import hds_pb2

from xds_server.model import Observation, Target, Watcher
from xds_server.policy.types import HealthCheck
from xds_server.protocol.events import Code, ProtocolError
from xds_server.protocol.identity import host_of, identities
from xds_server.signals.streams import Counts, StreamService, ViewOf, first_message
from xds_server.snapshot.kinds import Feature, lacking

SERVICE = "envoy.service.health.v3.HealthDiscoveryService"
GATHER_S = 0.2
"""Streams that come or go within this time of each other cause one choice."""

ORDER_S = 5.0
SETTLE_S = 2.0

REPORT_S = 0.9
"""An Envoy reports once a second; what one stream says sooner than this after its last report is not counted, so that
it cannot drown what the others of its view see."""

HEALTHY = health_check_pb2.HEALTHY
_WORDS: Mapping[int, str] = {
    health_check_pb2.TIMEOUT: "Envoy's probe had no answer in time",
    health_check_pb2.UNHEALTHY: "Envoy's probe failed",
    health_check_pb2.DRAINING: "draining",
}


Choose = Callable[[Iterable[Watcher], Collection[int], Iterable[Target]], Mapping[int, tuple[Target, ...]]]
"""Says who watches what, by stream: of those connected, given who watches now, and all targets."""

Encode = Callable[[Mapping[Target, HealthCheck], frozenset[Feature]], bytes]
"""Says what to send a watcher: to look at these, given which features it lacks."""


@dataclass(slots=True)
class _Watch:
    """One stream: what it was ordered to look at and when, and what has been seen well."""

    candidate: Watcher
    lacks: frozenset[Feature]
    context: Any
    ordered: bytes = b""
    since: dict[Target, float] = field(default_factory=dict)
    names: dict[tuple[str, str, int], Target] = field(default_factory=dict)
    proven: set[Target] = field(default_factory=set)
    stuck: bool = False
    heard_at: float = float("-inf")


class HealthServer:
    """Hands out probes to the chosen Envoys and their results to `emit`."""

    def __init__(
        self,
        emit: Callable[[Observation], None],
        view_of: ViewOf,
        now: Callable[[], float],
        choose: Choose,
        encode: Encode,
    ) -> None:
        self._emit = emit
        self._view_of = view_of
        self._now = now
        self._choose = choose
        self._encode = encode
        self._targets: Mapping[Target, HealthCheck] = {}
        self._watches: dict[int, _Watch] = {}
        self._opened = 0
        self._changed = asyncio.Event()
        self.counts = Counts("hds")
        self._service = StreamService(SERVICE, "StreamHealthCheck", self.counts, self._talk)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what the gRPC server adds."""
        return self._service.handler()

    def recheck(self) -> None:
        """End the streams of clients that the policy no longer lets be who they say."""
        self._service.recheck(self._view_of)

    def close(self) -> None:
        """End every stream."""
        self._service.close()

    def set_targets(self, targets: Mapping[Target, HealthCheck]) -> None:
        """Have these watched from now on."""
        self._targets = dict(targets)
        self._changed.set()

    @property
    def watching(self) -> Mapping[str, tuple[Target, ...]]:
        """Return what each chosen Envoy looks at, by its name."""
        return {w.candidate.node_id: tuple(w.since) for w in self._watches.values() if w.since}

    async def run(self) -> None:
        """Choose again whenever streams or targets changed, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            self._changed.clear()
            await self._assign()

    async def _assign(self) -> None:
        watching = {number for number, watch in self._watches.items() if watch.since}
        candidates = [watch.candidate for watch in self._watches.values() if not watch.stuck]
        chosen = self._choose(candidates, watching, self._targets)
        for number, watch in list(self._watches.items()):
            if not watch.stuck:
                await self._order(watch, chosen.get(number, ()))

    async def _order(self, watch: _Watch, targets: tuple[Target, ...]) -> None:
        """Tell one Envoy what to look at, if that is news to it."""
        order = self._encode({target: self._targets[target] for target in targets}, watch.lacks)
        if order == watch.ordered or not (targets or watch.ordered):
            return
        now = self._now()
        watch.ordered = order
        watch.since = {target: watch.since.get(target, now) for target in targets}
        watch.names = {(f"{t.service}@{t.region}", t.address.ip, t.address.port): t for t in targets}
        watch.proven &= watch.since.keys()
        try:
            async with asyncio.timeout(ORDER_S):
                await watch.context.write(order)
        except TimeoutError:
            watch.stuck = True
            self._changed.set()
        except (grpc.aio.InternalError, grpc.aio.UsageError):
            pass  # the Envoy is gone; its reading task will find out too

    async def _talk(self, context: Any) -> None:
        data = await first_message(context)
        if data is grpc.aio.EOF:
            return
        first = hds_pb2.HealthCheckRequestOrEndpointHealthResponse.FromString(data)
        if not first.HasField("health_check_request"):
            raise ProtocolError(Code.INVALID_ARGUMENT, "the first message has no health_check_request")
        node = first.health_check_request.node
        view = self._service.place(self._view_of, context, node)
        self._opened += 1
        certificate = next(iter(identities(context.auth_context())), "")
        candidate = Watcher(self._opened, node.id, view.region, certificate, host_of(context.peer()))
        watch = _Watch(candidate, lacking(view.kind), context)
        del first, data, node  # 60 KB of node for as long as the Envoy is connected
        self._watches[watch.candidate.stream] = watch
        self._changed.set()
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                message = hds_pb2.HealthCheckRequestOrEndpointHealthResponse.FromString(data)
                self._hear(watch, message.endpoint_health_response)
        finally:
            del self._watches[watch.candidate.stream]
            self._changed.set()

    def _hear(self, watch: _Watch, response: Any) -> None:
        self.counts.messages += 1
        now = self._now()
        if now - watch.heard_at < REPORT_S:
            self.counts.ignored += 1
            return
        watch.heard_at = now
        for cluster in response.cluster_endpoints_health:
            place = cluster.cluster_name.partition("/")[2]
            for locality in cluster.locality_endpoints_health:
                for endpoint in locality.endpoints_health:
                    self._take(watch, place, endpoint, now)

    def _take(self, watch: _Watch, place: str, endpoint: Any, now: float) -> None:
        address = endpoint.endpoint.address.socket_address
        target = watch.names.get((place, address.address, address.port_value))
        if target is None:
            self.counts.ignored += 1
            return
        healthy = endpoint.health_status == HEALTHY
        if healthy:
            watch.proven.add(target)
        elif target not in watch.proven and now < watch.since[target] + self._patience(target):
            return
        detail = "" if healthy else _WORDS.get(endpoint.health_status, "not healthy")
        candidate = watch.candidate
        self._emit(
            Observation(candidate.node_id, target, healthy=healthy, at=now, detail=detail, view=candidate.region)
        )

    def _patience(self, target: Target) -> float:
        check = self._targets.get(target)
        return SETTLE_S + (check.interval_ms + check.timeout_ms) / 1000 if check is not None else float("inf")
