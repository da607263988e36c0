"""Thousands of Envoys and the regions they send to, added up: rates of requests, not single ones.

All Envoys of a view act alike, so a view is one set of rates. What an Envoy does by itself is modelled as measured on
real ones (docs/decisions/0001): a failed try of a read is repeated at priority 1; hosts that fail are ejected within a
tick and let back `EJECTED_S` later; priority 1 takes what priority 0 is too small for, by the overprovisioning factor.
One request in ten is a write without a key, which is not repeated once it has reached a region that hangs.

A region serves up to its capacity. The rest waits, up to `QUEUE_S` of its capacity, and what is more is answered 503;
of that, Envoys repeat at most a fifth of their traffic (the retry budget), which is load for somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.faults import REGIONS
from xds_server.model import TOTAL_WEIGHT, ServiceDecision, Verdict

EJECTED_S = 10.0
FAILS_FOR_S = 1.0
"""Until the last Envoy has ejected a dead host: they need five failures each, and there are many of them."""

QUEUE_S = 0.4
PLAIN_WRITES = 0.1
RETRY_BUDGET = 0.2
SERVICE_MS = 20.0

Pair = tuple[str, str]


@dataclass
class Truth:
    """How things really are at one moment."""

    up: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, 1.0))
    hangs: set[str] = field(default_factory=set)
    errors: dict[str, float] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    cut: set[Pair] = field(default_factory=set)
    demand: dict[str, float] = field(default_factory=dict)
    capacity: dict[str, float] = field(default_factory=dict)

    def reachable(self, view: str, region: str) -> float:
        """Return the share of a region's hosts that answer a view."""
        return 0.0 if (view, region) in self.cut else self.up[region]


@dataclass
class Attempts:
    """What one view did in one region in one tick, in requests per second."""

    good: float = 0.0
    bad: float = 0.0
    reflex: float = 0.0


@dataclass
class Second:
    """What happened in one tick, in requests per second: by view and region, and what clients lost."""

    attempts: dict[Pair, Attempts] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0.0))
    lost: float = 0.0
    latency_ms: dict[Pair, float] = field(default_factory=dict)

    def at(self, view: str, region: str) -> Attempts:
        """Return the attempts of a view in a region."""
        return self.attempts.setdefault((view, region), Attempts())


def _marked(verdict: Verdict | None) -> float:
    """Return the share of a region's hosts that EDS marks as failed: none where all are."""
    return 1.0 - verdict.up / verdict.total if verdict and verdict.serves and 0 < verdict.up < verdict.total else 0.0


class Fleet:
    """The Envoys of all views, with the weights and plans they have now."""

    def __init__(self, latency_ms: Mapping[Pair, float]) -> None:
        self.latency_ms = latency_ms
        self.has: ServiceDecision | None = None
        self._ejected: dict[Pair, tuple[float, float]] = {}
        self._queue = dict.fromkeys(REGIONS, 0.0)

    def tick(self, truth: Truth, now: float, seconds: float) -> Second:
        """Send one tick's requests; return what came of them."""
        told, plan = Second(), self.has
        if plan is None:
            return told
        again: dict[Pair, float] = {}
        for v, view in enumerate(plan.regions):
            for r in range(len(plan.regions)):
                rate = truth.demand[view] * plan.weights[v][r] / TOTAL_WEIGHT
                if rate:
                    self._first_try(truth, told, again, (v, r), rate, now, seconds)
        for (view, home), rate in again.items():
            self._reflex(truth, told, view, home, rate)
        self._serve(truth, told, seconds)
        return told

    def _first_try(
        self,
        truth: Truth,
        told: Second,
        again: dict[Pair, float],
        pair: tuple[int, int],
        rate: float,
        now: float,
        seconds: float,
    ) -> None:
        plan = self.has
        assert plan is not None
        v, r = pair
        view, region = plan.regions[v], plan.regions[r]
        protection = plan.protection[v][r]
        ejected, until = self._ejected.get((view, region), (0.0, 0.0))
        if now >= until:
            ejected = 0.0
        ejected = max(ejected, _marked(plan.verdicts[r]))
        gone = 1.0 - truth.reachable(view, region)
        factor = (protection.overprovisioning_factor if protection else 100) / 100
        home = rate * min(1.0, (1.0 - ejected) * factor)
        failing = home * max(0.0, gone - ejected) / (1.0 - ejected) if ejected < 1.0 else 0.0
        home -= failing * (1.0 - min(1.0, FAILS_FOR_S / seconds))
        failing *= min(1.0, FAILS_FOR_S / seconds)
        written_off = failing * PLAIN_WRITES * (1.0 if region in truth.hangs or (view, region) in truth.cut else 0.05)
        told.lost += written_off * min(1.0, 0.5 / seconds)
        attempts = told.at(view, region)
        attempts.bad += failing
        attempts.good += home - failing
        again[view, region] = rate - home + failing - written_off * min(1.0, 0.5 / seconds)
        if gone > ejected:
            self._ejected[view, region] = (gone, now + EJECTED_S)

    def _reflex(self, truth: Truth, told: Second, view: str, home: str, rate: float) -> None:
        """Send what a cluster's priority 0 did not take to its priority 1; what fails there as well is lost."""
        plan = self.has
        assert plan is not None
        row = plan.reflex[plan.regions.index(home)][plan.regions.index(view)]
        left = rate
        for region, weight in zip(plan.regions, row, strict=True):
            part = rate * weight / TOTAL_WEIGHT * truth.reachable(view, region)
            if part:
                attempts = told.at(view, region)
                attempts.good += part
                attempts.reflex += part
                left -= part
        told.lost += left

    def _serve(self, truth: Truth, told: Second, seconds: float) -> None:
        """Let every region serve what arrived, as far as it can."""
        shed: dict[Pair, float] = {}
        for region in REGIONS:
            arrived = sum(a.good for (_, to), a in told.attempts.items() if to == region)
            capacity = truth.capacity[region] * truth.up[region] / truth.slow.get(region, 1.0) ** 0.5
            waiting = self._queue[region]
            served = min(arrived + waiting / seconds, capacity)
            self._queue[region] = min(QUEUE_S * capacity, max(0.0, waiting + (arrived - served) * seconds))
            refused = max(0.0, arrived - served - (self._queue[region] - waiting) / seconds)
            errors = truth.errors.get(region, 0.0)
            told.served[region] = served
            wait_ms = 1000 * self._queue[region] / capacity if capacity else 0.0
            for (view, to), attempts in told.attempts.items():
                if to == region and attempts.good:
                    bad = attempts.good * min(1.0, (refused / arrived if arrived else 0.0) + errors)
                    attempts.good -= bad
                    attempts.bad += bad
                    shed[view, region] = bad
                    slow = SERVICE_MS * truth.slow.get(region, 1.0)
                    told.latency_ms[view, region] = self.latency_ms[view, region] + slow + wait_ms
        for (view, region), bad in shed.items():
            self._repeat(truth, told, view, region, bad)

    def _repeat(self, truth: Truth, told: Second, view: str, home: str, bad: float) -> None:
        """Repeat what was answered 503, within the retry budget, where there is room left."""
        plan = self.has
        assert plan is not None
        budget = min(bad * (1 - PLAIN_WRITES), RETRY_BUDGET * truth.demand[view])
        told.lost += bad - budget
        row = plan.reflex[plan.regions.index(home)][plan.regions.index(view)]
        for region, weight in zip(plan.regions, row, strict=True):
            part = budget * weight / TOTAL_WEIGHT
            room = truth.capacity[region] * truth.up[region] - told.served[region]
            taken = max(0.0, min(part * truth.reachable(view, region), room))
            if part:
                told.served[region] += taken
                told.at(view, region).good += taken
                told.at(view, region).reflex += taken
                told.lost += part - taken
        if not any(row):
            told.lost += budget
