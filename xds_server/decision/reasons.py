"""The reason for each weight, in words an operator understands.

Written from the same facts the numbers came from: distance, room and verdict. A reason answers one of four questions:
why the nearest region serves (and why not all), why a farther one does, why a region serves nothing, why a row stayed.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.model import Health, Row, Table, Verdict


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reasons of one service are written from; all per region in the order of the decision.

    `planned_rps` is what routing may use of a region now (capacity × score × ramp, less the reserve), `load_rps` what
    it gets, `cuts` the (view, region) links that are cut, `order[v]` the regions with a deployment from the nearest to
    the farthest, `latency_ms[v][r]` round trips, `shed[v]` the percentage of its requests that a view refuses (empty:
    none does).
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


def explain(facts: Facts, weights: Table, kept: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return `reasons[v][r]` for `weights[v][r]`; `kept[v]` says why a row stayed as it was."""
    short = tuple(_status(facts, r) for r in range(len(facts.regions)))
    return tuple(_row(facts, row, view, short, kept[view]) for view, row in enumerate(weights))


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
        why = f" ({verdict.reason})" if verdict.health is Health.DRAINING else ""
        return f"{verdict.health}{why}, limited to {verdict.ramp:.0%} of its share"
    return f"full, {load:,.0f} of {planned:,.0f} req/s planned"


def _row(facts: Facts, row: Row, view: int, short: tuple[str, ...], kept: str) -> tuple[str, ...]:
    suffix = f"; {kept}" if kept else ""
    if facts.overload > 1.0:
        suffix = f"; overload, {_refused(facts, view)}{suffix}"
    reasons = [f"0: {status}" if status else "0: nearer regions have room" for status in short]
    nearer: list[str] = []
    for region in facts.order[view]:
        status = "cannot be reached from here" if (view, region) in facts.cuts else short[region]
        if row[region]:
            reasons[region] = _share(facts, view, region, status, nearer) + suffix
        elif (view, region) in facts.cuts:
            reasons[region] = f"0: {status}, others can"
        if status:
            nearer.append(f"{facts.regions[region]} ({status})")
    return tuple(reasons)


def _share(facts: Facts, view: int, region: int, status: str, nearer: list[str]) -> str:
    distance = f"{facts.latency_ms[view][region]:g} ms"
    if region == facts.order[view][0]:
        return f"nearest, {distance}" + (f"; {status}" if status else "")
    instead = f"; takes what nearer regions do not: {', '.join(nearer)}" if nearer else ""
    return f"{distance}{instead}" + (f"; {status}" if status else "")


def _refused(facts: Facts, view: int) -> str:
    percent = facts.shed[view] if facts.shed else 0
    if not percent:
        return f"every region at {facts.overload:.0%} of its capacity"
    return f"demand is {facts.overload:.0%} of the capacity: {percent} % of the requests are refused"
