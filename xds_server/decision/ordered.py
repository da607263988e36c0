"""What operators' orders change in one service's decision. Precedence: operator > drill > automation.

    leaving     a region is evacuated, so far by a share: it is limited to the rest of the load that it would have, as a
                recovering region is, and gets no reflex traffic. At 1 it is drained, whatever the evidence says
    rows        a view's weights are fixed: given by an operator (`weight`), or those in force (`hold`). The other views
                are placed on the capacity that is left beside them
    capacity    takes the place of what the policy says and agents report

An evacuation is stronger than a fixed row: what the row gives the leaving region goes, as far as it has moved, to the
row's other regions, in proportion; of a row with nobody else in it, it goes where it would if the row were not fixed. A
row that is held has already lost what had moved when it was last decided. A drill does not touch a fixed row. A fixed
row is stronger than a verdict: it may send traffic to a region that is down, and Envoy's reflex takes it from there.
Rejected: mending such a row quietly, which would be an automation that beats the operator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from xds_server.decision.apportion import apportion
from xds_server.decision.measured import Measured
from xds_server.model import TOTAL_WEIGHT, Health, Row, Table, Verdict


@dataclass(frozen=True, slots=True)
class Leaving:
    """A region that traffic is being moved off: `moved` (0..1) of its share so far. `reason` is for people.

    A `drill` is weaker than a row that an operator has fixed.
    """

    moved: float
    reason: str
    since: float
    drill: bool = False


@dataclass(frozen=True, slots=True)
class FixedRow:
    """A view's weights, as an operator gave them, by region; None holds those in force. `reason` is for people."""

    weights: tuple[tuple[str, int], ...] | None
    reason: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """All orders that concern one service: by region, by view, and capacities in req/s by region."""

    leaving: Mapping[str, Leaving] = field(default_factory=dict)
    rows: Mapping[str, FixedRow] = field(default_factory=dict)
    capacity_rps: Mapping[str, float] = field(default_factory=dict)


NOTHING_ORDERED = Ordered()


def verdicts_under(
    ordered: Ordered, regions: tuple[str, ...], verdicts: tuple[Verdict | None, ...]
) -> tuple[Verdict | None, ...]:
    """Return the verdicts with what orders make of them: a region that is left is draining."""
    if not ordered.leaving:
        return verdicts
    return tuple(
        _leaving(verdict, ordered.leaving[region]) if verdict is not None and region in ordered.leaving else verdict
        for region, verdict in zip(regions, verdicts, strict=True)
    )


def _leaving(verdict: Verdict, leaving: Leaving) -> Verdict:
    done = leaving.moved >= 1.0
    score, ramp = (0.0, 0.0) if done else (verdict.score, min(verdict.ramp, 1.0 - leaving.moved))
    if verdict.health is Health.DOWN or not verdict.serves:
        score = ramp = 0.0
    return replace(
        verdict,
        health=Health.DRAINING,
        score=score,
        ramp=ramp,
        reason=leaving.reason,
        since=leaving.since,
        held=None,
    )


def measured_under(ordered: Ordered, measured: Measured) -> Measured:
    """Return what is measured, with the capacities that operators gave."""
    if not ordered.capacity_rps:
        return measured
    return replace(
        measured,
        capacity_rps={**measured.capacity_rps, **ordered.capacity_rps},
        capacity_why={**measured.capacity_why, **dict.fromkeys(ordered.capacity_rps, "ordered")},
    )


class Fixed(NamedTuple):
    """The rows that orders fix, by the number of their view; `parts`: what is fixed of rows that are so in part."""

    rows: dict[int, Row]
    parts: dict[int, Row]


def fixed_rows(
    ordered: Ordered,
    regions: tuple[str, ...],
    deployed: Collection[int],
    in_force: Table | None,
    before: Ordered = NOTHING_ORDERED,
) -> Fixed:
    """Return what orders fix. `before` are the orders under which the rows in force were decided.

    What an order gives to a region in which the service is not deployed any more is shared by the rest.
    """
    rows, parts = dict[int, Row](), dict[int, Row]()
    gone = _moved(ordered)
    since = {region: _since(moved, _moved(before).get(region, 0.0)) for region, moved in gone.items()}
    for v, view in enumerate(regions):
        fixed = ordered.rows.get(view)
        if fixed is None:
            continue
        held = fixed.weights is None
        row = (
            _given(fixed.weights, regions, deployed) if fixed.weights is not None else in_force[v] if in_force else None
        )
        if row is None or not any(row):
            continue
        kept = _without_leaving(row, regions, since if held else gone, gone.keys())
        (rows if sum(kept) == TOTAL_WEIGHT else parts)[v] = kept
    return Fixed(rows, parts)


def filled(part: Row, free: Row, ordered: Ordered, regions: tuple[str, ...]) -> Row:
    """Return a row of which a part is fixed, filled up with what it would be otherwise, without what is being left."""
    left = _moved(ordered).keys()
    others = tuple(0 if region in left else weight for region, weight in zip(regions, free, strict=True))
    more = apportion(others if any(others) else free, TOTAL_WEIGHT - sum(part))
    return tuple(a + b for a, b in zip(part, more, strict=True))


def _moved(ordered: Ordered) -> dict[str, float]:
    return {region: one.moved for region, one in ordered.leaving.items() if not one.drill}


def _since(now: float, before: float) -> float:
    """Return what part of the rest has moved since a part had moved."""
    return max(0.0, 1.0 - (1.0 - now) / (1.0 - before)) if before < 1.0 else 0.0


def _given(weights: tuple[tuple[str, int], ...], regions: tuple[str, ...], deployed: Collection[int]) -> Row | None:
    by_region = dict(weights)
    parts = tuple(by_region.get(region, 0) if r in deployed else 0 for r, region in enumerate(regions))
    return apportion(parts, TOTAL_WEIGHT) if any(parts) else None


def _without_leaving(row: Row, regions: tuple[str, ...], moved: Mapping[str, float], left: Collection[str]) -> Row:
    """Take what has moved from the regions that are left, and give it to the others of the row, in proportion."""
    kept = tuple(weight - round(weight * moved.get(region, 0.0)) for region, weight in zip(regions, row, strict=True))
    staying = tuple(0 if region in left else weight for region, weight in zip(regions, row, strict=True))
    more = apportion(staying, TOTAL_WEIGHT - sum(kept))
    return tuple(a + b for a, b in zip(kept, more, strict=True))
