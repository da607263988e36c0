"""One service's decision: verdicts in; weights, plans, protection and reasons out (docs/ARCHITECTURE.md).

    capacity      × score, less the reserve: what planned routing may use. The reserve is for failovers: reflex plans
                  and every `overload` are measured against the whole capacity.
    ramp          a recovering region may carry `ramp` of the load it will have: the optimum is found first as if it
                  were back, then again with that limit. (Rejected: ramping its capacity, which gives all of a small
                  share back in the first step.)
    allocation    the cheapest placing of all demand (allocation.py), ties to the weights in force
    integers      largest remainder (apportion.py); a row whose every change is below `min_change` stays as it is,
                  unless a region leaves it or joins it, a verdict changed, or the policy did
    plans         reflex and N-1 for every region (plan.py), and the settings that follow the load

Weights are a tenth of the work and plans the rest, so they are two functions: `place` and `complete`. Where there is
much to decide, weights go ahead (pace.py).

Without fresh evidence of any region nothing moves. If no region serves, the weights in force stay as well: Envoy tries
what is there, and all-zero weights would answer nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from xds_server.decision.allocation import FITS, FORBIDDEN, allocate
from xds_server.decision.apportion import apportion
from xds_server.decision.demand import demand_rps
from xds_server.decision.half_open import trickle
from xds_server.decision.measured import NOTHING_MEASURED, Measured
from xds_server.decision.ordered import NOTHING_ORDERED, Ordered, fixed_rows, measured_under, verdicts_under
from xds_server.decision.plan import n_minus_1, reflex
from xds_server.decision.profiles import Choice, Choices, Standings, chosen, with_profile
from xds_server.decision.protection import overprovisioning_factor, protect
from xds_server.decision.reasons import Facts, explain
from xds_server.decision.shedding import NOTHING_SHED, Shedding, offered, sheds
from xds_server.model import TOTAL_WEIGHT, Health, NMinusOne, Protection, Row, ServiceDecision, Shed, Table, Verdict
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
    returning: Mapping[tuple[int, int], float] = field(default_factory=dict)
    judged: frozenset[int] = frozenset()
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
    )


def closed_links(base: Frame, measured: Measured) -> frozenset[tuple[int, int]]:
    """Return the links that are cut or return."""
    return cut_links(base, measured) | returning_links(base, measured).keys()


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
    """Return the cut links as (view, region); not those of a view with nowhere else to go: a try beats an error."""
    place = {name: i for i, name in enumerate(base.regions)}
    cuts = {(place[v], place[r]) for v, r in measured.cuts if v in place and r in place}
    deployed = base.order[0]
    return frozenset((v, r) for v, r in cuts if not all((v, other) in cuts for other in deployed))


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


def decide_service(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    prior: Prior | None,
    *,
    forced: bool = False,
    measured: Measured = NOTHING_MEASURED,
    ordered: Ordered = NOTHING_ORDERED,
) -> ServiceDecision:
    """Return the decision for one service. `verdicts` follow `base.regions`, None where nothing is deployed.

    `prior` must be over the same regions. `forced` sends every change, however small (the policy is new). `measured`
    takes the place of the policy's demand and latencies, `ordered` is what operators want (ordered.py).
    """
    placed = place(base, verdicts, prior, forced=forced, measured=measured, ordered=ordered)
    return complete(placed, prior.reflex if prior else ())


def place(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    prior: Prior | None,
    *,
    forced: bool = False,
    measured: Measured = NOTHING_MEASURED,
    ordered: Ordered = NOTHING_ORDERED,
    now: float | None = None,
) -> Placed:
    """Return the weights of `decide_service`, and their reasons; the plans are empty.

    With `now`, `measured` is of traffic that was let through; without, its demand is what applications want.
    """
    shedding = prior.shedding if prior else NOTHING_SHED
    if now is not None:
        measured = offered(measured, base.regions, shedding, now)
    measured = measured_under(ordered, measured)
    base = with_measured(base, measured)
    verdicts = verdicts_under(ordered, base.regions, verdicts)
    full = _full(base, verdicts)
    if not any(c and v and v.serves for c, v in zip(full, verdicts, strict=True)):
        return _no_region_serves(base, verdicts, prior, measured)
    fixed = fixed_rows(ordered, base.regions, prior.weights if prior else None)
    in_force = _flows(base.demand, prior.weights) if prior else None
    planned, optimum = _eased(base, verdicts, full, in_force, fixed)
    rows = tuple(
        fixed[v] if v in fixed else apportion(f, TOTAL_WEIGHT, prior.weights[v] if prior else None)
        for v, f in enumerate(optimum)
    )
    kept = _kept(base, verdicts, prior, rows, ordered) if prior and not forced else ("",) * len(rows)
    kept = tuple(ordered.rows[base.regions[v]].reason if v in fixed else why for v, why in enumerate(kept))
    weights = tuple(prior.weights[v] if prior and kept[v] and v not in fixed else row for v, row in enumerate(rows))
    shed = _shed(base, weights, full, shedding, measured)
    decision = _weighed(base, verdicts, weights, kept, shed, planned=planned, full=full)
    profiles = chosen(prior.profiles) if prior else ()
    return Placed(_half_open(decision, base, fixed), base, verdicts, planned, measured, profiles)


def _shed(
    base: Frame, weights: Table, full: tuple[int, ...], before: Shedding, measured: Measured
) -> tuple[Shed | None, ...]:
    """Return what is shed; a view whose demand is measured lets its share fall gently while capacity stands still."""
    steady = before.capacity_rps == _rps(full)
    gentle = tuple(steady and view in measured.demand_rps for view in base.regions)
    flows = _flows(base.demand, weights)
    return sheds(base.service.overload, base.regions, flows, full, before=before, gentle=gentle)


def _half_open(decision: ServiceDecision, base: Frame, fixed: Collection[int]) -> ServiceDecision:
    """Let a trickle of what may be sent twice go to regions that are down."""
    share = base.service.half_open
    rows = trickle(share, decision.weights, decision.verdicts, base.cuts, fixed)
    if not rows:
        return decision
    words = f"; half-open: {100 * share:.3g} % of reads and keyed writes try it"
    reasons = tuple(
        tuple(f"{why}{words}" if now and not was else why for why, was, now in zip(*three, strict=True))
        for three in zip(decision.reasons, decision.weights, rows, strict=True)
    )
    return replace(decision, half_open=rows, reasons=reasons)


def _full(base: Frame, verdicts: tuple[Verdict | None, ...]) -> tuple[int, ...]:
    """Return the capacities as health leaves them."""
    return tuple(_scaled(c, v.score if v else 0.0) for c, v in zip(base.capacity, verdicts, strict=True))


def _kept(
    base: Frame, verdicts: tuple[Verdict | None, ...], prior: Prior, rows: Table, ordered: Ordered
) -> tuple[str, ...]:
    """Return why each row stays as it is, or an empty string: the new one goes out."""
    if _blind(verdicts, prior.weights):
        return ("held, there is no fresh evidence",) * len(rows)
    moved = _verdicts_moved(prior.verdicts, verdicts) or prior.cuts != base.cuts | base.returning.keys()
    if moved or base.returning or prior.ordered != ordered:
        return ("",) * len(rows)
    if base.judged:
        names = ", ".join(base.regions[r] for r in sorted(base.judged))
        return (f"kept while it is being decided whether {names} is down",) * len(rows)
    limit = base.service.min_change * TOTAL_WEIGHT
    return tuple(
        "kept, the change is below min_change" if row != before and _small(row, before, limit) else ""
        for row, before in zip(rows, prior.weights, strict=True)
    )


def _blind(verdicts: tuple[Verdict | None, ...], weights: Table) -> bool:
    """Return True if there is no fresh evidence of any region, and the policy drains none that has traffic."""
    carried = [any(column) for column in zip(*weights, strict=True)]
    return all(
        v is None or v.health is Health.UNKNOWN or (v.health is Health.DRAINING and not carries)
        for v, carries in zip(verdicts, carried, strict=True)
    )


def _eased(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    full: tuple[int, ...],
    in_force: Flows | None,
    fixed: dict[int, Row],
) -> tuple[tuple[int, ...], Flows]:
    """Place everything, on the way from what is best without the links that return to what is best with them.

    Any mixture of two placings that fit is one that fits. All returning links are as far as the one that is least far.
    """
    planned, flows = _beside(base, verdicts, full, in_force, fixed)
    if not base.returning:
        return planned, flows
    costs = tuple(
        tuple(FORBIDDEN if (v, r) in base.returning else us for r, us in enumerate(row))
        for v, row in enumerate(base.cost_us)
    )
    _, without = _beside(replace(base, cost_us=costs), verdicts, full, in_force, fixed)
    back = round(UNIT * min(base.returning.values()))
    mixed = tuple(
        tuple((a * back + b * (UNIT - back)) // UNIT for a, b in zip(*pair, strict=True))
        for pair in zip(flows, without, strict=True)
    )
    return planned, mixed


def _beside(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    full: tuple[int, ...],
    in_force: Flows | None,
    fixed: dict[int, Row],
) -> tuple[tuple[int, ...], Flows]:
    """Place the views whose rows are not fixed, on what the others leave; capacities planned with are those of all."""
    if not fixed:
        return _place(base, verdicts, full, in_force)
    demand = tuple(0 if v in fixed else d for v, d in enumerate(base.demand))
    taken = [sum(column) for column in zip(*(apportion(row, base.demand[v]) for v, row in fixed.items()), strict=True)]
    left = tuple(max(1, c - used) if c else 0 for c, used in zip(full, taken, strict=True))
    others = tuple((0,) * len(f) if v in fixed else f for v, f in enumerate(in_force)) if in_force else None
    planned, flows = _place(replace(base, demand=demand), verdicts, left, others)
    return tuple(min(c, room + used) for c, room, used in zip(full, planned, taken, strict=True)), flows


def _place(
    base: Frame, verdicts: tuple[Verdict | None, ...], full: tuple[int, ...], in_force: Flows | None
) -> tuple[tuple[int, ...], Flows]:
    """Return the capacities planned with, and the optimal flows within them (scaled evenly if they do not fit)."""
    free = 1.0 - base.service.reserve
    window = 1000 * base.service.latency_tolerance_ms
    planned = tuple(_scaled(c, free if v and v.serves else 0.0) for c, v in zip(full, verdicts, strict=True))
    result = allocate(base.demand, planned, base.cost_us, previous=in_force, window=window)
    ramps = [v.ramp if v and v.serves else 1.0 for v in verdicts]
    judged = base.judged if in_force else frozenset()
    if min(ramps) == 1.0 and not judged:
        return planned, result.flows
    limits = [
        c if ramp == 1.0 else max(1, _scaled(min(load, c), ramp))
        for c, load, ramp in zip(planned, result.loads, ramps, strict=True)
    ]
    for r in judged:
        limits[r] = min(limits[r], max(1, sum(row[r] for row in in_force or ())))
    limited = allocate(base.demand, limits, base.cost_us, previous=in_force, window=window)
    if limited.ratio > FITS and result.ratio == FITS:
        carried = tuple(map(sum, zip(*in_force, strict=True))) if in_force else (0,) * len(limits)
        leaving = [v is not None and v.health is Health.DRAINING for v in verdicts]
        most = tuple(limit if left else c for c, limit, left in zip(planned, limits, leaving, strict=True))
        limits = _yielding(_keeping(limits, most, carried, sum(base.demand)), most, sum(base.demand))
        limited = allocate(base.demand, limits, base.cost_us, previous=in_force, window=window)
        if limited.ratio > FITS and not any(leaving):
            return planned, result.flows
    return tuple(limits), limited.flows


def _keeping(limits: list[int], planned: tuple[int, ...], carried: tuple[int, ...], demand: int) -> list[int]:
    """Return limits raised towards the load that regions carry already, as far as something is missing.

    Without this, of two regions that return together each step of the one would push load back from the other.
    """
    missing = demand - sum(limits)
    wanted = [max(0, min(c, now) - limit) for c, now, limit in zip(planned, carried, limits, strict=True)]
    total = sum(wanted)
    if missing <= 0 or not total:
        return limits
    return [limit + min(more, -(-more * missing // total)) for limit, more in zip(limits, wanted, strict=True)]


def _yielding(limits: list[int], planned: tuple[int, ...], demand: int) -> list[int]:
    """Return limits that fit: a share that is held back is given before any region exceeds its capacity.

    What is missing is spread over the limited regions in proportion to what their limits hold back.
    """
    missing = demand - sum(limits)
    held_back = sum(planned) - sum(limits)
    if missing <= 0:
        return limits
    if held_back <= 0:
        return list(planned)
    return [limit + -(-(c - limit) * missing // held_back) for limit, c in zip(limits, planned, strict=True)]


def _weighed(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    weights: Table,
    kept: tuple[str, ...],
    shed: tuple[Shed | None, ...],
    *,
    planned: tuple[int, ...],
    full: tuple[int, ...],
) -> ServiceDecision:
    """Return the decision as far as it does not depend on plans."""
    load = tuple(map(sum, zip(*_flows(base.demand, weights), strict=True)))
    overload = max(1.0, *(now / c for now, c in zip(load, full, strict=True) if c))
    refused = tuple(found.percent if found else 0 for found in shed)
    facts = Facts(
        base.regions, verdicts, _rps(planned), _rps(load), base.order, base.latency_ms, overload, base.cuts, refused
    )
    return ServiceDecision(
        service=base.service.name,
        regions=base.regions,
        verdicts=verdicts,
        demand_rps=_rps(base.demand),
        capacity_rps=_rps(full),
        load_rps=facts.load_rps,
        overload=overload,
        weights=weights,
        reflex=(),
        reflex_overload=(),
        n_minus_1=(),
        protection=(),
        reasons=explain(facts, weights, kept),
        shed=shed,
    )


def complete(placed: Placed, before: tuple[Table, ...]) -> ServiceDecision:
    """Return the decision with its plans. `before` are the reflex plans in force: ties go to them."""
    base, verdicts, decision = placed.base, placed.verdicts, placed.decision
    flows = _flows(base.demand, decision.weights)
    load = tuple(map(sum, zip(*flows, strict=True)))
    usable = tuple(
        _scaled(c, v.ramp) if v and v.health is not Health.DRAINING else 0
        for c, v in zip(_full(base, verdicts), verdicts, strict=True)
    )
    tables, factors = _reflex(base, verdicts, flows, usable, before)
    return replace(
        decision,
        reflex=tables,
        reflex_overload=factors,
        n_minus_1=_n_minus_1(base, flows, placed.planned, decision),
        protection=_protection(base, load, placed.profiles),
    )


def _reflex(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    flows: Flows,
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
        plan = reflex(usable if others else undrained, base.cost_us, flows, gone)
        before = in_force[gone] if in_force else (None,) * len(flows)
        tables.append(tuple(apportion(f, TOTAL_WEIGHT, was) for f, was in zip(plan.flows, before, strict=True)))
        factors.append(plan.overload)
    return tuple(tables), tuple(factors)


def _n_minus_1(base: Frame, flows: Flows, planned: tuple[int, ...], decision: ServiceDecision) -> tuple[NMinusOne, ...]:
    window = 1000 * base.service.latency_tolerance_ms
    plans = []
    for gone, name in enumerate(base.regions):
        if not base.capacity[gone]:
            continue
        if not planned[gone]:  # it serves nothing already: the plan is what is in force
            plans.append(NMinusOne(name, decision.load_rps, decision.overload, 0.0))
            continue
        best = n_minus_1(base.demand, planned, base.cost_us, flows, gone, window=window)
        overload = max(1.0, best.overload * (1.0 - base.service.reserve))
        plans.append(NMinusOne(name, _rps(best.loads), overload, best.added_cost / 1000))
    return tuple(plans)


def _no_region_serves(
    base: Frame, verdicts: tuple[Verdict | None, ...], prior: Prior | None, measured: Measured
) -> Placed:
    """Keep the weights in force, or place everything as if all were well; the plans are those of a healthy service."""
    well = tuple(v and replace(v, health=Health.UNKNOWN, score=1.0, ramp=1.0) for v in verdicts)
    held = place(base, well, prior)
    why = "no region serves: the weights in force stay"
    decision = replace(
        held.decision,
        verdicts=verdicts,
        capacity_rps=(0.0,) * len(base.regions),
        reasons=tuple(tuple(why if w else "0: " + why for w in row) for row in held.decision.weights),
    )
    return replace(held, decision=decision, measured=measured)


def _small(row: Row, before: Row, limit: float) -> bool:
    """Return True if a change is not worth a push: every weight moves less than the limit, none to or from zero."""
    return all(abs(a - b) < limit and (a == 0) == (b == 0) for a, b in zip(row, before, strict=True))


def _verdicts_moved(before: tuple[Verdict | None, ...], after: tuple[Verdict | None, ...]) -> bool:
    return any((a and (a.health, a.held)) != (b and (b.health, b.held)) for a, b in zip(before, after, strict=True))


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


def _flows(demand: tuple[int, ...], weights: Table) -> Flows:
    """Return the flows that integer weights give: what is in force, whatever the optimum was."""
    return tuple(apportion(row, d) for d, row in zip(demand, weights, strict=True))


def _scaled(units: int, factor: float) -> int:
    return units if factor == 1.0 else round(units * factor)


def _rps(units: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(u / UNIT for u in units)
