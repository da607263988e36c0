"""Latency as access logs tell it: how far away a region is, and whether it is slower than it used to be.

Of each path (view, service, region) two histograms are kept: the last `WINDOW_S` seconds, and what is *normal*, which
forgets half of itself in `NORMAL_HALF_S`. A second of logs becomes part of what is normal when it leaves the window,
and not if the place was hot while it was in there: otherwise a failing region would teach us that failing is normal
before anybody could say that it is not. What stays slow for `RESIGNED_S` is learned anew: it is what the region is now.

    slow         p99 is `SLOW` times what is normal, and `SLOW_MS` more. Chance does not count (confidence.py): the
                 least that p99 is now is held against the most that the normal one is. Nor does a pause of a moment: it
                 must be so in the first `PART_S` of the window as in the last. With fewer than about 900 samples there
                 is no normal p99, and nothing is called slow.
    how slow     the ratio of those two, at the views that send there, by their samples; without the one client that
                 makes it look worst: one is no proof (traffic.py)
    distance     the median of what is normal, once there are `ENOUGH_FOR_DISTANCE` samples. A slow or hot region does
                 not look farther away: moving its load would move the latency with it.

Rejected: averaging the p99 of each second, which with five samples a second is the mean of maxima; and learning at
every look, which makes what is learned depend on how often somebody looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from xds_server.decision.confidence import quantile_at_least, quantile_at_most
from xds_server.decision.verdicts import Place
from xds_server.histogram import quantile
from xds_server.model import AccessSummary

LONG_AGO = float("-inf")
WINDOW_S = 10.0
PART_S = 4.0
"""The first and the last of the window's seconds are looked at; a pause of the two between them fits into neither."""

NORMAL_HALF_S = 1800.0
RESIGNED_S = 3600.0

SLOW = 2.0
SLOW_MS = 20.0
CALM = 1.25
"""A place whose p99 is certainly this many times slower than normal teaches nothing of what is normal."""

ENOUGH = 20
"""Samples in each part of the window; with fewer a path has no say."""

ENOUGH_FOR_DISTANCE = 100
NEGLIGIBLE = 0.01

Histogram = dict[int, float]


@dataclass(slots=True)
class _Path:
    """What was logged of one path: the window, and what is normal."""

    recent: deque[AccessSummary] = field(default_factory=deque)
    normal: Histogram = field(default_factory=dict)
    learned_at: float = 0.0
    p99_ms: float | None = None
    median_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Slowness:
    """How many times slower than normal a place certainly is, by how many samples; 1: it is not, or nobody knows.

    `looks` is the same without the certainty.
    """

    times: float = 1.0
    looks: float = 1.0
    samples: int = 0


NOT_SLOW = Slowness()


class LatencyBook:
    """The latencies of all paths. Owned by the traffic book."""

    def __init__(self) -> None:
        self._paths: dict[Place, dict[str, _Path]] = {}
        self._slow: dict[Place, Slowness] = {}
        self._hot_since: dict[Place, float] = {}
        self._hot_at: dict[Place, float] = {}

    def learn(self, summary: AccessSummary) -> Place:
        """Take in one summary; return the place it is about."""
        place = Place(summary.service, summary.region)
        path = self._paths.setdefault(place, {}).setdefault(summary.view, _Path(learned_at=summary.at))
        path.recent.append(summary)
        self._note_heat(place, summary.at)
        while path.recent[0].at < summary.at - WINDOW_S:
            older = path.recent.popleft()
            if older.at > self._hot_at.get(place, LONG_AGO):
                _accept(path, older)
        self._slow[place] = self._judge(place, summary.at)
        return place

    def _note_heat(self, place: Place, now: float) -> None:
        """Note when a place was last hotter than normal; what is hot for `RESIGNED_S` is normal and learned anew."""
        if self._slow.get(place, NOT_SLOW).times <= CALM:
            self._hot_since.pop(place, None)
            return
        if now - self._hot_since.setdefault(place, now) < RESIGNED_S:
            self._hot_at[place] = now
            return
        del self._hot_since[place], self._hot_at[place]
        for path in self._paths[place].values():
            path.normal, path.p99_ms = {}, None

    def forget_except(self, places: set[Place]) -> None:
        """Drop what is known of places that are no longer in the policy."""
        self._paths = {place: paths for place, paths in self._paths.items() if place in places}
        self._slow = {place: slow for place, slow in self._slow.items() if place in places}
        self._hot_since = {place: at for place, at in self._hot_since.items() if place in places}
        self._hot_at = {place: at for place, at in self._hot_at.items() if place in places}

    def slowness(self, place: Place, now: float) -> Slowness:
        """Return how slow a place is, as of the last logs from there; not slow once they are too old."""
        paths = self._paths.get(place, {}).values()
        latest = max((path.recent[-1].at for path in paths), default=LONG_AGO)
        return self._slow.get(place, NOT_SLOW) if now - latest <= WINDOW_S else NOT_SLOW

    def distance_ms(self, view: str, place: Place) -> float | None:
        """Return the usual median latency from a view to a place, in ms; None until there are enough samples."""
        path = self._paths.get(place, {}).get(view)
        return path.median_ms if path is not None else None

    def _judge(self, place: Place, now: float) -> Slowness:
        paths = [path for path in self._paths[place].values() if path.p99_ms is not None]
        seen = [_path_slowness(path, now) for path in paths]
        everybody = _mean(seen)
        if everybody.times <= 1.0:
            return everybody
        without = [
            _mean([*seen[:n], _path_slowness(path, now, without_lead=True), *seen[n + 1 :]])
            for n, path in enumerate(paths)
            if any(summary.lead_latencies for summary in path.recent)
        ]
        return min([everybody, *without], key=lambda slow: slow.times)


def _path_slowness(path: _Path, now: float, *, without_lead: bool = False) -> Slowness:
    """Return how slow one path certainly is; by no samples if there are too few."""
    parts = _parts(path, now, without_lead=without_lead)
    if path.p99_ms is None or min(sum(part.values()) for part in parts) < ENOUGH:
        return NOT_SLOW
    least_ms = min(quantile_at_least(part, 0.99) for part in parts)
    samples = sum(int(sum(part.values())) for part in parts)
    return Slowness(_ratio(least_ms, path.p99_ms), _ratio(quantile(_merged(parts), 0.99), path.p99_ms), samples)


def _mean(seen: Iterable[Slowness]) -> Slowness:
    """Return the mean of several paths, by their samples."""
    seen = tuple(seen)
    samples = sum(slow.samples for slow in seen)
    if not samples:
        return NOT_SLOW
    times = sum(slow.samples * slow.times for slow in seen)
    looks = sum(slow.samples * slow.looks for slow in seen)
    return Slowness(times / samples, looks / samples, samples)


def _ratio(ms: float, normal_ms: float) -> float:
    """Return how many times the normal one a latency is; a difference below `SLOW_MS` is none."""
    return max(1.0, ms / normal_ms) if ms - normal_ms >= SLOW_MS else 1.0


def _parts(path: _Path, now: float, *, without_lead: bool = False) -> tuple[Histogram, Histogram]:
    """Return the oldest and the newest part of the window."""
    older: Histogram = {}
    younger: Histogram = {}
    for summary in path.recent:
        age_s = now - summary.at
        if age_s < WINDOW_S and not PART_S <= age_s < WINDOW_S - PART_S:
            half = younger if age_s < PART_S else older
            for bucket, count in summary.latencies:
                half[bucket] = half.get(bucket, 0) + count
            for bucket, count in summary.lead_latencies if without_lead else ():
                half[bucket] -= count
    return older, younger


def _merged(parts: tuple[Histogram, Histogram]) -> dict[int, int]:
    older, younger = parts
    return {bucket: int(older.get(bucket, 0) + younger.get(bucket, 0)) for bucket in older | younger}


def _accept(path: _Path, summary: AccessSummary) -> None:
    """Make a second of logs part of what is normal."""
    kept = 0.5 ** (max(0.0, summary.at - path.learned_at) / NORMAL_HALF_S)
    path.learned_at = max(path.learned_at, summary.at)
    normal = {bucket: count * kept for bucket, count in path.normal.items() if count * kept >= NEGLIGIBLE}
    for bucket, count in summary.latencies:
        normal[bucket] = normal.get(bucket, 0.0) + count
    path.normal = normal
    path.p99_ms = quantile_at_most(normal, 0.99)
    if sum(normal.values()) >= ENOUGH_FOR_DISTANCE:
        path.median_ms = quantile(normal, 0.5)
