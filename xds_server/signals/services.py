"""The gRPC services by which signals come in, as one part of the process: what the xDS port adds, and what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import grpc

from xds_server.model import AccessSummary, AgentReport, LoadReport, Observation, SourceStatus, Target
from xds_server.policy.types import HealthCheck, Policy
from xds_server.signals.agents import AgentDesk, Objection
from xds_server.signals.als import AccessServer
from xds_server.signals.hds import Choose, Encode, HealthServer
from xds_server.signals.lrs import LoadServer
from xds_server.signals.places import Places
from xds_server.signals.streams import ViewOf

Signal = Observation | LoadReport | AccessSummary | AgentReport


class SignalServices:
    """Load reports, remote health checks, access logs and agents. Whatever comes in goes to `emit`, as values."""

    def __init__(
        self,
        emit: Callable[[Signal], None],
        view_of: ViewOf,
        now: Callable[[], float],
        choose: Choose,
        encode: Encode,
        *,
        objection: Objection = lambda *_: "",
    ) -> None:
        self._places = Places()
        self._loads = LoadServer(emit, self._places, view_of, now)
        self._health = HealthServer(emit, view_of, now, choose, encode)
        self._accesses = AccessServer(emit, self._places, view_of, now)
        self.agents = AgentDesk(emit, self._places, now, objection)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return what the gRPC server adds."""
        return (self._loads.handler(), self._health.handler(), self._accesses.handler(), self.agents.handler())

    def follow(self, policy: Policy) -> None:
        """Know the names of this policy from now on, and end the streams of clients that it denies."""
        self._places.follow(policy)
        for part in (self._loads, self._health, self._accesses):
            part.recheck()

    def set_targets(self, targets: Mapping[Target, HealthCheck]) -> None:
        """Have these watched, and know their regions, from now on."""
        self._places.locate(targets)
        self._health.set_targets(targets)

    @property
    def watching(self) -> Mapping[str, tuple[Target, ...]]:
        """Return what each chosen Envoy looks at, by its name."""
        return self._health.watching

    def status(self) -> tuple[SourceStatus, ...]:
        """Return what each source did so far."""
        return tuple(part.counts.status() for part in (self._loads, self._health, self._accesses, self.agents))

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in (self._loads, self._health, self._accesses):
                group.create_task(part.run(), name=type(part).__name__)

    def close(self) -> None:
        """End every stream."""
        for part in (self._loads, self._health, self._accesses):
            part.close()
