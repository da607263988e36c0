"""What happens when a region is lost: the reflex plan, which Envoy executes by itself, and the N-1 plan, which follows.

*Reflex.* Priority 1 of cluster `service@r` sees only the share that r had: the view's other traffic stays where the
route weights send it. So the plan is not the optimum without r but the cheapest placing of the displaced traffic, of
all views together, on what capacity the present load leaves. No present flow is lowered, because nobody is there to do
it. What does not fit is placed all the same, every region equally hot: dropping it is not this plan's to decide, and a
plan of zeros would turn a hot region into an outage. If w are the weights in force and p the plan, the outcome is
w[v][s] + w[v][r]·p[v][s], with r's column gone.

A view that sends nothing to r has a cluster `service@r` too, and may use it: with a stale route, or by an override.
It gets the nearest region with room. Such views are not placed with the others, lest a flow that does not exist take
room from one that does, or show as overload. A view whose every path is believed cut keeps a plan as well: when r dies
for it, a try is better than an error.

*N-1.* The whole allocation again without r, from the same weights in force, so that it is what the decision will be
once the loss is confirmed. Both are reported: the difference is what the brain improves on the reflex.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

from xds_server.decision.allocation import FITS, FORBIDDEN, Matrix, Ratio, allocate


class Present(NamedTuple):
    """What is in force, from which both plans start: flows, the load of every region, and the mean cost of a unit."""

    flows: Matrix
    loads: tuple[int, ...]
    mean_cost: float


class Reflex(NamedTuple):
    """Where each view's traffic for the lost region goes: `flows[v][s]`, to be apportioned row by row.

    The rows of views that had nothing there are one unit, a direction without an amount. `ratio` is the exact overload.
    """

    flows: tuple[tuple[int, ...], ...]
    ratio: Ratio

    @property
    def overload(self) -> float:
        """Return the ratio as a float: 1.0 if everything fits."""
        return self.ratio[0] / self.ratio[1]


class Optimum(NamedTuple):
    """The N-1 plan. `added_cost` is the mean over all units against the flows in force, in the unit of cost."""

    flows: tuple[tuple[int, ...], ...]
    loads: tuple[int, ...]
    ratio: Ratio
    added_cost: float

    @property
    def overload(self) -> float:
        """Return the ratio as a float: 1.0 if everything fits."""
        return self.ratio[0] / self.ratio[1]


def present(flows: Matrix, cost: Matrix) -> Present:
    """Return what flows in force come to."""
    loads = tuple(map(sum, zip(*flows, strict=True)))
    return Present(flows, loads, _mean_cost(flows, loads, cost))


def reflex(capacity: Sequence[int], cost: Matrix, now: Present, gone: int) -> Reflex:
    """Place what the views send to region `gone` on the others, beside the load they carry."""
    flows, loads = now.flows, now.loads
    left = _without(capacity, gone)
    movers = [v for v, row in enumerate(flows) if row[gone]]
    rows: dict[int, tuple[int, ...]] = {}
    ratio = FITS
    if movers:
        placed = allocate([flows[v][gone] for v in movers], left, [cost[v] for v in movers], background=loads)
        ratio = placed.ratio
        loads = tuple([a + b for a, b in zip(loads, placed.loads, strict=True)])
        rows = {v: row for v, row in zip(movers, placed.flows, strict=True) if any(row)}
    serving = [r for r, limit in enumerate(left) if limit]
    clear = [r for r in serving if left[r] > loads[r]]
    return Reflex(tuple([rows.get(v) or _direction(row, clear, serving) for v, row in enumerate(cost)]), ratio)


def n_minus_1(
    demand: Sequence[int], capacity: Sequence[int], cost: Matrix, now: Present, gone: int, *, window: int = 0
) -> Optimum:
    """Return the optimum without region `gone`, near-ties broken towards the flows in force."""
    best = allocate(demand, _without(capacity, gone), cost, previous=now.flows, window=window)
    added = _mean_cost(best.flows, best.loads, cost) - now.mean_cost if any(best.loads) else 0.0
    return Optimum(best.flows, best.loads, best.ratio, added)


def _without(capacity: Sequence[int], gone: int) -> list[int]:
    left = list(capacity)
    left[gone] = 0
    return left


def _direction(row: Sequence[int], clear: Sequence[int], serving: Sequence[int]) -> tuple[int, ...]:
    """Return one unit on the nearest of the regions that serve, one that is clear (has room) if there is any.

    If the view may use none, all that serve share alike: which paths are really cut is not known to us.
    """
    for candidates in (clear, serving):
        nearest = min(candidates, key=row.__getitem__, default=None)
        if nearest is not None and row[nearest] < FORBIDDEN:
            unit = [0] * len(row)
            unit[nearest] = 1
            return tuple(unit)
    return tuple([int(r in serving) for r in range(len(row))])


def _mean_cost(flows: Matrix, loads: Sequence[int], cost: Matrix) -> float:
    """Return the mean cost of a unit, over the flows whose cost is known. `loads` are the sums of the flows."""
    units = sum(loads)
    total = sum([sum(map(mul, row, costs)) for row, costs in zip(flows, cost, strict=True)])
    if total >= FORBIDDEN:
        pairs = [pair for rows in zip(flows, cost, strict=True) for pair in zip(*rows, strict=True)]
        units = sum(flow for flow, c in pairs if c < FORBIDDEN)
        total = sum(flow * c for flow, c in pairs if c < FORBIDDEN)
    return total / units if units else 0.0
