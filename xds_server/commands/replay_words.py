"""What a replay found, in words and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from xds_server.model import TOTAL_WEIGHT
from xds_server.record.replay import Change, Comparison, InForce, Run
from xds_server.screens.printable import plain

Json = dict[str, Any]


def clock(wall: float) -> str:
    """Return a moment (seconds since 1970) in UTC, to the tenth of a second."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-5]


def run_lines(runs: Sequence[Run]) -> Iterator[str]:
    """Yield what became of each run, and the first difference."""
    for run in runs:
        lost = f" ({run.lost_before} steps before it were not recorded)" if run.lost_before else ""
        yield f"{clock(run.began)} to {clock(run.ended)}: process {run.process}, version {run.version}{lost}"
        yield from (f"  {clock(wall)}  {event.severity:7}  {plain(event.message)}" for wall, event in run.events)
        if run.difference is None:
            yield f"  {run.steps:,} steps, {run.decisions:,} decisions: all the same again"
            continue
        found = run.difference
        yield f"  step {found.step:,} at {clock(found.wall)} differs in {', '.join(found.parts)}"
        for part in found.parts:
            recorded, replayed = found.recorded.get(part, "nothing"), found.replayed.get(part, "nothing")
            yield f"    {part}: recorded {recorded}, replayed {replayed}"


def runs_json(runs: Iterable[Run]) -> Json:
    """Return the same as JSON."""
    return {"runs": [_run_json(run) for run in runs]}


def _run_json(run: Run) -> Json:
    found = run.difference
    return {
        "process": run.process,
        "version": run.version,
        "began": run.began,
        "ended": run.ended,
        "lost_before": run.lost_before,
        "steps": run.steps,
        "decisions": run.decisions,
        "events": [
            {"time": wall, "kind": event.kind, "severity": event.severity, "message": event.message}
            for wall, event in run.events
        ],
        "difference": None
        if found is None
        else {
            "step": found.step,
            "time": found.wall,
            "parts": list(found.parts),
            "recorded": found.recorded,
            "replayed": found.replayed,
        },
    }


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Yield a table per service and view: when the weights differ, and how."""
    yield f"{clock(found.began)} to {clock(found.ended)}"
    if found.unseen:
        yield f"no evidence in the record, taken for healthy: {', '.join(found.unseen)}"
    places = sorted({(change.service, change.view) for change in found.changes})
    if not places:
        yield "the weights, and what is refused, would have been the same"
    for service, view in places:
        changes = [change for change in found.changes if (change.service, change.view) == (service, view)]
        yield ""
        yield f"{service} from {view}"
        yield from _table(changes)


def _table(changes: Sequence[Change]) -> Iterator[str]:
    used = [r for r in range(len(changes[0].regions)) if any(_weight(c.was, r) or _weight(c.would, r) for c in changes)]
    names = [changes[0].regions[r] for r in used]
    refusing = any(_refused(change.was) or _refused(change.would) for change in changes)
    width = max(11, *map(len, names))
    yield f"  {'':21}  " + "  ".join(name.rjust(width) for name in [*names, *(["refused"] if refusing else [])])
    for change in changes:
        cells = [_cell(_weight(change.was, r), _weight(change.would, r)).rjust(width) for r in used]
        if refusing:
            was, would = (f"{_refused(found)}%" for found in (change.was, change.would))
            cells.append((was if was == would else f"{was} → {would}").rjust(width))
        same = "  the same again" if change.was == change.would else ""
        yield f"  {clock(change.wall)}  {'  '.join(cells)}{same}"


def _weight(found: InForce | None, region: int) -> int:
    return found.weights[region] if found is not None else 0


def _refused(found: InForce | None) -> int:
    return found.refused if found is not None else 0


def _cell(was: int, would: int) -> str:
    return _percent(was) if was == would else f"{_percent(was)} → {_percent(would)}"


def _percent(weight: int) -> str:
    return f"{100 * weight / TOTAL_WEIGHT:.3g}%"


def comparison_json(found: Comparison) -> Json:
    """Return the same as JSON; weights out of 10,000, what is refused in percent."""
    return {
        "began": found.began,
        "ended": found.ended,
        "unseen": list(found.unseen),
        "changes": [
            {
                "time": change.wall,
                "service": change.service,
                "view": change.view,
                "was": _row_json(change.regions, change.was),
                "would": _row_json(change.regions, change.would),
                "refused": {"was": _refused_json(change.was), "would": _refused_json(change.would)},
            }
            for change in found.changes
        ],
    }


def _row_json(regions: Sequence[str], found: InForce | None) -> dict[str, int] | None:
    return None if found is None else dict(zip(regions, found.weights, strict=True))


def _refused_json(found: InForce | None) -> Json:
    classes = found.classes if found is not None else ()
    return {"percent": _refused(found), "classes": dict(classes)}
