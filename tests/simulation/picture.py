"""A life as a picture (SVG): what each region served over time, stacked, faults above it, what was lost in red."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from tests.simulation.faults import REGIONS, Scenario
from tests.simulation.world import Moment

WIDTH, HEIGHT = 760, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 150, 34, 28
COLUMNS = 300
COLOURS = {"us-east-1": "#4477aa", "eu-west-1": "#66ccee", "ap-southeast-1": "#228833", "sa-east-1": "#ccbb44"}
"""Paul Tol's bright scheme, which colour-blind readers can tell apart."""

FAULT, LOST, INK, GRID = "#ee6677", "#cc1122", "#333333", "#dddddd"


@dataclass
class Film:
    """What is kept of a life: per column the mean rates of requests."""

    scenario: Scenario
    served: list[dict[str, float]] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    demand: list[float] = field(default_factory=list)
    lost_total: float = 0.0
    demand_total: float = 0.0
    changes: int = 0
    _count: int = 0
    _weights: object = None

    def add(self, moment: Moment) -> None:
        """Add a tick to its column."""
        column = min(COLUMNS - 1, int(COLUMNS * (moment.now - self.scenario.tick_s) / self.scenario.length_s))
        if column >= len(self.served):
            self._count = 0
            self.served.append(dict.fromkeys(REGIONS, 0.0))
            self.lost.append(0.0)
            self.demand.append(0.0)
        n = self._count
        self._count += 1
        for region in REGIONS:
            self.served[-1][region] = (self.served[-1][region] * n + moment.second.served[region]) / (n + 1)
        demand = sum(moment.truth.demand.values())
        self.lost[-1] = (self.lost[-1] * n + moment.second.lost) / (n + 1)
        self.demand[-1] = (self.demand[-1] * n + demand) / (n + 1)
        self.lost_total += moment.second.lost * self.scenario.tick_s
        self.demand_total += demand * self.scenario.tick_s
        weights = moment.decision.weights if moment.decision else None
        self.changes += self._weights is not None and weights != self._weights
        self._weights = weights


def svg(film: Film) -> str:
    """Return the picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="11">',
        f"<title>{escape(film.scenario.name)}: {escape(film.scenario.about)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_Picture(film).parts(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Picture:
    """The parts of one picture."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self.most = 1.08 * max(*film.demand, *(sum(column.values()) for column in film.served))
        self.right, self.bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def parts(self) -> Iterator[str]:
        """Yield everything from back to front."""
        yield from self._faults()
        yield from self._areas()
        demand = self._points(self.film.demand)
        yield f'<polyline points="{demand}" fill="none" stroke="{INK}" stroke-dasharray="4 3"/>'
        yield f'<polyline points="{self._points(self.film.lost)}" fill="none" stroke="{LOST}" stroke-width="1.5"/>'
        yield from self._axes()
        yield from self._legend()

    def _x(self, seconds: float) -> float:
        return LEFT + (self.right - LEFT) * min(1.0, seconds / self.film.scenario.length_s)

    def _y(self, rps: float) -> float:
        return self.bottom - (self.bottom - TOP) * rps / self.most

    def _points(self, rates: Sequence[float]) -> str:
        step = self.film.scenario.length_s / len(rates)
        return " ".join(f"{self._x(i * step):.1f},{self._y(rate):.1f}" for i, rate in enumerate(rates))

    def _areas(self) -> Iterator[str]:
        floor = [0.0] * len(self.film.served)
        for region, colour in COLOURS.items():
            roof = [below + column[region] for below, column in zip(floor, self.film.served, strict=True)]
            back = " ".join(reversed(self._points(floor).split()))
            yield f'<polygon points="{self._points(roof)} {back}" fill="{colour}"/>'
            floor = roof

    def _faults(self) -> Iterator[str]:
        for i, fault in enumerate(self.film.scenario.faults):
            x, y = self._x(fault.at), 12 + 11 * (i % 2)
            width = self._x(min(fault.until, self.film.scenario.length_s)) - x
            across = f'x="{x:.1f}" width="{width:.1f}" fill="{FAULT}"'
            yield f'<rect {across} y="{TOP}" height="{self.bottom - TOP}" opacity=".15"/>'
            yield f'<rect {across} y="{TOP - 3}" height="3"/>'
            yield f'<text x="{x:.1f}" y="{y}" fill="{LOST}">{escape(str(fault))}</text>'

    def _axes(self) -> Iterator[str]:
        for share in (0.25, 0.5, 0.75, 1.0):
            rps = share * max(self.film.demand)
            y = self._y(rps)
            yield f'<line x1="{LEFT}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}" opacity=".6"/>'
            yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{rps / 1000:.0f}k req/s</text>'
        length = self.film.scenario.length_s
        unit, name = (3600, "h") if length > 7200 else (60, "min")
        for part in range(5):
            at = length * part / 4
            label = f"{at / unit:.3g} {name}"
            yield f'<text x="{self._x(at):.1f}" y="{HEIGHT - 10}" text-anchor="middle" fill="{INK}">{label}</text>'

    def _legend(self) -> Iterator[str]:
        x = self.right + 12
        names = [*reversed(COLOURS.items()), ("lost", LOST), ("demand (dashed)", INK)]
        for i, (name, colour) in enumerate(names):
            y = TOP + 14 * (i + 1)
            yield f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
            yield f'<text x="{x + 15}" y="{y}" fill="{INK}">{escape(name)}</text>'
