"""What a decision for one service is worked out from, and what is passed between its steps.

A `Frame` is what the policy says, made once per policy; `with_measured` puts what was measured in its place. `Prior` is
what is in force, `Placed` a decision whose plans are still to be made. Flows are integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xds_server.decision.allocation import FORBIDDEN
from xds_server.decision.apportion import apportion
from xds_server.decision.demand import demand_rps
from xds_server.decision.measured import NOTHING_MEASURED, Measured
from xds_server.decision.ordered import NOTHING_ORDERED, Ordered
from xds_server.decision.profiles import Choice, Choices, Standings
from xds_server.decision.protection import protect
from xds_server.decision.shedding import NOTHING_SHED, Shedding
from xds_server.model import CutLink, Health, Protection, ServiceDecision, Table, Verdict
from xds_server.policy.types import Policy, Service

UNIT = 1_000_000
"""Flows are integers in millionths of a request per second: sums are exact and equal on every replica."""


Flows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a policy says of one service, in the form the arithmetic wants; made once per policy by `frame`."""

    service: Service
    regions: tuple[str, ...]
    demand: tuple[int, ...]
    capacity: tuple[int, ...]
    cost_us: tuple[tuple[int, ...], ...]
    latency_ms: tuple[tuple[float, ...], ...]
    order: tuple[tuple[int, ...], ...]
    protection: tuple[tuple[Protection | None, ...], ...]
    cuts: frozenset[tuple[int, int]] = frozenset()
    tried: frozenset[tuple[int, int]] = frozenset()
    """Cut links, as (view, region), that count as whole: the view has nowhere else to go."""
    returning: Mapping[tuple[int, int], float] = field(default_factory=dict)
    judged: frozenset[int] = frozenset()
    told: tuple[CutLink, ...] = ()
    capacity_why: tuple[tuple[str, str], ...] = ()
    variants: dict[tuple[int, int, Choice | None], tuple[Protection | None, ...]] = field(default_factory=dict)
    """Columns of `protection` by region, overprovisioning factor and profile, as needed: they are coarse, so few."""


def frame(policy: Policy, service: Service) -> Frame:
    """Return the frame of one service: rates in millionths of req/s, costs in µs of round trip."""
    regions = tuple(sorted(policy.regions))
    latency = tuple(tuple(policy.latency_ms[v, r] for r in regions) for v in regions)
    deployed = [i for i, r in enumerate(regions) if r in service.deployments]
    settings = [protect(policy, service, v) for v in regions]
    return Frame(
        service=service,
        regions=regions,
        demand=tuple(max(1, round(rps * UNIT)) for rps in demand_rps(service, regions)),
        capacity=tuple(
            round(service.deployments[r].capacity_rps * UNIT) if r in service.deployments else 0 for r in regions
        ),
        cost_us=tuple(tuple(round(1000 * ms) for ms in row) for row in latency),
        latency_ms=latency,
        order=tuple(tuple(r for _, r in sorted((row[r], r) for r in deployed)) for row in latency),
        protection=tuple(tuple(by_region.get(r) for r in regions) for by_region in settings),
    )


def with_measured(base: Frame, measured: Measured) -> Frame:
    """Return the frame with measured demand, capacity and latencies, and with cut links forbidden."""
    if measured == NOTHING_MEASURED:
        return base
    regions = base.regions
    latency = _latencies(base, measured)
    cuts = cut_links(base, measured)
    return replace(
        base,
        demand=tuple(
            max(1, round(measured.demand_rps[v] * UNIT)) if v in measured.demand_rps else units
            for v, units in zip(regions, base.demand, strict=True)
        ),
        capacity=tuple(
            round(measured.capacity_rps[r] * UNIT) if r in measured.capacity_rps else units
            for r, units in zip(regions, base.capacity, strict=True)
        ),
        latency_ms=latency,
        cost_us=tuple(
            tuple(FORBIDDEN if (v, r) in cuts else round(1000 * ms) for r, ms in enumerate(row))
            for v, row in enumerate(latency)
        ),
        order=tuple(tuple(r for _, r in sorted((row[r], r) for r in base.order[0])) for row in latency),
        cuts=cuts,
        returning=returning_links(base, measured),
        judged=frozenset(i for i, name in enumerate(regions) if name in measured.judged),
        told=tuple(cut for cut in measured.told if cut.view in regions and cut.region in regions),
        capacity_why=tuple((r, measured.capacity_why[r]) for r in regions if r in measured.capacity_why),
    )


def returning_links(base: Frame, measured: Measured) -> Mapping[tuple[int, int], float]:
    """Return the links that return, with how much of their share has."""
    place = {name: i for i, name in enumerate(base.regions)}
    return {(place[v], place[r]): ramp for (v, r), ramp in measured.returning.items() if v in place and r in place}


def _latencies(base: Frame, measured: Measured) -> tuple[tuple[float, ...], ...]:
    """Return measured latencies, and for paths without traffic the policy's round trip made comparable.

    What is measured includes the service's own time, the policy's figure does not: a path without a measurement gets
    the surplus that the measured paths to that region have, or that all measured paths have.
    """
    place = {name: i for i, name in enumerate(base.regions)}
    known = {(place[v], place[r]): ms for (v, r), ms in measured.latency_ms.items() if v in place and r in place}
    if not known:
        return base.latency_ms
    over = {(v, r): max(0.0, ms - base.latency_ms[v][r]) for (v, r), ms in known.items()}
    everywhere = min(over.values())
    surplus = [min((ms for (_, to), ms in over.items() if to == r), default=everywhere) for r in range(len(place))]
    return tuple(
        tuple(known.get((v, r), ms + surplus[r]) for r, ms in enumerate(row)) for v, row in enumerate(base.latency_ms)
    )


def cut_links(base: Frame, measured: Measured) -> frozenset[tuple[int, int]]:
    """Return the cut links as (view, region)."""
    place = {name: i for i, name in enumerate(base.regions)}
    return frozenset((place[v], place[r]) for v, r in measured.cuts if v in place and r in place)


def with_tries(base: Frame, verdicts: tuple[Verdict | None, ...]) -> Frame:
    """Return the frame without the cuts of a view that has nowhere else to go: a try beats an error.

    Somewhere to go is a region that serves and is not being left; without any such region one that serves, else one
    with a deployment. So a view that reaches only a region that is evacuated is moved step by step like all others.
    """
    if not base.cuts:
        return base
    serving = [r for r, v in enumerate(verdicts) if v and v.serves and base.capacity[r]]
    staying = [r for r in serving if (v := verdicts[r]) and v.health is not Health.DRAINING]
    goals = staying or serving or base.order[0]
    tried = frozenset((v, r) for v, r in base.cuts if all((v, goal) in base.cuts for goal in goals))
    if not tried:
        return base
    costs = tuple(
        tuple(round(1000 * base.latency_ms[v][r]) if (v, r) in tried else us for r, us in enumerate(row))
        for v, row in enumerate(base.cost_us)
    )
    return replace(base, cuts=base.cuts - tried, tried=base.tried | tried, cost_us=costs)


@dataclass(frozen=True, slots=True)
class Placed:
    """A decision without its plans, and what those are made from."""

    decision: ServiceDecision
    base: Frame
    verdicts: tuple[Verdict | None, ...]
    planned: tuple[int, ...]
    measured: Measured
    profiles: Choices = ()
    """Of outlier detection, by region; empty: the policy's."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is in force: ties, small changes and missing evidence go to it. `reflex` is empty where it is not known."""

    weights: Table
    verdicts: tuple[Verdict | None, ...]
    reflex: tuple[Table, ...] = ()
    cuts: frozenset[tuple[int, int]] = frozenset()
    """Links that are cut, or returning."""
    ordered: Ordered = NOTHING_ORDERED
    shedding: Shedding = NOTHING_SHED
    profiles: Standings = ()


def flows_of(demand: tuple[int, ...], weights: Table) -> Flows:
    """Return the flows that integer weights give: what is in force, whatever the optimum was."""
    return tuple([apportion(row, d) for d, row in zip(demand, weights, strict=True)])


def scaled(units: int, factor: float) -> int:
    """Return a part of a rate, in whole units."""
    return units if factor == 1.0 else round(units * factor)


def rps_of(units: tuple[int, ...]) -> tuple[float, ...]:
    """Return rates in req/s."""
    return tuple([u / UNIT for u in units])


def full_capacity(base: Frame, verdicts: tuple[Verdict | None, ...]) -> tuple[int, ...]:
    """Return the capacities as health leaves them."""
    return tuple(scaled(c, v.score if v else 0.0) for c, v in zip(base.capacity, verdicts, strict=True))
