"""What live traffic says: demand, whether a path works, and how much of its share a region has earned.

Load reports count attempts at the region that served them, every second. They are kept in windows of `WINDOW_S`:

    demand     what succeeded, per view: a request that was retried succeeded once, so retries are not demand. While
               more than `FAILING` of a service's attempts fail it is held: what fails is neither demand nor its
               absence. Smoothed over `SMOOTH_S`; a new figure counts only if it differs by `MATTERS`, so that noise
               moves nothing.
    reach      a view whose recent attempts in a region mostly succeed can reach it, whatever a prober says; one whose
               attempts all fail cannot. Few attempts say nothing.
    standing   0..1, what part of its share a region has earned. Failures count against the other regions' failures of
               the same service: what fails everywhere is the service, not the region. Latency counts against the
               region's own past, and the others': what is slow everywhere is too much load, and moving it between
               hot regions helps nobody. Down at once, up in steps, and later after each fall: a standing that depends
               on the load it lets in would otherwise swing for ever.

Latency comes from access logs. The normal p99 of each path is learned slowly, and only while it is normal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from xds_server.decision.verdicts import (
    FORGET_AFTER_S,
    FULL_STANDING,
    MAX_HOLD_DOWN_S,
    STEP,
    Place,
    Standing,
    worse,
)
from xds_server.model import AccessSummary, LoadReport

WINDOW_S = 10.0
RECENT_S = 2.0
STALE_S = 15.0
GAP_S = 3.0
"""Without reports for so long (or three intervals) a window begins anew: half a window is not half the demand."""

SMOOTH_S = 30.0
MATTERS = 0.10
FAILING = 0.05

ENOUGH_TO_REACH = 5
ENOUGH_TO_MEASURE = 50
REACHED, LOST = 0.5, 0.1

EXCUSED = 0.05
"""Failures above the other regions' by less than this share, or than half of what those have, cost nothing."""

EXCUSED_FOR_S = 1.5
"""Nor does a second of them: that is how long it takes to tell a lost path from a bad region."""

HOPELESS = 0.30
HOPELESS_AFTER_S = 10.0
"""A region whose failures exceed the others' by this share for so long is down for real traffic, probes or not."""

SLOW = 2.0
CALM = 1.25
"""Times its normal p99: a region above the first is slow, one above the second does not show how far away it is."""

LEAST_STANDING = 0.05
RISE_EVERY_S = 1.0
RISE_AFTER_S = 5.0
"""A standing rises by a step every `RISE_EVERY_S`, and not before it has been steady for `RISE_AFTER_S`, twice as long
after each further fall within `FORGET_AFTER_S`, at most `MAX_HOLD_DOWN_S`."""

LEARN_NORMAL = 0.02


@dataclass(slots=True)
class _Counts:
    issued: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed


class _Window:
    """Load reports of one view, service and region over the last seconds."""

    __slots__ = ("reports",)

    def __init__(self) -> None:
        self.reports: deque[LoadReport] = deque()

    def add(self, report: LoadReport) -> None:
        self.reports.append(report)
        while self.reports[0].at < report.at - WINDOW_S:
            self.reports.popleft()

    def counts(self, now: float, span_s: float) -> _Counts:
        total = _Counts()
        for report in self.reports:
            if report.at > now - span_s:
                total.issued += report.issued
                total.succeeded += report.succeeded
                total.failed += report.failed
        return total


@dataclass(slots=True)
class _Record:
    """A place's standing and what is needed to change it."""

    standing: Standing = FULL_STANDING
    moved_at: float = 0.0
    fell_at: float = float("-inf")
    falls: int = 0
    rising: bool = True
    slower: float = 1.0
    bad_since: float | None = None
    hopeless_since: float | None = None
    normal_p99_ms: dict[str, float] = field(default_factory=dict)


class TrafficBook:
    """All windows. Owned by the controller, through the health book."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, Place], _Window] = {}
        self._by_place: dict[Place, set[str]] = {}
        self._by_service: dict[str, set[Place]] = {}
        self._access: dict[tuple[str, Place], deque[AccessSummary]] = {}
        self._records: dict[Place, _Record] = {}
        self._demand: dict[tuple[str, str], float] = {}
        self._latency: dict[tuple[str, Place], float] = {}
        self._smooth: dict[tuple[str, str], tuple[float, float]] = {}
        self._covered: dict[tuple[str, str], tuple[float, float]] = {}

    def learn(self, report: LoadReport) -> Place:
        """Take in one load report; return the place it is about."""
        place = Place(report.service, report.region)
        window = self._windows.get((report.view, place))
        if window is None:
            window = self._windows[report.view, place] = _Window()
            self._by_place.setdefault(place, set()).add(report.view)
            self._by_service.setdefault(place.service, set()).add(place)
        window.add(report)
        since, last = self._covered.get((place.service, report.view), (report.at, report.at))
        gap = report.at - last > max(GAP_S, 3 * report.interval_s)
        self._covered[place.service, report.view] = (report.at if gap else since, report.at)
        return place

    def learn_access(self, summary: AccessSummary) -> Place:
        """Take in one summary of access logs; return the place it is about."""
        place = Place(summary.service, summary.region)
        kept = self._access.setdefault((summary.view, place), deque())
        kept.append(summary)
        while kept[0].at < summary.at - WINDOW_S:
            kept.popleft()
        return place

    def forget_except(self, places: Iterable[Place]) -> None:
        """Drop what is known of places that are no longer in the policy."""
        kept = set(places)
        self._windows = {key: window for key, window in self._windows.items() if key[1] in kept}
        self._access = {key: summaries for key, summaries in self._access.items() if key[1] in kept}
        self._latency = {key: ms for key, ms in self._latency.items() if key[1] in kept}
        self._records = {place: record for place, record in self._records.items() if place in kept}
        services = {place.service for place in kept}
        self._covered = {key: span for key, span in self._covered.items() if key[0] in services}
        self._by_place = {place: views for place, views in self._by_place.items() if place in kept}
        self._by_service = {service: places & kept for service, places in self._by_service.items()}

    def reach(self, view: str, place: Place, now: float) -> bool | None:
        """Return whether a view's live traffic reaches a place; None if there is too little of it to tell."""
        window = self._windows.get((view, place))
        if window is None:
            return None
        recent = window.counts(now, RECENT_S)
        if recent.ended < ENOUGH_TO_REACH:
            return None
        share = recent.succeeded / recent.ended
        if share >= REACHED:
            return True
        return False if share <= LOST else None

    def views(self, place: Place) -> Iterable[str]:
        """Return the views that have reported on a place."""
        return self._by_place.get(place, ())

    def demand_rps(self, service: str, view: str, now: float) -> float | None:
        """Return a view's measured demand in requests per second; None until there is a full window of reports."""
        windows = [w for p in self._by_service.get(service, ()) if (w := self._windows.get((view, p))) is not None]
        latest = max((w.reports[-1].at for w in windows if w.reports), default=None)
        key = (service, view)
        covered_since, _ = self._covered.get(key, (now, now))
        if latest is None or now - latest > STALE_S or now - covered_since < WINDOW_S:
            return self._demand.get(key)
        counts = [w.counts(now, WINDOW_S) for w in windows]
        succeeded, failed = sum(c.succeeded for c in counts), sum(c.failed for c in counts)
        if failed > FAILING * (succeeded + failed):
            return self._demand.get(key)
        return self._smoothed(key, succeeded / WINDOW_S, now)

    def _smoothed(self, key: tuple[str, str], rate: float, now: float) -> float:
        """Follow a rate slowly; the figure in force moves only when the difference matters."""
        before, at = self._smooth.get(key, (rate, now))
        smooth = before + (rate - before) * min(1.0, (now - at) / SMOOTH_S)
        self._smooth[key] = (smooth, now)
        in_force = self._demand.get(key)
        if in_force is None or abs(smooth - in_force) > MATTERS * max(in_force, 1.0):
            self._demand[key] = smooth
        return self._demand[key]

    def load_rps(self, place: Place, now: float) -> float:
        """Return the rate of attempts that end in a place, in requests per second."""
        return self._ended(place, self.views(place), now).ended / WINDOW_S

    def latency_ms(self, view: str, place: Place, now: float) -> float | None:
        """Return the usual median latency from a view to a place, in ms; None until there were enough access logs.

        Learned as slowly as what is normal, and not from a region that is slow now: that costs it share already, or it
        is hot, and then latency is no distance: moving the load would move the latency with it.
        """
        recent = self._recent_access((view, place), now)
        requests = sum(s.requests for s in recent)
        known = self._latency.get((view, place))
        record = self._records.get(place)
        if requests < ENOUGH_TO_MEASURE or (record and (record.standing.share < 1.0 or record.slower > CALM)):
            return known
        median = sum(s.p50_ms * s.requests for s in recent) / requests
        self._latency[view, place] = median if known is None else known + LEARN_NORMAL * (median - known)
        return self._latency[view, place]

    def standing(self, place: Place, now: float, reached: Collection[str] = ()) -> Standing:
        """Return the part of its share that a place has earned, as of now: down at once, up in steps.

        `reached` are views whose path there is known to work; of others, attempts that all fail say that it is cut.
        """
        record = self._records.setdefault(place, _Record(moved_at=now))
        earned = worse(self._by_failures(place, record, reached, now), self._by_latency(place, record, now))
        before = record.standing
        if not self._ended(place, self.views(place), now).ended:
            record.standing = FULL_STANDING  # nothing is sent there: the ramp limits its return
        elif earned.share < before.share or earned.hopeless:
            if record.rising:
                record.falls = record.falls + 1 if now - record.fell_at < FORGET_AFTER_S else 1
            record.standing, record.moved_at, record.fell_at, record.rising = earned, now, now, False
        elif (
            earned.share > before.share and now - max(record.fell_at + _wait_s(record), record.moved_at) >= RISE_EVERY_S
        ):
            share = round(min(earned.share, before.share + STEP), 4)
            record.standing, record.moved_at = Standing(share, "returning in steps" if share < 1.0 else ""), now
            record.rising = True
        return record.standing

    def _by_failures(self, place: Place, record: _Record, reached: Collection[str], now: float) -> Standing:
        """Judge a place by how many more of its attempts fail than elsewhere."""
        views = [v for v in self.views(place) if v in reached or self.reach(v, place, now) is not False]
        span_s = RECENT_S if self._ended(place, views, now, RECENT_S).ended >= ENOUGH_TO_MEASURE else WINDOW_S
        own = self._ended(place, views, now, span_s)
        if own.ended < ENOUGH_TO_MEASURE:
            record.bad_since = record.hopeless_since = None
            return FULL_STANDING
        elsewhere = self._failing_elsewhere(place, now, span_s)
        share = own.failed / own.ended
        excess = share - elsewhere
        record.hopeless_since = _since(record.hopeless_since, excess >= HOPELESS, now)
        record.bad_since = _since(record.bad_since, excess >= max(EXCUSED, elsewhere / 2), now)
        if record.bad_since is None:
            return FULL_STANDING
        if now - record.bad_since < EXCUSED_FOR_S:
            return record.standing
        reason = f"{share:.0%} of {own.ended:,} live attempts fail, {elsewhere:.0%} elsewhere"
        hopeless = record.hopeless_since is not None and now - record.hopeless_since >= HOPELESS_AFTER_S
        return Standing(_step(max(LEAST_STANDING, 1.0 - excess)), reason, hopeless)

    def _failing_elsewhere(self, place: Place, now: float, span_s: float) -> float:
        """Return the share of attempts at the service that fail in the other regions."""
        others = [
            self._ended(p, self.views(p), now, span_s) for p in self._by_service.get(place.service, ()) if p != place
        ]
        ended, failed = sum(c.ended for c in others), sum(c.failed for c in others)
        return failed / ended if ended >= ENOUGH_TO_MEASURE else 0.0

    def _by_latency(self, place: Place, record: _Record, now: float) -> Standing:
        """Judge a place by how much slower it is than it normally is, and than the others are now."""
        slower, requests = self._slowness(place, record, now, learn=True)
        record.slower = slower
        if not requests or slower <= SLOW:
            return FULL_STANDING
        others = [
            self._slowness(p, self._records[p], now)
            for p in self._by_service.get(place.service, ())
            if p != place and p in self._records
        ]
        answered = sum(count for _, count in others)
        elsewhere = sum(times * count for times, count in others) / answered if answered else 1.0
        excess = slower / max(1.0, elsewhere)
        if excess <= SLOW:
            return FULL_STANDING
        return Standing(_step(max(LEAST_STANDING, 1.0 / excess)), f"p99 is {slower:.1f} times what is normal")

    def _slowness(self, place: Place, record: _Record, now: float, *, learn: bool = False) -> tuple[float, int]:
        """Return how many times slower than normal a place is, each view by its own normal, and by how many requests.

        A view's first measurement becomes its normal: traffic that comes from farther away is not a slow region.
        """
        requests, times = 0, 0.0
        for view in self.views(place):
            recent = self._recent_access((view, place), now)
            count = sum(s.requests for s in recent)
            if count < ENOUGH_TO_MEASURE:
                continue
            p99 = sum(s.p99_ms * s.requests for s in recent) / count
            normal = record.normal_p99_ms.setdefault(view, p99)
            if learn and p99 <= SLOW * normal:
                record.normal_p99_ms[view] = normal + LEARN_NORMAL * (p99 - normal)
            requests += count
            times += count * p99 / normal
        return (times / requests if requests else 1.0), requests

    def _ended(self, place: Place, views: Iterable[str], now: float, span_s: float = WINDOW_S) -> _Counts:
        total = _Counts()
        for view in views:
            counts = self._windows[view, place].counts(now, span_s)
            total.succeeded += counts.succeeded
            total.failed += counts.failed
        return total

    def _recent_access(self, key: tuple[str, Place], now: float) -> list[AccessSummary]:
        return [s for s in self._access.get(key, ()) if s.at > now - WINDOW_S]


def _since(before: float | None, holds: bool, now: float) -> float | None:
    """Return since when something holds without a break; None if it does not."""
    if not holds:
        return None
    return now if before is None else before


def _wait_s(record: _Record) -> float:
    """Return how long a standing waits after a fall before it rises, in seconds: 5, 10, 20 … 300."""
    return min(MAX_HOLD_DOWN_S, RISE_AFTER_S * 2.0 ** min(max(0, record.falls - 1), 16))


def _step(share: float) -> float:
    """Round to a step: each is a push to every Envoy."""
    return round(max(STEP, STEP * round(share / STEP)), 4)
