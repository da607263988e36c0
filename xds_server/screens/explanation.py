"""`xds-server explain`: why each weight of a service is what it is, from the JSON of a decision. Pure.

The order is the one of the argument: what is believed of each region and on what evidence, what may be used of it, what
is asked of it, and then every weight with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xds_server.screens.printable import plain
from xds_server.screens.text import HEALTH_COLOURS, Cell, Style, columns, heads, number, part, percent, rate, since

Json = Mapping[str, Any]

_AGENT_SAYS: Mapping[bool | None, str] = {True: "healthy", False: "unhealthy", None: "no verdict"}


def explanation(
    service: Json, signals: Iterable[Json], orders: Iterable[Json], view: str | None, style: Style | None
) -> Iterator[str]:
    """Yield the lines. `signals` and `orders` are those about the service; none for a time that is past."""
    yield from _beliefs(service, list(signals), style)
    yield ""
    yield from _balance(service)
    concerning = [order for order in orders if order["service"] in {"", service["service"]}]
    for order in concerning:
        yield plain(f"order {order['id']} ({order['kind']}) of {order['author']}, until {order['ends']}: {_why(order)}")
    for row in service["views"]:
        if view in {None, row["view"]}:
            yield ""
            yield from _view(row, {place["region"]: place for place in service["regions"]}, style)


def signals_of(signals: Json, service: str) -> list[Json]:
    """Return what sources last said of a service, or of all services of a region."""
    return [row for row in signals["signals"] if row["service"] in {"", service}]


def _beliefs(service: Json, signals: list[Json], style: Style | None) -> Iterator[str]:
    rows = [heads("region", "verdict", "for", "up", "score", "ramp", "serves", "of", "why")]
    for place in service["regions"]:
        held = f" (was {place['held']})" if place["held"] else ""
        colour = HEALTH_COLOURS.get(place["health"], "")
        rows.append(
            [
                Cell(place["region"]),
                Cell(place["health"] + held, colour),
                number(since(place["since_s"])),
                number(f"{place['up']}/{place['total']}"),
                number(part(place["score"])),
                number(part(place["ramp"])),
                number(f"{rate(place['load_rps'])}/s"),
                number(f"{rate(place['capacity_rps'])}/s"),
                Cell(_reason(place)),
            ]
        )
    yield from columns(rows, style)
    evidence = [[Cell(row["region"]), Cell(_source(row)), Cell(_said(row))] for row in signals]
    if evidence:
        yield ""
        yield from columns([heads("evidence of", "from", "last said"), *evidence], style)


def _reason(place: Json) -> str:
    """Return why a place is believed to be so, and why its capacity is not the policy's, which history may lack."""
    why = place.get("capacity_reason")
    return f"{place['reason']}; capacity {rate(place['capacity_rps'])}/s: {why}" if why else str(place["reason"])


def _source(row: Json) -> str:
    who = f"{row['source']} {row['reporter']}" if row["source"] == "agent" else str(row["source"])
    return f"{who} in {row['view']}" if row["view"] else who


def _said(row: Json) -> str:
    detail: str = row.get("detail", "")
    detail = f": {detail}" if detail else ""
    return f"{_words(row)}{detail} ({since(row['age_s'])} ago)"


def _words(row: Json) -> str:
    """Return what was said, in the terms of its source."""
    if row["source"] in {"probes", "hds"}:
        return f"{row['up']} of {row['total']} up"
    if row["source"] == "lrs":
        return f"{rate(row['issued_rps'])}/s issued, {rate(row['failed_rps'])}/s failed"
    if row["source"] == "als":
        sampled = f"about {rate(row['requests_rps'])}/s by a sample"
        return f"{sampled}, {rate(row['failed_rps'])}/s failed, p99 {row['p99_ms']:.3g} ms"
    used = "" if row["utilisation"] is None else f", {row['utilisation']:.0%} used"
    capacity = "" if row["capacity_rps"] is None else f", capacity {rate(row['capacity_rps'])}/s"
    return f"{_AGENT_SAYS[row['healthy']]}{used}{capacity}"


def _balance(service: Json) -> Iterator[str]:
    demand = sum(view["demand_rps"] for view in service["views"])
    capacity = sum(place["capacity_rps"] for place in service["regions"])
    fits = "it fits" if service["overload"] <= 1 else f"it does not fit: regions at up to {part(service['overload'])}"
    refused = sum(view["demand_rps"] * shed["percent"] / 100 for view in service["views"] if (shed := view.get("shed")))
    refusal = f", if nothing were refused; {rate(refused)} req/s are" if refused else ""
    yield f"{rate(demand)} req/s are asked for, {rate(capacity)} req/s may be used: {fits}{refusal}"


def _view(row: Json, places: Mapping[str, Json], style: Style | None) -> Iterator[str]:
    title = f"from {row['view']}, {rate(row['demand_rps'])} req/s"
    yield style(plain(title), bold=True) if style else plain(title)
    by_weight = sorted(row["weights"].items(), key=lambda item: (-item[1], item[0]))
    cells = [
        [
            Cell(region),
            number(percent(weight), HEALTH_COLOURS.get(places[region]["health"], "")),
            Cell(row["reasons"][region].removeprefix("0: ")),
        ]
        for region, weight in by_weight
    ]
    yield from columns(cells, style, "  ")
    if shed := row.get("shed"):
        classes = [f"{part['percent']} % of {part['name'] or 'the rest'}" for part in shed["classes"]]
        by_class = f" ({', '.join(classes)})" if classes else ""
        yield plain(f"  refuses {shed['percent']} %{by_class}: {shed['reason']}")
    if trickle := row.get("half_open"):
        more = [f"{name} {percent(weight)}" for name, weight in trickle.items() if weight > row["weights"][name]]
        yield plain(f"  of what may be sent twice, a trickle to see it recover: {', '.join(more)}")


def _why(order: Json) -> str:
    return "; ".join(word for word in (order["reason"], order["detail"]) if word) or "no reason given"
