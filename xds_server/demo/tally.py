"""What became of the requests: counts that never grow, and slices of time for the latencies around a fault.

A request failed if it got no response or a status of 500 and above. It is filed under the half second in which it was
due and the half second in which it ended, because a request that was under way when a region died belongs to what the
death did, and one that was due afterwards does not: filing by either time alone puts some failures into the wrong
phase. Nearly all requests end in the slot they were due in or the next, so there are about two cells for each slot.

The load process keeps a `Tally`, takes a `Delta` of it twice a second and sends it as one JSON line; the reader adds
deltas up (`Totals`). Addition is the only operation, so a late or a merged line changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xds_server.demo.histogram import Histogram, bucket_of, merged, quantile
from xds_server.demo.mix import Due

SLOT_S = 0.5
NO_RESPONSE = "none"
_KEPT_CELLS = 20_000


def slot_of(at_s: float) -> int:
    """Return the number of the slice of time that holds a second of the run."""
    return int(at_s / SLOT_S)


def failed(status: int | None) -> bool:
    """Return whether a request with that status (None: no response) failed."""
    return status is None or status >= 500


@dataclass(slots=True)
class Cell:
    """Requests due in one slot that ended in one: how many, how many failed, latencies of those with a response."""

    requests: int = 0
    failed: int = 0
    latency: Histogram = field(default_factory=Counter)


@dataclass(slots=True)
class Delta:
    """What was added since the last one. `lag_ms` is the worst lateness of the load itself in sending."""

    sent: int = 0
    in_flight: int = 0
    lag_ms: float = 0.0
    completed_by_view: Counter[str] = field(default_factory=Counter)
    completed_by_kind: Counter[str] = field(default_factory=Counter)
    failed_by_view: Counter[str] = field(default_factory=Counter)
    failed_by_kind: Counter[str] = field(default_factory=Counter)
    failed_by_status: Counter[str] = field(default_factory=Counter)
    served_by: Counter[str] = field(default_factory=Counter)
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)

    def record(self, due: Due, status: int | None, served_by: str, latency_ms: float) -> None:
        """Note that a request is over."""
        ended_s = due.at_s + latency_ms / 1000.0
        cell = self.cells.setdefault((slot_of(due.at_s), slot_of(ended_s)), Cell())
        cell.requests += 1
        self.completed_by_view[due.view] += 1
        self.completed_by_kind[due.kind] += 1
        if status is not None:
            cell.latency[bucket_of(latency_ms)] += 1
        if failed(status):
            cell.failed += 1
            self.failed_by_view[due.view] += 1
            self.failed_by_kind[due.kind] += 1
            self.failed_by_status[NO_RESPONSE if status is None else str(status)] += 1
        elif served_by:
            self.served_by[served_by] += 1

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        counters = {name: dict(getattr(self, name)) for name in _COUNTERS}
        cells = [[*key, c.requests, c.failed, list(c.latency.items())] for key, c in self.cells.items()]
        return {"sent": self.sent, "in_flight": self.in_flight, "lag_ms": self.lag_ms, **counters, "cells": cells}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Delta:
        """Undo `to_json`."""
        counters = {name: Counter(data[name]) for name in _COUNTERS}
        cells = {(due, end): Cell(n, bad, Counter(dict(pairs))) for due, end, n, bad, pairs in data["cells"]}
        return cls(sent=data["sent"], in_flight=data["in_flight"], lag_ms=data["lag_ms"], cells=cells, **counters)


_COUNTERS = (
    "completed_by_view",
    "completed_by_kind",
    "failed_by_view",
    "failed_by_kind",
    "failed_by_status",
    "served_by",
)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the run: requests due in it, those that failed, latencies in ms (None without responses)."""

    requests: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None


class Totals:
    """The sum of all deltas, and the cells of the last hour or so."""

    def __init__(self) -> None:
        self.sum = Delta()
        self.latency: Histogram = Counter()
        self._cells: dict[tuple[int, int], Cell] = {}

    @property
    def completed(self) -> int:
        """Requests that are over, well or badly."""
        return self.sum.completed_by_view.total()

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return self.sum.failed_by_view.total()

    def add(self, delta: Delta) -> None:
        """Add a delta."""
        self.sum.sent += delta.sent
        self.sum.in_flight = delta.in_flight
        self.sum.lag_ms = max(self.sum.lag_ms, delta.lag_ms)
        for name in _COUNTERS:
            getattr(self.sum, name).update(getattr(delta, name))
        for key, cell in delta.cells.items():
            self.latency.update(cell.latency)
            self._add_cell(key, cell)

    def _add_cell(self, key: tuple[int, int], cell: Cell) -> None:
        mine = self._cells.get(key)
        if mine is None:
            mine = self._cells[key] = Cell()
            while len(self._cells) > _KEPT_CELLS:
                del self._cells[next(iter(self._cells))]
        mine.requests += cell.requests
        mine.failed += cell.failed
        mine.latency.update(cell.latency)

    def window(self, select: Callable[[int, int], bool]) -> Window | None:
        """Return what the cells hold whose due and end slots are selected; None if that is nothing."""
        cells = [cell for (due, end), cell in self._cells.items() if select(due, end)]
        if not cells:
            return None
        latency = merged(cell.latency for cell in cells)
        return Window(
            requests=sum(cell.requests for cell in cells),
            failed=sum(cell.failed for cell in cells),
            p50_ms=quantile(latency, 0.50),
            p99_ms=quantile(latency, 0.99),
        )

    def ended(self, from_s: float, to_s: float) -> Window | None:
        """Return the requests that ended between two seconds of the run."""
        return self.window(lambda _, end: slot_of(from_s) <= end < slot_of(to_s))

    def due(self, from_s: float, to_s: float) -> Window | None:
        """Return the requests that were due between two seconds of the run."""
        return self.window(lambda due, _: slot_of(from_s) <= due < slot_of(to_s))

    def under_way(self, from_s: float, to_s: float) -> Window | None:
        """Return the requests that were under way at any time between two seconds of the run."""
        return self.window(lambda due, end: end >= slot_of(from_s) and due < slot_of(to_s))
