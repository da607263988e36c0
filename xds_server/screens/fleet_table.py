"""`/api/v1/fleet` as a table for people. Pure functions of the JSON.

What clients say about themselves and about what they reject is theirs: anything that could steer a terminal is
replaced. Columns are as wide as what is in them; where that is too wide, the widest of the words give way. A type that
still does not fit is left to `--json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from xds_server.screens.printable import plain
from xds_server.screens.text import Style, since

Json = Mapping[str, Any]

TYPES = ("LDS", "RDS", "CDS", "EDS", "SDS", "RTDS", "ECDS", "SRDS", "VHDS")
"""The columns of types, in this order; what else there is comes after them."""

VERSION_CHARS = 6
NARROW = 8
"""What a column of words gives way to; the middle goes first, because names of machines differ at their ends."""

_WORDS = ("client", "region", "fleet", "runs on", "since")
_COLOURS = {"~": "yellow", "!": "red"}


class _Cell(NamedTuple):
    text: str
    colour: str = ""


def has_rejections(fleet: Json) -> bool:
    """Return whether a client rejected something, or something is kept back."""
    return bool(fleet["quarantine"]) or any(t["rejected_count"] for c in fleet["clients"] for t in c["types"].values())


def fleet_table(fleet: Json, width: int | None, style: Style | None = None) -> Iterator[str]:
    """Yield the lines, none of the table's wider than `width` if that is given; `style` colours text."""
    clients = fleet["clients"]
    if not clients:
        yield "no client is connected"
    else:
        types = sorted({name for client in clients for name in client["types"]}, key=_rank)
        yield from _table([_head(types), *(_row(client, types) for client in clients)], width, style)
    yield from _rejections(clients)
    for held in fleet["quarantine"]:
        view = "/".join(held[part] for part in ("fleet", "region", "kind"))
        what = f"{held['type']} {held['name']} {_short(held['version'])}"
        yield plain(f"kept back from {view}: {what}, which {held['client']} rejected: {held['error']}")


def _rank(name: str) -> int:
    return TYPES.index(name) if name in TYPES else len(TYPES)


def _head(types: Sequence[str]) -> list[_Cell]:
    return [_Cell(word) for word in (*_WORDS, *types)]


def _row(client: Json, types: Sequence[str]) -> list[_Cell]:
    name = client["id"] + ("*" if client["on_trial"] else "")
    runs = f"{client['agent']} {client['version']}"
    words = (name, client["region"], client["fleet"], runs, since(client["connected_s"]))
    states = (client["types"].get(name) for name in types)
    return [*(_Cell(plain(word)) for word in words), *(_Cell("") if t is None else _state(t) for t in states)]


def _state(of: Json) -> _Cell:
    mark = "!" if of["rejected_count"] else "" if of["synced"] else "~"
    return _Cell((_short(of["acked"]) or "-") + mark, _COLOURS.get(mark, "green"))


def _short(version: str) -> str:
    return plain(version[:VERSION_CHARS])


def _table(rows: Sequence[Sequence[_Cell]], width: int | None, style: Style | None) -> Iterator[str]:
    widths = [max(len(cell.text) for cell in column) for column in zip(*rows, strict=True)]
    widths = widths if width is None else _fitted(widths, width)
    for row in rows:
        cells = [_drawn(cell, room, style) for cell, room in zip(row, widths, strict=False)]
        yield "  ".join(cells).rstrip()


def _fitted(widths: list[int], width: int) -> list[int]:
    """Take room from the widest column of words, and then whole columns from the right, until a row fits."""
    words = len(_WORDS)
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(range(words), key=lambda i: widths[i])
        if widths[widest] > NARROW:
            widths[widest] -= 1
        elif len(widths) > words:
            widths.pop()
        else:
            break
    return widths


def _drawn(cell: _Cell, room: int, style: Style | None) -> str:
    text = (
        cell.text
        if len(cell.text) <= room
        else f"{cell.text[: room // 2]}…{cell.text[len(cell.text) - (room - 1) // 2 :]}"
    )
    padding = " " * (room - len(text))
    return (style(text, fg=cell.colour) if style and cell.colour and text else text) + padding


def _rejections(clients: Sequence[Json]) -> Iterator[str]:
    for client in clients:
        for name, of in client["types"].items():
            for refusal in of["rejected"]:
                what = f"{name} {refusal['name']} {_short(refusal['version'])}"
                yield plain(f"{client['id']} rejected {what}: {refusal['error']}")
            more = of["rejected_count"] - len(of["rejected"])
            if more:
                yield plain(f"{client['id']} rejected {more} more of {name}")
