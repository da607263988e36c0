"""A trickle to a region that is down, to see whether it answers (policy: `half_open`).

Probes say whether a region answers probes. Whether it answers requests, only requests can tell. So a small, fixed share
of what may be sent twice goes there: reads, and writes with an `Idempotency-Key`. A try that fails is repeated in
another region (the reflex plan is the region cluster's priority 1), so nobody loses a request; it may take longer.
Plain writes never go. What comes of it is in load reports and access logs, like any traffic.

The share is taken from the others in proportion. None goes

- to a region that is draining or evacuated: somebody wants it empty;
- over a link that is cut: the region answers others;
- by a row that an operator has fixed;
- where no region serves: all of them are tried then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from xds_server.decision.apportion import apportion
from xds_server.model import TOTAL_WEIGHT, Health, Row, Table, Verdict


def trickle(
    share: float,
    weights: Table,
    verdicts: Sequence[Verdict | None],
    cuts: Collection[tuple[int, int]],
    fixed: Collection[int],
) -> Table:
    """Return the rows for what may be sent twice; empty if they are the weights themselves."""
    down = [r for r, verdict in enumerate(verdicts) if verdict is not None and verdict.health is Health.DOWN]
    if not share or not down:
        return ()
    rows = tuple(
        row if v in fixed else _row(row, [r for r in down if (v, r) not in cuts and not row[r]], share)
        for v, row in enumerate(weights)
    )
    return rows if rows != weights else ()


def _row(row: Row, down: Sequence[int], share: float) -> Row:
    given = round(share * TOTAL_WEIGHT)
    if not down or not any(row):
        return row
    others = apportion(row, TOTAL_WEIGHT - given * len(down), row)
    return tuple(given if r in down else weight for r, weight in enumerate(others))
