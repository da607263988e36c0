"""History as JSON values. Pure functions.

Times are seconds since 1970 in `time`, as in `/api/v1/events`. A plot of one view has that view's weights; one of all
views has the share of all requests that each region serves: the views' weights, by their demand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xds_server.history.archive import InForce, Numbered, Point
from xds_server.history.rows import Table, unpacked

Json = dict[str, Any]

MOST_SERVICES = 200
"""Of a difference, told with their weights."""


def entries_json(found: Sequence[Numbered], limit: int) -> Json:
    """Return a page of entries, the newest first, and from where the next page goes on."""
    more = found[-1].id if len(found) == limit and found else None
    return {"entries": [_entry_json(each) for each in found], "next": more}


def _entry_json(numbered: Numbered) -> Json:
    entry = numbered.entry
    return {
        "id": numbered.id,
        "time": round(entry.at, 3),
        "kind": entry.kind,
        "severity": entry.severity,
        "message": entry.message,
        "service": entry.service,
        "regions": list(entry.regions),
        "fields": dict(entry.fields),
    }


def in_force_json(found: InForce) -> Json:
    """Return a decision that was in force."""
    return {
        "service": found.service,
        "time": round(found.at, 3),
        "policy": found.policy,
        "decision": dict(unpacked(found.detail)),
    }


def series_json(points: Sequence[Point], service: str, view: str, span: tuple[float, float], *, thinned: bool) -> Json:
    """Return how weights and verdicts went; the first point is what was in force at the beginning."""
    since, until = span
    return {
        "service": service,
        "view": view,
        "from": round(since, 3),
        "to": round(until, 3),
        "thinned": thinned,
        "points": [_point_json(point, view, since) for point in points],
    }


def _point_json(point: Point, view: str, since: float) -> Json:
    at = {"time": round(max(point.at, since), 3)}
    table = point.table
    if table is None or (view and view not in table.regions):
        return at | {"weights": {}, "verdicts": {}}
    row = table.weights[table.regions.index(view)] if view else _of_all(table)
    deployed = [r for r, verdict in enumerate(table.verdicts) if verdict]
    return at | {
        "weights": {table.regions[r]: row[r] for r in deployed},
        "verdicts": {table.regions[r]: table.verdicts[r] for r in deployed},
    }


def _of_all(table: Table) -> tuple[int, ...]:
    """Return the share of all requests that each region serves, out of the total weight."""
    demand = table.demand_rps if sum(table.demand_rps) > 0 else (1.0,) * len(table.regions)
    columns = zip(*table.weights, strict=True)
    return tuple(
        round(sum(d * w for d, w in zip(demand, column, strict=True)) / sum(demand)) if sum(column) else 0
        for column in columns
    )


def difference_json(
    before: Iterable[InForce], after: Iterable[InForce], happened: Iterable[Numbered], span: tuple[float, float]
) -> Json:
    """Return what is decided otherwise at the later time than at the earlier, and how often what happened between."""
    was, now = ({found.service: found for found in side} for side in (before, after))
    differing = [n for n in sorted(was.keys() | now.keys()) if _id(was.get(n)) != _id(now.get(n))]
    changes = [change for name in differing if (change := _change_json(name, was.get(name), now.get(name)))]
    entries = [each.entry for each in happened]
    return {
        "from": round(span[0], 3),
        "to": round(span[1], 3),
        "policy": [_policy(was), _policy(now)],
        "services": changes[:MOST_SERVICES],
        "more_services": max(0, len(changes) - MOST_SERVICES),
        "edits": [entry.message for entry in reversed(entries) if entry.kind == "policy.accepted"],
        "happened": dict(sorted(Counter(entry.kind for entry in entries).items())),
    }


def _id(found: InForce | None) -> int | None:
    return found.id if found is not None else None


def _policy(found: Mapping[str, InForce]) -> str | None:
    """Return the policy that the newest decision was made under."""
    return max(found.values(), key=lambda each: each.id).policy if found else None


def _change_json(name: str, was: InForce | None, now: InForce | None) -> Json | None:
    """Return what differs for one service: each value before and after; None if all is as it was."""
    old, new = (dict(unpacked(found.detail)) if found is not None else None for found in (was, now))
    what = "changed" if old and new else "added" if new else "removed"
    verdicts = _pairs(_verdicts(old), _verdicts(new))
    weights = {
        view: pairs
        for view in sorted(_weights(old).keys() | _weights(new).keys())
        if (pairs := _pairs(_weights(old).get(view, {}), _weights(new).get(view, {})))
    }
    overload = [of["overload"] if of else None for of in (old, new)]
    if what == "changed" and not (verdicts or weights) and overload[0] == overload[1]:
        return None
    return {"service": name, "what": what, "verdicts": verdicts, "weights": weights, "overload": overload}


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    names = sorted(old.keys() | new.keys())
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}


def _verdicts(of: Json | None) -> dict[str, str]:
    return {place["region"]: place["health"] for place in of["regions"]} if of else {}


def _weights(of: Json | None) -> dict[str, dict[str, int]]:
    return {view["view"]: view["weights"] for view in of["views"]} if of else {}
