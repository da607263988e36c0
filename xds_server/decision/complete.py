"""What follows from weights: reflex and N-1 plans for every region, and the settings that follow the load.

Nine tenths of the work of a decision. Where there is much to decide, weights go ahead of it (rollout/backlog.py).
"""

from __future__ import annotations

from dataclasses import replace

from xds_server.decision.apportion import apportion
from xds_server.decision.frame import (
    Frame,
    Placed,
    flows_of,
    full_capacity,
    rps_of,
    scaled,
)
from xds_server.decision.plan import Present, n_minus_1, present, reflex
from xds_server.decision.profiles import Choice, Choices, with_profile
from xds_server.decision.protection import overprovisioning_factor
from xds_server.model import TOTAL_WEIGHT, Health, NMinusOne, Protection, ServiceDecision, Table, Verdict


def complete(placed: Placed, before: tuple[Table, ...]) -> ServiceDecision:
    """Return the decision with its plans. `before` are the reflex plans in force: ties go to them."""
    base, verdicts, decision = placed.base, placed.verdicts, placed.decision
    now = present(flows_of(base.demand, decision.weights), base.cost_us)
    usable = tuple(
        scaled(c, v.ramp) if v and v.health is not Health.DRAINING else 0
        for c, v in zip(full_capacity(base, verdicts), verdicts, strict=True)
    )
    tables, factors = _reflex(base, verdicts, now, usable, before)
    return replace(
        decision,
        reflex=tables,
        reflex_overload=factors,
        n_minus_1=_n_minus_1(base, now, placed.planned, decision),
        protection=_protection(base, now.loads, placed.profiles),
    )


def _reflex(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    now: Present,
    usable: tuple[int, ...],
    in_force: tuple[Table, ...],
) -> tuple[tuple[Table, ...], tuple[float, ...]]:
    """Return the priority-1 weights for the loss of every region, and how far each loss overloads the others.

    Where nothing else serves, the plan is over what is believed down: when the last region dies, a try beats an error.
    """
    undrained = tuple(
        0 if v and v.health is Health.DRAINING else c for c, v in zip(base.capacity, verdicts, strict=True)
    )
    tables, factors = [], []
    for gone, deployed in enumerate(base.capacity):
        if not deployed:
            tables.append(((0,) * len(usable),) * len(usable))
            factors.append(1.0)
            continue
        others = any(c for r, c in enumerate(usable) if r != gone)
        plan = reflex(usable if others else undrained, base.cost_us, now, gone)
        before = in_force[gone] if in_force else (None,) * len(now.flows)
        tables.append(tuple([apportion(f, TOTAL_WEIGHT, was) for f, was in zip(plan.flows, before, strict=True)]))
        factors.append(plan.overload)
    return tuple(tables), tuple(factors)


def _n_minus_1(base: Frame, now: Present, planned: tuple[int, ...], decision: ServiceDecision) -> tuple[NMinusOne, ...]:
    window = 1000 * base.service.latency_tolerance_ms
    plans = []
    for gone, name in enumerate(base.regions):
        if not base.capacity[gone]:
            continue
        if not planned[gone]:  # it serves nothing already: the plan is what is in force
            plans.append(NMinusOne(name, decision.load_rps, decision.overload, 0.0))
            continue
        best = n_minus_1(base.demand, planned, base.cost_us, now, gone, window=window)
        overload = max(1.0, best.overload * (1.0 - base.service.reserve))
        plans.append(NMinusOne(name, rps_of(best.loads), overload, best.added_cost / 1000))
    return tuple(plans)


def _protection(base: Frame, load: tuple[int, ...], profiles: Choices) -> tuple[tuple[Protection | None, ...], ...]:
    """Return the policy's settings with the profiles, and the overprovisioning factor that the load asks for.

    It is measured against the capacity of all hosts: Envoy itself multiplies it by the share of them that is up.
    """
    factors = map(overprovisioning_factor, load, base.capacity)
    no_profiles = (None,) * len(load)
    columns = [_column(base, r, *both) for r, both in enumerate(zip(factors, profiles or no_profiles, strict=True))]
    return tuple(zip(*columns, strict=True))


def _column(base: Frame, region: int, factor: int, profile: Choice | None) -> tuple[Protection | None, ...]:
    """Return the settings of all views for one region with this factor and profile."""
    if (region, factor, profile) not in base.variants:
        base.variants[region, factor, profile] = tuple(
            found and with_profile(replace(found, overprovisioning_factor=factor), profile)
            for found in (row[region] for row in base.protection)
        )
    return base.variants[region, factor, profile]
