"""What live traffic says: demand, whether a path works, and how much of its share a region has earned.

Load reports count attempts at the region that served them, every second (windows.py):

    demand     what succeeded, per view: a request that was retried succeeded once, so retries are not demand. While
               more than `FAILING` of a service's attempts fail it is held: what fails is neither demand nor its
               absence. What becomes of it is in demand.py.
    word       whether a path works, for the vote (votes.py).
    standing   0..1, what part of its share a region has earned. Failures count against the other regions' failures of
               the same service: what fails everywhere is the service, not the region. Latency (latency.py) counts
               against the region's own past, and the others': what is slow everywhere is too much load, and moving it
               between hot regions helps nobody. Down at once, up in steps, and later after each fall: a standing that
               depends on the load it lets in would otherwise swing for ever.

Chance costs nothing (confidence.py). Counted is by how much a region's failures *certainly* exceed the others': the
least share that its count goes with, less the most that theirs go with. Of ten attempts two may fail without a word; of
a thousand, two hundred cost a fifth of the share. So a small region is judged later than a large one, and never on
noise. `EXCUSED` comes on top: a difference that is certain and does not matter moves nothing either.

Nor is one certificate enough, whatever its holder counts: a region is judged by the rest when the one that says the
worst of it is left out. It takes two, of one view or of two. Without certificates nobody can be told from another, a
lie takes a second stream, and there is no such rule: it would only hold up a fleet of one Envoy in each region.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from xds_server.decision.confidence import at_least, at_most
from xds_server.decision.demand import DemandBook
from xds_server.decision.latency import SLOW, LatencyBook
from xds_server.decision.verdicts import (
    FORGET_AFTER_S,
    FULL_STANDING,
    MAX_HOLD_DOWN_S,
    STEP,
    Place,
    Standing,
    worse,
)
from xds_server.decision.votes import Word
from xds_server.decision.windows import WINDOW_S, Counts, LoadWindow
from xds_server.model import AccessSummary, LoadReport

STALE_S = 15.0
GAP_S = 3.0
"""Without reports for so long (or three intervals) a window begins anew: half a window is not half the demand."""

FAILING = 0.05

ENOUGH_TO_JUDGE = 20
ENOUGH_TO_COMPARE = 100
"""Attempts elsewhere; fewer say nothing of how the service does."""

RECENTLY = 400
"""Attempts in the last two seconds that are enough to judge a region by these alone; with fewer, ten seconds count."""

EXCUSED = 0.05
"""Failures above the other regions' by less than this share, or than half of what those have, cost nothing."""

EXCUSED_FOR_S = 1.5
"""Nor does a second of them: that is how long it takes to tell a lost path from a bad region."""

HOPELESS = 0.30
HOPELESS_AFTER_S = 10.0
"""A region whose failures exceed the others' by this share over so long is down for real traffic, probes or not."""

LEAST_STANDING = 0.05
RISE_EVERY_S = 1.0
RISE_AFTER_S = 5.0
"""A standing rises by a step every `RISE_EVERY_S`, and not before it has been steady for `RISE_AFTER_S`, twice as long
after each further fall within `FORGET_AFTER_S`, at most `MAX_HOLD_DOWN_S`."""


@dataclass(slots=True)
class _Record:
    """A place's standing and what is needed to change it."""

    standing: Standing = FULL_STANDING
    moved_at: float = 0.0
    fell_at: float = float("-inf")
    falls: int = 0
    rising: bool = True
    fell_for: str = ""
    bad_since: float | None = None


class TrafficBook:
    """All windows. Owned by the controller, through the health book."""

    def __init__(self) -> None:
        self.latency = LatencyBook()
        self.demand = DemandBook()
        self._windows: dict[Place, dict[str, LoadWindow]] = {}
        self._by_service: dict[str, set[Place]] = {}
        self._records: dict[Place, _Record] = {}
        self._covered: dict[tuple[str, str], tuple[float, float, float]] = {}

    def learn(self, report: LoadReport) -> Place:
        """Take in one load report; return the place it is about."""
        place = Place(report.service, report.region)
        window = self._windows.setdefault(place, {}).get(report.view)
        if window is None:
            window = self._windows[place][report.view] = LoadWindow()
            self._by_service.setdefault(place.service, set()).add(place)
        window.add(report)
        self._cover(report)
        return place

    def _cover(self, report: LoadReport) -> None:
        """Note since when a view has reported on a service without a gap.

        A gap is one for the reports before it: a pause of this process comes back as one report over all of it.
        """
        key = report.service, report.view
        since, last, interval_s = self._covered.get(key, (report.at, float("-inf"), report.interval_s))
        if report.at > last:
            gap = report.at - last > max(GAP_S, 3 * interval_s)
            self._covered[key] = (report.at if gap else since, report.at, report.interval_s)

    def learn_access(self, summary: AccessSummary) -> Place:
        """Take in one summary of access logs; return the place it is about."""
        return self.latency.learn(summary)

    def forget_except(self, places: Iterable[Place]) -> None:
        """Drop what is known of places that are no longer in the policy."""
        kept = set(places)
        services = {place.service for place in kept}
        self.latency.forget_except(kept)
        self.demand.forget_except(services)
        self._windows = {place: windows for place, windows in self._windows.items() if place in kept}
        self._records = {place: record for place, record in self._records.items() if place in kept}
        self._covered = {key: span for key, span in self._covered.items() if key[0] in services}
        self._by_service = {service: places & kept for service, places in self._by_service.items()}

    def word(self, view: str, place: Place, since: float, now: float) -> Word | None:
        """Return what a view's traffic says of a place, given that something seems to have failed at `since`."""
        window = self._windows.get(place, {}).get(view)
        return window.word(since, now) if window is not None else None

    def failing_since(self, view: str, place: Place) -> float:
        """Return when the newest report of a view that shows a place failing came; 0 if none does."""
        window = self._windows.get(place, {}).get(view)
        return window.failing_since() if window is not None else 0.0

    def lag_s(self, place: Place) -> float:
        """Return how old what the newest reports say may be, in seconds."""
        return max((window.lag_s for window in self._windows.get(place, {}).values()), default=0.0)

    def views(self, place: Place) -> Iterable[str]:
        """Return the views that have reported on a place."""
        return self._windows.get(place, {})

    def demand_rps(self, service: str, view: str, stated: float, now: float) -> float | None:
        """Return a view's measured demand in requests per second; None if it is not measured.

        Also where the figure is still `stated`: a policy on trial may state another, and follows the same measurements.
        """
        ended = self._sent(service, view, now)
        if ended is None or ended.failed > FAILING * ended.ended:
            self.demand.hold(service, view, now)
        elif ended.ended:
            self.demand.follow(service, view, ended.succeeded / WINDOW_S, stated, now)
        else:
            self.demand.fade(service, view, stated, now)
        return self.demand.in_force(service, view)

    def _sent(self, service: str, view: str, now: float) -> Counts | None:
        """Return a view's attempts in all regions; None without fresh reports over all of the window."""
        windows = [w for p in self._by_service.get(service, ()) if (w := self._windows[p].get(view)) is not None]
        latest = max((w.reports[-1].at for w in windows if w.reports), default=None)
        covered_since, *_ = self._covered.get((service, view), (now,))
        if latest is None or now - latest > STALE_S or now - covered_since < WINDOW_S:
            return None
        total = Counts()
        for window in windows:
            counts = window.counts(now)
            total.succeeded += counts.succeeded
            total.failed += counts.failed
        return total

    def load_rps(self, place: Place, now: float) -> float:
        """Return the rate of attempts that end in a place, in requests per second."""
        return self._ended(place, self.views(place), now).ended / WINDOW_S

    def standing(self, place: Place, now: float, lost: Collection[str] = ()) -> Standing:
        """Return the part of its share that a place has earned, as of now: down at once, up in steps.

        `lost` are views that cannot reach it: what they fail there says nothing of the region.
        """
        record = self._records.setdefault(place, _Record(moved_at=now))
        earned = worse(self._by_failures(place, record, lost, now), self._by_latency(place, now))
        before = record.standing
        if not self._ended(place, self.views(place), now).ended:
            record.standing = FULL_STANDING  # nothing is sent there: the ramp limits its return
        elif earned.share < before.share or earned.hopeless:
            if record.rising:
                record.falls = record.falls + 1 if now - record.fell_at < FORGET_AFTER_S else 1
            record.standing, record.moved_at, record.fell_at, record.rising = earned, now, now, False
            record.fell_for = earned.reason
        elif (
            earned.share > before.share and now - max(record.fell_at + _wait_s(record), record.moved_at) >= RISE_EVERY_S
        ):
            share = round(min(earned.share, before.share + STEP), 4)
            returning = earned.share == 1.0 and share < 1.0
            record.fell_for = record.fell_for if returning else earned.reason
            why = f"{record.fell_for}; no longer seen, returns in steps" if returning else earned.reason
            record.standing, record.moved_at = Standing(share, why if share < 1.0 else "", returning=returning), now
            record.rising = True
        elif not record.rising and before.share < 1.0:
            over = f"; no longer seen, returns in steps from {_wait_s(record):.0f} s after its last fall"
            record.standing = replace(before, reason=record.fell_for + (over if earned.share == 1.0 else ""))
        return record.standing

    def _by_failures(self, place: Place, record: _Record, lost: Collection[str], now: float) -> Standing:
        """Judge a place by how many more of its attempts certainly fail than elsewhere."""
        views = [view for view in self.views(place) if view not in lost]
        recently = self._ended(place, views, now, recent=True).ended >= RECENTLY
        own = self._without_the_worst(place, views, now, recent=recently)
        if own.ended < ENOUGH_TO_JUDGE:
            record.bad_since = None
            return FULL_STANDING
        if at_least(own.failed, own.ended) < EXCUSED:  # whatever the others do
            record.bad_since = None
            return FULL_STANDING
        share, elsewhere = own.failed / own.ended, self._elsewhere(place, now, recent=recently)
        excess = _excess(own, elsewhere)
        typical = elsewhere.failed / elsewhere.ended if elsewhere.ended else 0.0
        record.bad_since = _since(record.bad_since, excess >= max(EXCUSED, typical / 2), now)
        if record.bad_since is None:
            return FULL_STANDING
        if now - record.bad_since < EXCUSED_FOR_S:
            return record.standing
        reason = f"{share:.0%} of {own.ended:,} live attempts fail, {typical:.0%} elsewhere"
        return Standing(
            _step(max(LEAST_STANDING, 1.0 - excess)), reason, self._hopeless(place, record.bad_since, views, now)
        )

    def _hopeless(self, place: Place, bad_since: float, views: Collection[str], now: float) -> bool:
        """Return whether a place has failed that much for so long, in its last two seconds as in all of the window."""
        if now - bad_since < HOPELESS_AFTER_S:
            return False
        recent = self._without_the_worst(place, views, now, recent=True)
        still = recent.failed >= HOPELESS * recent.ended
        return (
            still
            and _excess(self._without_the_worst(place, views, now, recent=False), self._elsewhere(place, now))
            >= HOPELESS
        )

    def _elsewhere(self, place: Place, now: float, *, recent: bool = False) -> Counts:
        """Return the attempts at the service in the other regions."""
        total = Counts()
        for other in self._by_service.get(place.service, ()):
            if other != place:
                counts = self._ended(other, self.views(other), now, recent=recent)
                total.succeeded += counts.succeeded
                total.failed += counts.failed
        return total

    def _by_latency(self, place: Place, now: float) -> Standing:
        """Judge a place by how much slower it certainly is than it normally is, and than the others are now."""
        slow = self.latency.slowness(place, now)
        if slow.times <= SLOW:
            return FULL_STANDING
        others = [self.latency.slowness(p, now) for p in sorted(self._by_service.get(place.service, ())) if p != place]
        samples = sum(other.samples for other in others)
        elsewhere = sum(other.looks * other.samples for other in others) / samples if samples else 1.0
        excess = slow.times / max(1.0, elsewhere)
        if excess <= SLOW:
            return FULL_STANDING
        return Standing(_step(max(LEAST_STANDING, 1.0 / excess)), f"p99 is {slow.times:.1f} times what is normal")

    def _without_the_worst(self, place: Place, views: Collection[str], now: float, *, recent: bool) -> Counts:
        """Return the attempts without those of the one Envoy whose absence makes the place look best."""
        everybody = self._ended(place, views, now, recent=recent)
        without = [everybody]
        for view in views:
            counts = self._ended(place, [view], now, recent=recent)
            if counts.lead_failed:
                good, bad = counts.lead_succeeded, counts.lead_failed
                without.append(Counts(0, everybody.succeeded - good, everybody.failed - bad))
        return min(without, key=lambda c: at_least(c.failed, c.ended) if c.ended >= ENOUGH_TO_JUDGE else 0.0)

    def _ended(self, place: Place, views: Iterable[str], now: float, *, recent: bool = False) -> Counts:
        total = Counts()
        windows = self._windows.get(place, {})
        for view in views:
            counts = windows[view].recent(now) if recent else windows[view].counts(now)
            total.succeeded += counts.succeeded
            total.failed += counts.failed
            total.lead_succeeded += counts.lead_succeeded
            total.lead_failed += counts.lead_failed
        return total


def _excess(own: Counts, elsewhere: Counts) -> float:
    """Return by how much the share of failures certainly exceeds that of the others (0: perhaps not at all).

    Where nobody else serves, nothing is known of the others, and all of it counts: how they do shows once they do.
    """
    most = at_most(elsewhere.failed, elsewhere.ended) if elsewhere.ended >= ENOUGH_TO_COMPARE else 0.0
    return at_least(own.failed, own.ended) - most


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
