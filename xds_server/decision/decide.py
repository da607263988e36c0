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
much to decide, weights go ahead (rollout/backlog.py).

Without fresh evidence of any region nothing moves. If no region serves, the weights in force stay as well: Envoy tries
what is there, and all-zero weights would answer nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from xds_server.decision.apportion import apportion
from xds_server.decision.complete import complete
from xds_server.decision.frame import (
    Flows,
    Frame,
    Placed,
    Prior,
    flows_of,
    full_capacity,
    rps_of,
    with_measured,
    with_tries,
)
from xds_server.decision.half_open import trickle
from xds_server.decision.measured import NOTHING_MEASURED, Measured
from xds_server.decision.ordered import (
    NOTHING_ORDERED,
    Fixed,
    Ordered,
    filled,
    fixed_rows,
    measured_under,
    verdicts_under,
)
from xds_server.decision.placing import eased
from xds_server.decision.profiles import chosen
from xds_server.decision.reasons import Facts, explain
from xds_server.decision.shedding import NOTHING_SHED, Shedding, offered, sheds
from xds_server.model import TOTAL_WEIGHT, Health, Row, ServiceDecision, Shed, Table, Verdict
from xds_server.policy.types import OverloadMode

SAY_NOTHING = frozenset({Health.UNKNOWN, Health.DRAINING})
"""Verdicts that are no fresh evidence."""

ROUNDING = 1e-3
"""Weights are in ten thousandths, so a load may exceed a capacity that it just fits by about that."""


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
    base = with_tries(base, verdicts)
    full = full_capacity(base, verdicts)
    if not any(c and v and v.serves for c, v in zip(full, verdicts, strict=True)):
        return _no_region_serves(base, verdicts, prior, measured, ordered)
    standing = (prior.weights, prior.ordered) if prior else (None, NOTHING_ORDERED)
    fixed = fixed_rows(ordered, base.regions, base.order[0], *standing)
    in_force = flows_of(base.demand, prior.weights) if prior else None
    planned, optimum = eased(base, verdicts, full, in_force, fixed.rows)
    rows = _rows(base.regions, optimum, prior, fixed, ordered)
    kept = _kept(base, verdicts, prior, rows, ordered) if prior and not forced else ("",) * len(rows)
    ours = {v: ordered.rows[base.regions[v]].reason for v in (*fixed.rows, *fixed.parts)}
    held = {v: prior.weights[v] for v, why in enumerate(kept) if why and v not in ours} if prior else {}
    weights = tuple(row if v not in held or not any(held[v]) else held[v] for v, row in enumerate(rows))
    shed = _shed(base, weights, full, shedding, measured)
    why = tuple(ours.get(v, words) for v, words in enumerate(kept))
    decision = _weighed(base, verdicts, weights, why, shed, planned=planned, full=full)
    profiles = chosen(prior.profiles) if prior else ()
    return Placed(_half_open(decision, base, ours), base, verdicts, planned, measured, profiles)


def _rows(regions: tuple[str, ...], optimum: Flows, prior: Prior | None, fixed: Fixed, ordered: Ordered) -> Table:
    """Return the weights that are wanted: those that orders fix, else the nearest to the optimum."""
    rows = []
    for v, flows in enumerate(optimum):
        row = fixed.rows.get(v) or apportion(flows, TOTAL_WEIGHT, prior.weights[v] if prior else None)
        rows.append(filled(fixed.parts[v], row, ordered, regions) if v in fixed.parts else row)
    return tuple(rows)


def _shed(
    base: Frame, weights: Table, full: tuple[int, ...], before: Shedding, measured: Measured
) -> tuple[Shed | None, ...]:
    """Return what is shed; a view whose demand is measured lets its share fall gently while capacity stands still."""
    if base.service.overload.mode is not OverloadMode.SHED:
        return ()
    steady = before.capacity_rps == rps_of(full)
    gentle = tuple(steady and view in measured.demand_rps for view in base.regions)
    flows = flows_of(base.demand, weights)
    return sheds(base.service.overload, base.regions, flows, full, before=before, gentle=gentle)


def _half_open(decision: ServiceDecision, base: Frame, fixed: Collection[int]) -> ServiceDecision:
    """Let a trickle of what may be sent twice go to regions that are down."""
    share = base.service.half_open
    rows = trickle(share, decision.weights, decision.verdicts, base.cuts | base.tried, fixed)
    if not rows:
        return decision
    words = f"; half-open: {100 * share:.3g} % of reads and keyed writes try it"
    reasons = tuple(
        tuple(f"{why}{words}" if now and not was else why for why, was, now in zip(*three, strict=True))
        for three in zip(decision.reasons, decision.weights, rows, strict=True)
    )
    return replace(decision, half_open=rows, reasons=reasons)


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
    if any(v is not None and v.health not in SAY_NOTHING for v in verdicts):
        return False
    carried = [any(column) for column in zip(*weights, strict=True)]
    return all(
        v is None or v.health is Health.UNKNOWN or (v.health is Health.DRAINING and not carries)
        for v, carries in zip(verdicts, carried, strict=True)
    )


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
    load = tuple(map(sum, zip(*flows_of(base.demand, weights), strict=True)))
    hottest = max((now / c for now, c in zip(load, full, strict=True) if c), default=1.0)
    overload = hottest if hottest > 1.0 + ROUNDING else 1.0
    facts = _facts(base, verdicts, load, shed, planned=planned, overload=overload)
    return ServiceDecision(
        service=base.service.name,
        regions=base.regions,
        verdicts=verdicts,
        demand_rps=rps_of(base.demand),
        capacity_rps=rps_of(full),
        load_rps=facts.load_rps,
        overload=overload,
        weights=weights,
        reflex=(),
        reflex_overload=(),
        n_minus_1=(),
        protection=(),
        reasons=explain(facts, weights, kept),
        shed=shed,
        capacity_why=base.capacity_why,
        stranded=tuple(base.regions[v] for v in sorted({v for v, _ in base.tried})),
        cuts=base.told,
        whole_rps=rps_of(base.capacity),
    )


def _facts(
    base: Frame,
    verdicts: tuple[Verdict | None, ...],
    load: tuple[int, ...],
    shed: tuple[Shed | None, ...],
    *,
    planned: tuple[int, ...],
    overload: float,
) -> Facts:
    """Return what the reasons of the weights are written from."""
    unheard = (cut for cut in base.told if not cut.heard)
    return Facts(
        regions=base.regions,
        verdicts=verdicts,
        planned_rps=rps_of(planned),
        load_rps=rps_of(load),
        order=base.order,
        latency_ms=base.latency_ms,
        overload=overload,
        cuts=base.cuts,
        shed=tuple(found.percent if found else 0 for found in shed),
        tried=base.tried,
        unheard=frozenset((base.regions.index(cut.view), base.regions.index(cut.region)) for cut in unheard),
        returning=base.returning,
    )


def _no_region_serves(
    base: Frame, verdicts: tuple[Verdict | None, ...], prior: Prior | None, measured: Measured, ordered: Ordered
) -> Placed:
    """Keep the weights in force, or place everything as if all were well; the plans are those of a healthy service.

    Orders count as ever: rows that are fixed, and regions that are being left, unless all of them are.
    """
    left = [v is not None and v.health is Health.DRAINING for v in verdicts]
    nowhere = all(gone for gone, v in zip(left, verdicts, strict=True) if v is not None)
    well = tuple(
        v if v is None or (gone and not nowhere) else replace(v, health=Health.UNKNOWN, score=1.0, ramp=1.0)
        for v, gone in zip(verdicts, left, strict=True)
    )
    orders = replace(ordered, leaving={} if nowhere else ordered.leaving, capacity_rps={})
    some = replace(
        base, capacity=tuple(max(c, int(v is not None)) for c, v in zip(base.capacity, verdicts, strict=True))
    )
    held = place(some, well, prior, ordered=orders)
    decision = replace(
        held.decision,
        verdicts=verdicts,
        capacity_rps=(0.0,) * len(base.regions),
        whole_rps=rps_of(base.capacity),
        reasons=_tried(held.decision, verdicts, prior, ordered),
    )
    return replace(held, decision=decision, measured=measured)


def _tried(
    decision: ServiceDecision, verdicts: tuple[Verdict | None, ...], prior: Prior | None, ordered: Ordered
) -> tuple[tuple[str, ...], ...]:
    """Return the reasons of weights that no region can answer for."""
    found = []
    for v, row in enumerate(decision.weights):
        fixed = ordered.rows.get(decision.regions[v])
        stays = prior is None or prior.weights[v] == row
        what = fixed.reason if fixed else "the weights in force stay" if stays else "placed as if all were well"
        found.append(tuple(_try(weight, verdict, what) for weight, verdict in zip(row, verdicts, strict=True)))
    return tuple(found)


def _try(weight: int, verdict: Verdict | None, what: str) -> str:
    why = f"no region serves: {what}"
    if verdict is not None and verdict.health is Health.DRAINING:
        return (
            f"{why}; {verdict.reason}, but there is nowhere else to go" if weight else f"0: draining: {verdict.reason}"
        )
    return why if weight else f"0: {why}"


def _small(row: Row, before: Row, limit: float) -> bool:
    """Return True if a change is not worth a push: every weight moves less than the limit, none to or from zero."""
    return all(abs(a - b) < limit and (a == 0) == (b == 0) for a, b in zip(row, before, strict=True))


def _verdicts_moved(before: tuple[Verdict | None, ...], after: tuple[Verdict | None, ...]) -> bool:
    return any((a and (a.health, a.held)) != (b and (b.health, b.held)) for a, b in zip(before, after, strict=True))
