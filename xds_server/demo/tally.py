"""What became of the requests: counts that never grow, and slices of time for the latencies around a fault.

A request failed if it got no response or a status of 500 and above. A request belongs to the half second in which it
was *due*, not in which it ended: a request that took ten seconds does not smear the time after it.

The load process keeps a `Tally`, takes a `Delta` of it twice a second and sends it as one JSON line; the reader adds
deltas up (`Totals`). Addition is the only operation, so a late or a merged line changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xds_server.demo.histogram import Histogram, bucket_of, merged, quantile
from xds_server.demo.mix import Due

SLOT_S = 0.5
NO_RESPONSE = "none"
_KEPT_SLOTS = 7_200


def slot_of(at_s: float) -> int:
    """Return the number of the slice of time that holds a second of the run."""
    return int(at_s / SLOT_S)


def failed(status: int | None) -> bool:
    """Return whether a request with that status (None: no response) failed."""
    return status is None or status >= 500


@dataclass(slots=True)
class Slot:
    """One slice of time: requests, how many of them failed, and the latencies of those that got a response."""

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
    slots: dict[int, Slot] = field(default_factory=dict)

    def record(self, due: Due, status: int | None, served_by: str, latency_ms: float) -> None:
        """Note that a request is over."""
        slot = self.slots.setdefault(slot_of(due.at_s), Slot())
        slot.requests += 1
        self.completed_by_view[due.view] += 1
        self.completed_by_kind[due.kind] += 1
        if status is not None:
            slot.latency[bucket_of(latency_ms)] += 1
        if failed(status):
            slot.failed += 1
            self.failed_by_view[due.view] += 1
            self.failed_by_kind[due.kind] += 1
            self.failed_by_status[NO_RESPONSE if status is None else str(status)] += 1
        elif served_by:
            self.served_by[served_by] += 1

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        counters = {name: dict(getattr(self, name)) for name in _COUNTERS}
        slots = [[number, s.requests, s.failed, list(s.latency.items())] for number, s in self.slots.items()]
        return {"sent": self.sent, "in_flight": self.in_flight, "lag_ms": self.lag_ms, **counters, "slots": slots}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Delta:
        """Undo `to_json`."""
        counters = {name: Counter(data[name]) for name in _COUNTERS}
        slots = {n: Slot(requests, bad, Counter(dict(pairs))) for n, requests, bad, pairs in data["slots"]}
        return cls(sent=data["sent"], in_flight=data["in_flight"], lag_ms=data["lag_ms"], slots=slots, **counters)


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
    """The sum of all deltas, and the last hour's slots."""

    def __init__(self) -> None:
        self.sum = Delta()
        self.latency: Histogram = Counter()
        self._slots: dict[int, Slot] = {}
        self._order: deque[int] = deque()

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
        for number, slot in delta.slots.items():
            self.latency.update(slot.latency)
            self._add_slot(number, slot)

    def _add_slot(self, number: int, slot: Slot) -> None:
        if number not in self._slots:
            self._slots[number] = Slot()
            self._order.append(number)
            while len(self._order) > _KEPT_SLOTS:
                del self._slots[self._order.popleft()]
        mine = self._slots[number]
        mine.requests += slot.requests
        mine.failed += slot.failed
        mine.latency.update(slot.latency)

    def window(self, from_s: float, to_s: float) -> Window | None:
        """Return what was due between two seconds of the run, by whole slots; None if nothing was."""
        numbers = range(slot_of(from_s), max(slot_of(from_s) + 1, slot_of(to_s)))
        slots = [self._slots[n] for n in numbers if n in self._slots]
        if not slots:
            return None
        latency = merged(slot.latency for slot in slots)
        return Window(
            requests=sum(slot.requests for slot in slots),
            failed=sum(slot.failed for slot in slots),
            p50_ms=quantile(latency, 0.50),
            p99_ms=quantile(latency, 0.99),
        )
