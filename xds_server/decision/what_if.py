"""What would happen if a region were gone, or if there were more traffic: the production decision, asked in advance.

Nothing is decided here. Demand is put in as if it had been measured, `decide_service` decides, and its two plans are
read: what Envoys do by themselves in milliseconds (reflex), and the optimum that follows seconds later (N-1). Both are
held against the whole capacity, without the reserve, because a failover is what the reserve is for.

A loss *fits* if all demand is served and no region exceeds its capacity, in both plans. The reflex plan may not fit
where the N-1 plan does: it only places what is displaced and moves nobody else.

Where a service refuses what does not fit (policy: `overload`), `shed` says of whom, how much and of which classes. That
is not in the N-1 plan, which is what is asked for; so the decision is made once more with the region down. Refusing is
no fit: the loads are those before anything is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xds_server.decision.decide import decide_service, place
from xds_server.decision.frame import Frame, Prior, with_measured
from xds_server.decision.measured import Measured
from xds_server.decision.ordered import NOTHING_ORDERED, Ordered
from xds_server.model import TOTAL_WEIGHT, Health, ServiceDecision, Shed, Verdict
from xds_server.policy.types import OverloadMode

TOLERANCE = 1e-3
"""Of the demand: weights are in ten thousandths, so a load may miss its share by about that."""

MOST_DEMAND = 1000.0
"""The largest factor of the demand that is worth asking about."""


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that the decision for one service rests on now, and that decision."""

    base: Frame
    verdicts: tuple[Verdict | None, ...]
    prior: Prior | None
    measured: Measured
    decision: ServiceDecision
    ordered: Ordered = NOTHING_ORDERED


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan for a loss: what each region would serve, the hottest one's use of its capacity, what is left over.

    `excess_rps` is what regions would get beyond their capacity, `unserved_rps` what nobody would get. `added_ms` is
    the mean over all requests against what is in force.
    """

    load_rps: tuple[float, ...]
    utilisation: float
    excess_rps: float
    unserved_rps: float
    added_ms: float

    @property
    def fits(self) -> bool:
        """Return whether everything is served within the capacities."""
        least = TOLERANCE * sum(self.load_rps)
        return self.excess_rps <= least and self.unserved_rps <= least


@dataclass(frozen=True, slots=True)
class Loss:
    """One service without one region. Tuples follow `regions`; capacities are those in force, 0 for the lost region.

    `headroom` is the smallest part of the displaced traffic that any other region could take alone. `shed[v]` is what
    view v refuses when the loss is confirmed, empty if none does; `shed_rps` is how much that is of all views.
    """

    service: str
    without: str
    regions: tuple[str, ...]
    capacity_rps: tuple[float, ...]
    before_rps: tuple[float, ...]
    reflex: Plan
    n_minus_1: Plan
    headroom: float
    shed: tuple[Shed | None, ...] = ()
    shed_rps: float = 0.0

    @property
    def fits(self) -> bool:
        """Return whether both plans fit."""
        return self.reflex.fits and self.n_minus_1.fits


def losses(case: Case, demand: float = 1.0) -> tuple[Loss, ...]:
    """Return what the loss of each region does to a service, with `demand` times as much traffic as there is now."""
    decided, measured = case.decision, case.measured
    if demand != 1.0:
        more = dict(zip(decided.regions, (demand * rps for rps in decided.demand_rps), strict=True))
        measured = replace(measured, demand_rps=more)
        decided = decide_service(
            case.base, case.verdicts, case.prior, forced=True, measured=measured, ordered=case.ordered
        )
    latency = with_measured(case.base, measured).latency_ms
    found = (_loss(decided, r, latency) for r, v in enumerate(decided.verdicts) if v is not None)
    return tuple(_with_shed(loss, case, decided, measured) for loss in found)


def _with_shed(loss: Loss, case: Case, decided: ServiceDecision, measured: Measured) -> Loss:
    """Add what is refused, from the decision with the region down."""
    if case.base.service.overload.mode is not OverloadMode.SHED or loss.n_minus_1.fits:
        return loss
    verdicts = tuple(
        v and replace(v, health=Health.DOWN, score=0.0) if region == loss.without else v
        for region, v in zip(loss.regions, case.verdicts, strict=True)
    )
    wanted = replace(measured, demand_rps=dict(zip(decided.regions, decided.demand_rps, strict=True)))
    after = place(case.base, verdicts, case.prior, measured=wanted, ordered=case.ordered).decision
    return replace(loss, shed=after.shed, shed_rps=after.refused_rps)


def _loss(decided: ServiceDecision, gone: int, latency: Sequence[Sequence[float]]) -> Loss:
    capacity = tuple(0.0 if r == gone else c for r, c in enumerate(decided.capacity_rps))
    name = decided.regions[gone]
    best = next(plan for plan in decided.n_minus_1 if plan.without == name)
    displaced = decided.load_rps[gone]
    rooms = [c - load for c, load in zip(capacity, decided.load_rps, strict=True) if c]
    return Loss(
        service=decided.service,
        without=name,
        regions=decided.regions,
        capacity_rps=capacity,
        before_rps=decided.load_rps,
        reflex=_reflex(decided, gone, capacity, latency),
        n_minus_1=_plan(best.load_rps, capacity, sum(decided.demand_rps), best.added_latency_ms),
        headroom=max(0.0, min(rooms, default=0.0)) / displaced if displaced else float(bool(rooms)),
    )


def _reflex(
    decided: ServiceDecision, gone: int, capacity: tuple[float, ...], latency: Sequence[Sequence[float]]
) -> Plan:
    """Add what each view sends to the lost region to the others, as the priority-1 weights split it."""
    loads = [0.0 if r == gone else load for r, load in enumerate(decided.load_rps)]
    added = 0.0
    for v, (row, plan) in enumerate(zip(decided.weights, decided.reflex[gone], strict=True)):
        moved = decided.demand_rps[v] * row[gone] / TOTAL_WEIGHT
        for r, weight in enumerate(plan):
            loads[r] += moved * weight / TOTAL_WEIGHT
            added += moved * weight / TOTAL_WEIGHT * (latency[v][r] - latency[v][gone])
    demand = sum(decided.demand_rps)
    return _plan(tuple(loads), capacity, demand, added / demand)


def _plan(loads: tuple[float, ...], capacity: tuple[float, ...], demand: float, added_ms: float) -> Plan:
    pairs = list(zip(loads, capacity, strict=True))
    return Plan(
        load_rps=loads,
        utilisation=max((load / c for load, c in pairs if c), default=0.0),
        excess_rps=sum(max(0.0, load - c) for load, c in pairs),
        unserved_rps=max(0.0, demand - sum(loads)),
        added_ms=added_ms,
    )
