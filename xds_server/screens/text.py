"""Text for terminals: cells in columns, numbers, spans of time. Pure; colours are the caller's to give.

Names and reasons come from policies and from clients: what could steer a terminal is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from xds_server.model import TOTAL_WEIGHT
from xds_server.screens.printable import plain

Style = Callable[..., str]

HEALTH_COLOURS: Mapping[str, str] = {
    "healthy": "green",
    "recovering": "yellow",
    "degraded": "yellow",
    "draining": "cyan",
    "unknown": "magenta",
    "down": "red",
}
SEVERITY_COLOURS: Mapping[str, str] = {"alarm": "red", "warning": "yellow"}


_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Cell(NamedTuple):
    """A piece of text, with the name of a colour; `right` for numbers, `bold` for heads."""

    text: str
    colour: str = ""
    right: bool = False
    bold: bool = False


def number(text: str, colour: str = "") -> Cell:
    """Return a cell that stands on the right."""
    return Cell(text, colour, right=True)


def heads(*words: str) -> list[Cell]:
    """Return the cells of a head line."""
    return [Cell(word, bold=True) for word in words]


def columns(rows: Sequence[Sequence[Cell]], style: Style | None, indent: str = "") -> Iterator[str]:
    """Yield rows with their cells one under the other, heads on the side of what is under them."""
    most = max((len(row) for row in rows), default=0)
    widths = [max(len(plain(row[i].text)) for row in rows if i < len(row)) for i in range(most)]
    rights = [any(row[i].right for row in rows if i < len(row)) for i in range(most)]
    for row in rows:
        last = len(row) - 1
        placed = [cell._replace(right=rights[i]) if cell.bold else cell for i, cell in enumerate(row)]
        cells = [drawn(cell, 0 if i == last and not cell.right else widths[i], style) for i, cell in enumerate(placed)]
        yield indent + "  ".join(cells).rstrip()


def drawn(cell: Cell, width: int, style: Style | None) -> str:
    """Return a cell's text in at least `width` columns."""
    text = plain(cell.text)
    padding = " " * (width - len(text))
    shown = style(text, fg=cell.colour or None, bold=cell.bold) if style and (cell.colour or cell.bold) else text
    return padding + shown if cell.right else shown + padding


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with their columns under each other, those after the second to the right, the last one as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if i < 2 or i == len(row) - 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def percent(weight: float) -> str:
    """Return a weight as a share: `70 %`, `0.5 %`, `0`."""
    return f"{100 * weight / TOTAL_WEIGHT:.4g} %" if weight else "0"


def part(fraction: float) -> str:
    """Return a fraction in whole percents."""
    return f"{100 * fraction:.0f} %"


def rate(rps: float) -> str:
    """Return requests per second with as many digits as say something."""
    return f"{rps:,.0f}" if rps >= 100 else f"{rps:.3g}"


def since(seconds: float) -> str:
    """Return a time span in its two largest units."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def ago(at: float | None, wall: float) -> str:
    """Return how long ago a time of day was; nothing where it is not known."""
    return "" if at is None else since(max(0.0, wall - at))


def clock(at: float) -> str:
    """Return a time of day for people: to the second, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
