"""`xds-server history` and `events` for people, a line each, from the JSON of the admin side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xds_server.screens.text import SEVERITY_COLOURS, Cell, Style, clock, drawn, part, percent

Json = Mapping[str, Any]

KIND_WIDTH = 18


def entry_line(entry: Json, style: Style | None) -> str:
    """Return one event or one entry of history."""
    kind = Cell(entry["kind"], SEVERITY_COLOURS.get(entry["severity"], ""))
    return f"{clock(entry['time'])}  {drawn(kind, KIND_WIDTH, style)}  {drawn(Cell(entry['message']), 0, None)}"


def entry_lines(entries: Iterable[Json], style: Style | None) -> Iterator[str]:
    """Yield entries, in the order given."""
    return (entry_line(entry, style) for entry in entries)


def difference_lines(found: Json, style: Style | None) -> Iterator[str]:
    """Yield what changed between two times."""
    yield f"from {clock(found['from'])} to {clock(found['to'])}"
    before, after = found["policy"]
    yield f"policy {after or 'none'}" if before == after else f"policy {before or 'none'} → {after or 'none'}"
    yield from (drawn(Cell(f"  {edit}"), 0, None) for edit in found["edits"])
    if found["happened"]:
        yield "happened: " + ", ".join(f"{kind} {count}" for kind, count in found["happened"].items())
    for service in found["services"]:
        yield ""
        name = drawn(Cell(f"{service['service']} {service['what']}", bold=True), 0, style)
        yield name
        yield from (drawn(Cell(line), 0, None) for line in _service(service))
    if found["more_services"]:
        yield f"\nand {found['more_services']} more services"
    if not found["services"]:
        yield "no weight and no verdict differs"


def _service(service: Json) -> Iterator[str]:
    for region, (was, now) in service["verdicts"].items():
        yield f"  {region}: {was or 'not deployed'} → {now or 'not deployed'}"
    for view, weights in service["weights"].items():
        moved = [f"{region} {_share(was)} → {_share(now)}" for region, (was, now) in weights.items()]
        yield f"  from {view}: {', '.join(moved)}"
    was, now = service["overload"]
    if was != now and max(was or 0, now or 0) > 1:
        yield f"  demand against capacity: {_load(was)} → {_load(now)}"


def _share(weight: int | None) -> str:
    return "-" if weight is None else percent(weight)


def _load(overload: float | None) -> str:
    return "-" if overload is None else "fits" if overload <= 1 else part(overload)
