"""Orders, and what an order would do, as tables for a terminal. Pure: JSON of the API in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xds_server.screens.printable import plain
from xds_server.screens.text import aligned

Json = dict[str, Any]

NOTHING = "nothing moves"


def effects_table(answer: Json) -> str:
    """Return who takes what, service by service, and what the rules say."""
    lines = [line for effect in answer["plan"] for line in _effect(effect)]
    lines += [f"refused: {words}" for words in answer["refusals"]]
    return "\n".join(map(plain, lines or [NOTHING]))


def _effect(effect: Json) -> Iterator[str]:
    rows = [("region", "", "now", "then", "capacity", "")]
    columns = ("regions", "load_rps_before", "load_rps_after", "capacity_rps")
    moves = False
    for region, before, after, capacity in zip(*(effect[name] for name in columns), strict=True):
        moves |= abs(after - before) >= 0.5
        used = f"{after / capacity:.0%}" if capacity else ""
        arrow = "+" if after - before >= 0.5 else "-" if before - after >= 0.5 else ""
        rows.append((region, arrow, f"{before:,.0f}", f"{after:,.0f}", f"{capacity:,.0f}", used))
    fits = "fits" if effect["fits"] else f"DOES NOT FIT, {effect['excess_rps']:,.0f} req/s too many"
    if effect["shed_rps"]:
        fits += f", {effect['shed_rps']:,.0f} req/s are refused so that regions hold"
    title = f"{effect['service']}: {fits}; {effect['added_latency_ms']:+.1f} ms a request on average"
    yield title if moves else f"{effect['service']}: {NOTHING}"
    if moves:
        yield from (f"  {line}" for line in aligned(rows))


def orders_table(found: Json, *, ended: bool) -> str:
    """Return the orders in force, one row each, and those that are over with their reports if they are asked for."""
    rows = [("id", "what", "phase", "moved", "by", "ends", "why")]
    rows += [
        (
            one["id"],
            one["what"],
            one["phase"] + (", forced" if one["forced"] else ""),
            f"{one['moved']:.0%}" if one["kind"] in {"evacuate", "drill"} else "",
            one["author"],
            one["ends"],
            one["reason"] + (f" ({one['detail']})" if one["detail"] else ""),
        )
        for one in found["orders"]
    ]
    lines = list(_left(rows)) if len(rows) > 1 else ["no orders in force"]
    if ended and found["ended"]:
        lines += ["", *(_over(one) for one in found["ended"])]
    return "\n".join(map(plain, lines))


def _over(one: Json) -> str:
    report = f"; {one['report']['words']}" if one["report"] else ""
    return f"over {one['ended']}: {one['id']} {one['what']}, by {one['author']} ({one['reason']}): {one['why']}{report}"


def _left(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
