"""The reason for each weight, in words an operator understands.

Written from the same facts the numbers came from: distance, room and verdict. A reason answers one of four questions:
why the nearest region serves (and why not all), why a farther one does, why a region serves nothing, why a row stayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xds_server.model import TOTAL_WEIGHT, Health, Row, ServiceDecision, Table, Verdict

TRIED = "; it seems to be out of reach from here, but there is nowhere else to go: tried"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reasons of one service are written from; all per region in the order of the decision.

    `planned_rps` is what routing may use of a region now (capacity × score × ramp, less the reserve), `load_rps` what
    it gets, `cuts` the (view, region) links that are cut, `order[v]` the regions with a deployment from the nearest to
    the farthest, `latency_ms[v][r]` round trips, `shed[v]` the percentage of its requests that a view refuses (empty:
    none does), `tried` links that are used although they seem to be cut, `unheard` cut links on which their view has no
    word now, `returning` links that were cut and what has returned of their share.
    """

    regions: tuple[str, ...]
    verdicts: tuple[Verdict | None, ...]
    planned_rps: tuple[float, ...]
    load_rps: tuple[float, ...]
    order: tuple[tuple[int, ...], ...]
    latency_ms: tuple[tuple[float, ...], ...]
    overload: float
    cuts: frozenset[tuple[int, int]] = frozenset()
    shed: tuple[int, ...] = ()
    tried: frozenset[tuple[int, int]] = frozenset()
    unheard: frozenset[tuple[int, int]] = frozenset()
    returning: Mapping[tuple[int, int], float] = field(default_factory=dict)


def explain(facts: Facts, weights: Table, kept: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return `reasons[v][r]` for `weights[v][r]`; `kept[v]` says why a row stayed as it was."""
    short = tuple([_status(facts, r) for r in range(len(facts.regions))])
    idle = tuple([f"0: {status}" if status else "0: nearer regions have room" for status in short])
    words = _Words(short, idle, _spare(facts, short))
    return tuple(_row(facts, row, view, words, kept[view]) for view, row in enumerate(weights))


def without(decision: ServiceDecision, gone: int) -> str:
    """Return whether the others can take over what a region serves, in words and figures."""
    displaced = decision.load_rps[gone]
    if not displaced:
        return "it serves nothing: nothing would move"
    room = {
        region: capacity - load
        for region, capacity, load in zip(decision.regions, decision.capacity_rps, decision.load_rps, strict=True)
        if capacity > load and region != decision.regions[gone]
    }
    overload = decision.reflex_overload[gone]
    if not room:
        return f"does not fit: no region has anything to spare for its {displaced:,.0f} req/s"
    found = f"{_have(list(room))} {sum(room.values()):,.0f} req/s to spare for its {displaced:,.0f}"
    return f"fits: {found}" if overload <= 1.0 else f"does not fit: {found}; they would be at {overload:.0%}"


def _spare(facts: Facts, short: Sequence[str]) -> str:
    """Return who has capacity left that planned routing may use, and how much."""
    having = [r for r, status in enumerate(short) if not status]
    if not having:
        return "no region has anything to spare"
    left = sum(facts.planned_rps[r] - facts.load_rps[r] for r in having)
    return f"{_have([facts.regions[r] for r in having])} {left:,.0f} req/s to spare"


def _have(regions: Sequence[str]) -> str:
    """Return a list of names with a verb."""
    if len(regions) == 1:
        return f"{regions[0]} has"
    return f"{', '.join(regions[:-1])} and {regions[-1]} have"


def _status(facts: Facts, region: int) -> str:
    """Return why a region does not take (more) traffic, or an empty string if it could."""
    verdict = facts.verdicts[region]
    if verdict is None:
        return "no deployment"
    if not verdict.serves:
        return f"{verdict.health}: {verdict.reason}"
    load, planned = facts.load_rps[region], facts.planned_rps[region]
    if load < 0.99 * planned:
        return ""
    if verdict.ramp < 1.0:
        limit = f"limited to {verdict.ramp:.0%} of its share"
        if verdict.health is Health.DRAINING:
            return f"{verdict.health} ({verdict.reason}), {limit}"
        return f"{verdict.health}, {limit} while others have room"
    return f"full, {load:,.0f} of {planned:,.0f} req/s planned"


class _Words(NamedTuple):
    """What is the same in every view: why each region takes no (more) traffic, as a reason for none; who has room."""

    short: tuple[str, ...]
    idle: tuple[str, ...]
    spare: str


def _row(facts: Facts, row: Row, view: int, words: _Words, kept: str) -> tuple[str, ...]:
    suffix = f"; {kept}" if kept else ""
    if facts.overload > 1.0:
        suffix = f"; overload, {_refused(facts, view)}{suffix}"
    reasons = list(words.idle)
    nearer: list[str] = []
    left = TOTAL_WEIGHT
    for region in facts.order[view]:
        if not left and not facts.cuts and not facts.returning:
            break  # of all that are farther the reason is there already
        left -= row[region]
        status = _link(facts, view, region) or words.short[region]
        if row[region]:
            capped = f"capped at {100 * row[region] / TOTAL_WEIGHT:.3g} %: {status}; {words.spare}"
            held = capped if status and row[region] < TOTAL_WEIGHT else status
            tried = TRIED if (view, region) in facts.tried else ""
            reasons[region] = _share(facts, view, region, held, nearer) + tried + suffix
        elif (view, region) in facts.cuts:
            reasons[region] = f"0: {status}{_others(facts.verdicts[region])}"
        if status:
            nearer.append(f"{facts.regions[region]} ({status})")
    return tuple(reasons)


def _link(facts: Facts, view: int, region: int) -> str:
    """Return what a link that is cut, or was, does to the share; an empty string if it is whole."""
    link = view, region
    if link in facts.returning:
        return f"the link there was cut, {facts.returning[link]:.0%} of the share is back"
    if link not in facts.cuts:
        return ""
    return (
        "could not be reached from here, no word on it since"
        if link in facts.unheard
        else "cannot be reached from here"
    )


def _others(verdict: Verdict | None) -> str:
    """Return what is known of a region that one view cannot reach."""
    known = verdict is not None and verdict.health is not Health.UNKNOWN
    return "; others can" if known else "; whether others can is not known now"


def _share(facts: Facts, view: int, region: int, status: str, nearer: list[str]) -> str:
    distance = f"{facts.latency_ms[view][region]:g} ms"
    if region == facts.order[view][0]:
        return f"nearest, {distance}" + (f"; {status}" if status else "")
    instead = f"; takes what nearer regions do not: {', '.join(nearer)}" if nearer else ""
    return f"{distance}{instead}" + (f"; {status}" if status else "")


def _refused(facts: Facts, view: int) -> str:
    percent = facts.shed[view] if facts.shed else 0
    if not percent:
        return f"regions at up to {facts.overload:.0%} of their capacity"
    return f"demand is {facts.overload:.0%} of the capacity: {percent} % of the requests are refused"
