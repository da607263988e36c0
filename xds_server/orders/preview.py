"""What an order would do once it has taken effect in full: the production decision, asked in advance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xds_server.decision.decide import place
from xds_server.decision.frame import with_measured
from xds_server.decision.ordered import Ordered, measured_under
from xds_server.decision.what_if import TOLERANCE, Case
from xds_server.model import TOTAL_WEIGHT, ServiceDecision
from xds_server.orders.effects import ordered
from xds_server.orders.types import Order, Phase, Standing
from xds_server.policy.types import Policy


@dataclass(frozen=True, slots=True)
class Effect:
    """One service before and after. Tuples follow `regions`; `added_ms` is the mean over all requests.

    `overload` is by how much the hottest region would exceed its capacity (1.0: it fits), `serving` how many regions
    could still be given traffic. `demand_rps` is what is asked for. `stranded` are views that could reach nothing that
    serves, and can now. `refused_rps` is how much would be refused by the policy, so that regions hold.
    """

    service: str
    regions: tuple[str, ...]
    before_rps: tuple[float, ...]
    after_rps: tuple[float, ...]
    capacity_rps: tuple[float, ...]
    overload: float
    added_ms: float
    serving: int
    demand_rps: float
    stranded: tuple[str, ...] = ()
    refused_rps: float = 0.0

    @property
    def excess_rps(self) -> float:
        """Return what regions would get beyond their capacity, and what nobody would serve."""
        beyond = sum(max(0.0, load - c) for load, c in zip(self.after_rps, self.capacity_rps, strict=True))
        return beyond + max(0.0, self.demand_rps - sum(self.after_rps))

    @property
    def fits(self) -> bool:
        """Return whether all is served, and no region exceeds its capacity by more than the rounding of weights."""
        return self.excess_rps <= TOLERANCE * self.demand_rps


def preview(cases: Iterable[Case], policy: Policy, standing: Sequence[Standing], order: Order) -> tuple[Effect, ...]:
    """Return what becomes of each service that the order concerns. Those that have nothing to do with it are left out.

    An order about the same thing as one in force takes its place. Those that are still on their way count as done.
    """
    others = [_arrived(one) for one in standing if one.order.place != order.place]
    done = Standing(order, Phase.MOVED if order.kind.leaves else Phase.IN_FORCE, order.at, moved=1.0)
    return _effects(cases, policy, [*others, done], order)


def preview_end(
    cases: Iterable[Case], policy: Policy, standing: Sequence[Standing], identity: str
) -> tuple[Effect, ...]:
    """Return what becomes of each service that an order in force concerns, once it has ended in full."""
    ending = next((one.order for one in standing if one.order.id == identity), None)
    left = [_arrived(one) for one in standing if one.order is not ending]
    return _effects(cases, policy, left, ending) if ending is not None else ()


def _arrived(one: Standing) -> Standing:
    return replace(one, moved=1.0) if one.phase in {Phase.MOVING, Phase.MOVED, Phase.STOPPED} else one


def _effects(cases: Iterable[Case], policy: Policy, standing: Sequence[Standing], order: Order) -> tuple[Effect, ...]:
    wanted = ordered(standing, policy)
    return tuple(
        _effect(case, wanted)
        for case in cases
        if order.concerns(case.base.service.name)
        and (not order.kind.leaves or order.region in case.base.service.deployments)
    )


def _effect(case: Case, wanted: Mapping[str, Ordered]) -> Effect:
    """Place it again; plans are not made. Demand is what is wanted now, not what of it is let through."""
    now, before = wanted.get(case.base.service.name, Ordered()), case.decision
    demand = dict(zip(before.regions, before.demand_rps, strict=True))
    measured = replace(case.measured, demand_rps=demand)
    after = place(case.base, case.verdicts, case.prior, forced=True, measured=measured, ordered=now).decision
    latency = with_measured(case.base, measured_under(now, measured)).latency_ms
    return Effect(
        service=after.service,
        regions=after.regions,
        before_rps=before.load_rps,
        after_rps=after.load_rps,
        capacity_rps=after.capacity_rps,
        overload=after.overload,
        added_ms=_mean_ms(after, latency) - _mean_ms(replace(before, demand_rps=after.demand_rps), latency),
        serving=sum(v is not None and v.serves for v in after.verdicts),
        demand_rps=sum(after.demand_rps),
        stranded=tuple(view for view in after.stranded if view not in before.stranded),
        refused_rps=after.refused_rps,
    )


def _mean_ms(decided: ServiceDecision, latency: Sequence[Sequence[float]]) -> float:
    rows = zip(decided.demand_rps, decided.weights, latency, strict=True)
    whole = sum(
        demand * sum(weight * ms for weight, ms in zip(row, away, strict=True)) / TOTAL_WEIGHT
        for demand, row, away in rows
    )
    return whole / sum(decided.demand_rps)
