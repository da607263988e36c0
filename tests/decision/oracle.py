"""The transportation problem as a linear program for HiGHS: what the exact allocation is compared with."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import linprog

from xds_server.decision.allocation import FORBIDDEN

Rows = Sequence[Sequence[int]]
Arcs = list[tuple[int, int]]


def least_cost(
    demand: Sequence[int], room: Sequence[int], cost: Rows, previous: Rows | None = None, window: int = 0
) -> float:
    """Minimise Σ flow·cost, plus `window` a unit above `previous`, within `room`; infinite if it does not fit."""
    arcs = _arcs(room, cost)
    objective = [float(cost[v][r]) for v, r in arcs]
    bounds: list[tuple[float, float | None]] = [(0, None) for _ in arcs]
    if previous is not None:
        bounds = [*((0, previous[v][r]) for v, r in arcs), *bounds]
        objective += [c + window for c in objective]
        arcs += arcs
    return _minimum(objective, _columns(arcs, 1, len(room)), room, _columns(arcs, 0, len(demand)), demand, bounds)


def smallest_factor(demand: Sequence[int], capacity: Sequence[int], cost: Rows, background: Sequence[int]) -> float:
    """Minimise f ≥ 1 with a flow within f·capacity - background, where a region without flow may be above that."""
    return min(_factor(demand, capacity, cost, background, used) for used in _choices(background))


def _factor(
    demand: Sequence[int], capacity: Sequence[int], cost: Rows, background: Sequence[int], used: Sequence[bool]
) -> float:
    arcs = [(v, r) for v, r in _arcs(capacity, cost) if used[r]]
    regions = [r for r in range(len(capacity)) if used[r]]
    # The variable is f·scale: in units of f its worth to a flow would be below the solver's tolerance.
    scale = max(capacity)
    last = -np.array(capacity, float).reshape(-1, 1) / scale
    upper = np.hstack([_columns(arcs, 1, len(capacity)), last])[regions]
    equal = np.hstack([_columns(arcs, 0, len(demand)), np.zeros((len(demand), 1))])
    objective = [0.0] * len(arcs) + [1.0]
    bounds: list[tuple[float, float | None]] = [*((0, None) for _ in arcs), (scale, None)]
    return _minimum(objective, upper, [-background[r] for r in regions], equal, demand, bounds) / scale


def _choices(background: Sequence[int]) -> Iterator[tuple[bool, ...]]:
    """Every choice of regions that may take flow; only one with background can gain from taking none."""
    return product(*([True, False] if b else [True] for b in background))


def _arcs(capacity: Sequence[int], cost: Rows) -> Arcs:
    return [(v, r) for v, row in enumerate(cost) for r, c in enumerate(row) if c < FORBIDDEN and capacity[r]]


def _columns(arcs: Arcs, end: int, size: int) -> Any:
    matrix = np.zeros((size, len(arcs)))
    matrix[[arc[end] for arc in arcs], range(len(arcs))] = 1
    return matrix


def _minimum(
    objective: list[float], upper: Any, limits: Sequence[int], equal: Any, demand: Sequence[int], bounds: Any
) -> float:
    if not objective:
        return 0.0 if not any(demand) else float("inf")
    answer = linprog(objective, A_ub=upper, b_ub=limits, A_eq=equal, b_eq=demand, bounds=bounds, method="highs")
    return float(answer.fun) if answer.status == 0 else float("inf")
