"""What is measured of a service: demand, latencies, links that are cut, and the capacity that agents report.

A verdict is what is believed of a place; this is what a decision goes by besides, in the policy's stead: `Measured`.
Figures that follow traffic never stand still, and each new one would be a new decision, so a latency or a capacity
moves only when the difference matters. Demand has its own pace (demand.py).
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from xds_server.decision.agents import AgentBook, Claim
from xds_server.decision.demand import demand_rps
from xds_server.decision.links import LinkBook
from xds_server.decision.measured import Measured
from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import Place
from xds_server.policy.types import Service

LATENCY_MATTERS_MS = 5.0
CAPACITY_MATTERS = 0.05


class Survey:
    """All measurements, for one look. It owns nothing: the books are the health book's. `views` are sorted.

    `undecided` are the places of which it is being decided whether they are down.
    """

    def __init__(
        self,
        views: tuple[str, ...],
        traffic: TrafficBook,
        links: LinkBook,
        agents: AgentBook,
        undecided: Container[Place],
    ) -> None:
        self._views = views
        self._traffic = traffic
        self._links = links
        self._agents = agents
        self._undecided = undecided

    def of(self, service: Service, before: Measured, now: float) -> Measured:
        """Return what is measured of a service at `now`; `before` is what it was."""
        places = {region: Place(service.name, region) for region in sorted(service.deployments)}
        claims = self._capacity(service, before, now)
        returning = {
            (view, region): ramp
            for region, place in places.items()
            for view, ramp in self._links.returning(place).items()
        }
        return Measured(
            self._demand(service, now),
            {**before.latency_ms, **self._latency(places, before)},
            frozenset((view, region) for region, place in places.items() for view in self._links.cut(place)),
            {region: claim.rps for region, claim in claims.items()},
            returning=returning,
            judged=frozenset(region for region, place in places.items() if place in self._undecided),
            told=tuple(cut for place in places.values() for cut in self._links.told(place)),
            capacity_why={region: claim.why for region, claim in claims.items() if claim.why},
        )

    def _demand(self, service: Service, now: float) -> Mapping[str, float]:
        """Return the demand in req/s of the views of which it is measured."""
        stated = zip(self._views, demand_rps(service, self._views), strict=True)
        return {
            view: measured
            for view, rps in stated
            if (measured := self._traffic.demand_rps(service.name, view, rps, now)) is not None
        }

    def _latency(self, places: Mapping[str, Place], before: Measured) -> Mapping[tuple[str, str], float]:
        """Return the latency in ms of the paths, view and region, of which it is measured."""
        return {
            (view, region): _steady(before.latency_ms.get((view, region)), ms)
            for region, place in places.items()
            for view in self._traffic.views(place)
            if (ms := self._traffic.latency.distance_ms(view, place)) is not None
        }

    def _capacity(self, service: Service, before: Measured, now: float) -> Mapping[str, Claim]:
        """Return the capacity of the regions of which agents report it, and who says so."""
        if self._agents.silent:
            return {}
        found = {}
        for region, deployment in service.deployments.items():
            place = Place(service.name, region)
            self._agents.follow_load(place, self._traffic.load_rps(place, now), now)
            claim = self._agents.capacity(place, deployment.capacity_rps, now)
            if claim is not None:
                rps = _coarse(before.capacity_rps.get(region), claim.rps)
                found[region] = claim if rps == claim.rps else Claim(rps, before.capacity_why.get(region, ""))
        return found


def _coarse(before: float | None, rps: float) -> float:
    """Return a capacity that moves only when the difference matters."""
    return before if before is not None and abs(rps - before) <= CAPACITY_MATTERS * before else rps


def _steady(before: float | None, ms: float) -> float:
    """Return a latency that moves only when the difference matters, in whole milliseconds."""
    matters = LATENCY_MATTERS_MS if before is None else max(LATENCY_MATTERS_MS, 0.1 * before)
    return before if before is not None and abs(ms - before) <= matters else float(round(ms))
