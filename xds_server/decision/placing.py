"""Where all traffic of one service goes: the optimum within capacities, ramps and orders, as flows.

A recovering region may carry `ramp` of the load it would have; a share that is held back is given before any region
exceeds its capacity, but a region that is being left is not given anything back. Views whose weights are fixed are
taken out first, with what they use; links that are coming back are eased in.
"""

from __future__ import annotations

from dataclasses import replace

from xds_server.decision.allocation import FITS, FORBIDDEN, allocate
from xds_server.decision.apportion import apportion
from xds_server.decision.frame import (
    UNIT,
    Flows,
    Frame,
    scaled,
)
from xds_server.model import Health, Row, Verdict


def eased(
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
    planned = tuple(max(1, scaled(c, free)) if c and v and v.serves else 0 for c, v in zip(full, verdicts, strict=True))
    result = allocate(base.demand, planned, base.cost_us, previous=in_force, window=window)
    ramps = [v.ramp if v and v.serves else 1.0 for v in verdicts]
    judged = base.judged if in_force else frozenset()
    if min(ramps) == 1.0 and not judged:
        return planned, result.flows
    limits = [
        c if ramp == 1.0 or not c else max(1, scaled(min(load, c), ramp))
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
    if held_back <= missing:
        return list(planned)
    return [limit + -(-(c - limit) * missing // held_back) for limit, c in zip(limits, planned, strict=True)]
