"""`xds-server status` for people: one screen from the JSON of `/api/v1/status`, of orders and of decisions. Pure.

What is wrong comes first. Weights of every view are shown for few services only, those in trouble first: the rest have
a line each, and `--service` shows any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xds_server.screens.printable import plain
from xds_server.screens.text import (
    HEALTH_COLOURS,
    SEVERITY_COLOURS,
    Cell,
    Style,
    ago,
    clock,
    columns,
    heads,
    number,
    part,
    percent,
    rate,
    since,
)
from xds_server.screens.times import BadTimeError, moment

Json = Mapping[str, Any]

MOST_TABLES = 3
"""Services whose views are shown without asking for one."""

MOST_SERVICES = 20
MOST_ALARMS = 20


def to_show(status: Json, service: str | None) -> list[str]:
    """Return the services whose views are shown: the one asked for, or those in trouble and then the first ones."""
    if service is not None:
        return [service]
    return [one["service"] for one in _by_trouble(status["services"])[:MOST_TABLES]]


def status_screen(
    status: Json, orders: Json, decisions: Iterable[Json], wall: float, style: Style | None
) -> Iterator[str]:
    """Yield the lines; `decisions` are of the services whose views are shown."""
    yield from _head(status)
    yield ""
    regions = [_region(each) for each in status["regions"]]
    yield from columns([heads("region", "health", "for", "why"), *regions], style)
    yield from _part("alarms", [_alarm(alarm, wall) for alarm in status["alarms"][:MOST_ALARMS]], style)
    yield from _more(len(status["alarms"]) - MOST_ALARMS, "alarms")
    yield from _part("orders in force", [_order(order, wall) for order in orders["orders"]], style)
    yield ""
    yield from _services(status["services"], style)
    for service in decisions:
        yield ""
        yield from _views(service, style)


def _head(status: Json) -> Iterator[str]:
    clients = status["clients"]
    policy = status["policy"]
    told = [
        f"policy {policy['digest'] or 'none'}",
        f"{clients['connected']} client{'s' if clients['connected'] != 1 else ''}",
    ]
    told += [f"{clients[name]} {name}" for name in ("behind", "rejecting") if clients[name]]
    yield plain(f"xds-server {status['version']}: {', '.join(told)}")
    if policy["trial"]:
        by = f"by {clients['on_trial']} of them" if clients["on_trial"] else "as soon as there is somebody to try it"
        yield plain(f"on trial: policy {policy['trial']}, {by}")
    if status["waiting_for"]:
        yield plain(f"not ready: {status['waiting_for']}")


def _part(title: str, rows: Sequence[Sequence[Cell]], style: Style | None) -> Iterator[str]:
    yield ""
    if not rows:
        yield f"no {title}"
        return
    yield style(title, bold=True) if style else title
    yield from columns(rows, style, "  ")


def _more(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield f"  and {count} more {what}: --json has them all"


def _region(region: Json) -> list[Cell]:
    health = region["health"]
    return [
        Cell(region["region"]),
        Cell(health, HEALTH_COLOURS.get(health, "")),
        number(since(region["since_s"])),
        Cell("" if health == "healthy" else region["reason"]),
    ]


def _alarm(alarm: Json, wall: float) -> list[Cell]:
    colour = SEVERITY_COLOURS.get(alarm["severity"], "")
    return [Cell(alarm["kind"], colour), number(ago(alarm["since"], wall)), Cell(alarm["message"])]


def _order(order: Json, wall: float) -> list[Cell]:
    where = " ".join(word for word in (order["region"], order["service"], order["view"]) if word) or "everything"
    moved = f" {part(order['moved'])}" if order["phase"] not in {"in force", "moved"} else ""
    forced = ", forced" if order["forced"] else ""
    return [
        Cell(order["id"]),
        Cell(f"{order['kind']} {where}", "cyan"),
        Cell(order["phase"] + moved),
        Cell(_ends(order["ends"], wall)),
        Cell(f"{order['author']}: {order['reason']}{forced}"),
    ]


def _ends(text: str, wall: float) -> str:
    try:
        at = moment(text, wall)
    except BadTimeError:
        return text
    return f"ends in {since(max(0.0, at - wall))} ({clock(at)[11:]})"


def _by_trouble(services: Sequence[Json]) -> list[Json]:
    return sorted(services, key=lambda one: (-one["overload"], -_unwell(one), one["service"]))


def _unwell(service: Json) -> int:
    return sum(place["health"] != "healthy" for place in service["regions"].values())


def _services(services: Sequence[Json], style: Style | None) -> Iterator[str]:
    shown = _by_trouble(services)[:MOST_SERVICES]
    regions = sorted({region for one in shown for region in one["regions"]})
    head = heads("service", "demand", "capacity", "used", *regions)
    rows = [[_service_cell(one), *_numbers(one), *(_place(one, region) for region in regions)] for one in shown]
    yield from columns([head, *rows], style)
    yield from _more(len(services) - len(shown), "services")


def _service_cell(one: Json) -> Cell:
    return Cell(one["service"], "red" if one["overload"] > 1 else "")


def _numbers(one: Json) -> list[Cell]:
    used = one["demand_rps"] / one["capacity_rps"] if one["capacity_rps"] else 0.0
    colour = "red" if one["overload"] > 1 else ""
    share = part(used) if one["capacity_rps"] else "-"
    return [number(f"{rate(one['demand_rps'])}/s"), number(f"{rate(one['capacity_rps'])}/s"), number(share, colour)]


def _place(one: Json, region: str) -> Cell:
    place = one["regions"].get(region)
    if place is None:
        return number("-")
    return number(percent(place["share"]), HEALTH_COLOURS.get(place["health"], ""))


def _views(service: Json, style: Style | None) -> Iterator[str]:
    """Yield one service's weights: a row for each view, a column for each region."""
    places = service["regions"]
    names = [place["region"] for place in places]
    rows = [heads(f"{service['service']} from", *names, "demand")]
    colours = {place["region"]: HEALTH_COLOURS.get(place["health"], "") for place in places}
    for view in service["views"]:
        weights = [number(percent(view["weights"][name]), colours[name]) for name in names]
        rows.append([Cell(f"  {view['view']}"), *weights, number(f"{rate(view['demand_rps'])}/s")])
    used = [number(f"{rate(place['load_rps'])}/{rate(place['capacity_rps'])}") for place in places]
    rows.append([Cell("  load/capacity"), *used])
    yield from columns(rows, style)
