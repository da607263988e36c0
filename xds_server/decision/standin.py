"""What stands in for plans while weights are ahead of them: the plans of before, without what must not be used.

A plan says where the traffic of r goes if it dies now, so after any change there is a better one; until it is worked
out (rollout/backlog.py) the old one is still good in all but one respect: a region that is down or draining, or a link
that is cut, must not be in it. Such weights are taken out and the rest keeps its proportions. A row that loses all of
it goes to the nearest region that serves; one for which nothing serves stays, because a try is better than an error.

How far a loss would overload the others, the N-1 plans and the settings that follow the load stay those of before.
Rejected: no plans until there are new ones, which takes the reflex away in the very seconds in which a second region
may follow the first; and waiting with the weights, of which every second costs more than a plan that is out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xds_server.decision.apportion import apportion
from xds_server.decision.frame import Placed
from xds_server.model import TOTAL_WEIGHT, Health, Row, ServiceDecision, Table


def stand_in(placed: Placed, before: ServiceDecision) -> ServiceDecision:
    """Return the decision with the plans of `before`, a decision under the same policy."""
    base, verdicts = placed.base, placed.verdicts
    closed = [
        r
        for r, v in enumerate(verdicts)
        if not (v and v.serves and v.health is not Health.DRAINING and base.capacity[r])
    ]
    shut = [(*closed, *(r for v, r in base.cuts if v == view)) for view in range(len(base.regions))]
    return replace(
        placed.decision,
        reflex=tuple(
            [
                _table(table, gone, shut, base.order) if base.capacity[gone] else table
                for gone, table in enumerate(before.reflex)
            ]
        ),
        reflex_overload=before.reflex_overload,
        n_minus_1=before.n_minus_1,
        protection=before.protection,
    )


def _table(table: Table, gone: int, shut: Sequence[Row], order: Sequence[Sequence[int]]) -> Table:
    """Return the plan for the loss of `gone` without what is shut to each view; itself if it has nothing of that."""
    hit = [v for v, row in enumerate(table) if not any(row) or (shut[v] and _gives(row, shut[v]))]
    if not hit:
        return table
    rows = list(table)
    for v in hit:
        rows[v] = _row(rows[v], gone, shut[v], order[v])
    return tuple(rows)


def _gives(row: Row, closed: Sequence[int]) -> bool:
    """Return True if the row gives a weight to a closed region."""
    for r in closed:  # noqa: SIM110 `any` over a generator takes twice as long, and this is asked of every row
        if row[r]:
            return True
    return False


def _row(row: Row, gone: int, closed: Sequence[int], nearest: Sequence[int]) -> Row:
    """Return a row of which something was closed, or that is empty, over what is open."""
    left = list(row)
    for r in closed:
        left[r] = 0
    if any(left):
        return apportion(left, TOTAL_WEIGHT, row)
    for r in nearest:
        if r != gone and r not in closed:
            left[r] = TOTAL_WEIGHT
            return tuple(left)
    return row
