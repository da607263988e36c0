"""What a benchmark yields, as values: figures, their summary, the table for people and the JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

_HEADERS = ("what", "median", "min", "max", "unit", "reach", "met")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number: `values` are its runs. `reach` is the most it should be; None where it only informs."""

    what: str
    unit: str
    values: tuple[float, ...]
    reach: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Return the middle of the runs."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Return whether the median reaches what it should; None where nothing was set."""
        return None if self.reach is None else self.median <= self.reach


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark yielded, and how busy the machine was: load averages of a minute, before and after."""

    benchmark: str
    seconds: float
    load: tuple[float, float]
    figures: tuple[Figure, ...]


def table(results: Sequence[Result]) -> str:
    """Return all figures as one table, each with its note below it."""
    rows = [_row(figure) for result in results for figure in result.figures]
    widths = [max(len(row[i]) for row in [_HEADERS, *rows]) for i in range(len(_HEADERS))]
    lines = [_line(_HEADERS, widths), "  ".join("-" * width for width in widths)]
    for result in results:
        lines += [f"{result.benchmark}  (load average {result.load[0]:.1f} → {result.load[1]:.1f})"]
        for figure in result.figures:
            lines.append(_line(_row(figure), widths))
            lines += [f"    {figure.note}"] if figure.note else []
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    reach = "" if figure.reach is None else f"≤ {_number(figure.reach)}"
    numbers = (_number(value) for value in (figure.median, min(figure.values), max(figure.values)))
    met = {True: "yes", False: "NO", None: ""}[figure.met]
    return ("  " + figure.what, *numbers, figure.unit, reach, met)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numeric = {1, 2, 3, 5}
    return "  ".join(
        c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def as_json(results: Sequence[Result], machine: Mapping[str, Any], command: str, *, quick: bool) -> dict[str, Any]:
    """Return everything as JSON types."""
    return {
        "bench_version": 1,
        "command": command,
        "quick": quick,
        "machine": dict(machine),
        "benchmarks": [
            {
                "name": result.benchmark,
                "seconds": round(result.seconds, 1),
                "load_average": {"before": result.load[0], "after": result.load[1]},
                "figures": [_figure_json(figure) for figure in result.figures],
            }
            for result in results
        ],
    }


def _figure_json(figure: Figure) -> dict[str, Any]:
    return {
        "what": figure.what,
        "unit": figure.unit,
        "median": figure.median,
        "min": min(figure.values),
        "max": max(figure.values),
        "values": list(figure.values),
        "reach": figure.reach,
        "met": figure.met,
        "note": figure.note,
    }
