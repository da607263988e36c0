"""Load reports of one path over the last seconds: sums, and what the newest of them say of the path.

Sums are kept, not counted anew at each look: a large fleet asks for them for thousands of paths every second.

What a report says is old when it comes. Envoy adds up for an interval, and the control plane for another one before it
hands the sum on, so a success in a report of time t happened after t − 2 intervals. A path that was fine in a report is
*proven* to work at a moment only by a report that began after it (`Word`, votes.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from xds_server.decision.votes import Word
from xds_server.model import LoadReport

WINDOW_S = 10.0
RECENT_S = 2.0

ENOUGH_TO_REACH = 5
REACHED, LOST = 0.5, 0.1
"""A path works if at least the first share of its recent attempts succeeds, and is lost if at most the second does."""

AGES_BY = 2.0
"""A report is of the time since so many intervals ago."""


@dataclass(slots=True)
class Counts:
    """Attempts, and how they ended; and what of that one Envoy says that says the worst (LoadReport)."""

    issued: int = 0
    succeeded: int = 0
    failed: int = 0
    lead_succeeded: int = 0
    lead_failed: int = 0

    @property
    def ended(self) -> int:
        """Return how many ended."""
        return self.succeeded + self.failed

    def add(self, report: LoadReport, sign: int = 1) -> None:
        """Add a report, or take it away."""
        self.issued += sign * report.issued
        self.succeeded += sign * report.succeeded
        self.failed += sign * report.failed
        self.lead_succeeded += sign * report.lead_succeeded
        self.lead_failed += sign * report.lead_failed


class LoadWindow:
    """The reports of one view, service and region. Ask it in the order of time."""

    __slots__ = ("reports", "sums")

    def __init__(self) -> None:
        self.reports: deque[LoadReport] = deque()
        self.sums = Counts()

    def add(self, report: LoadReport) -> None:
        """Take in the newest report."""
        self.reports.append(report)
        self.sums.add(report)
        self._forget(report.at)

    def counts(self, now: float) -> Counts:
        """Return the sums over `WINDOW_S`."""
        self._forget(now)
        return self.sums

    def recent(self, now: float, span_s: float = RECENT_S) -> Counts:
        """Return the sums over the last `span_s`, or over one interval where reports are farther apart."""
        total = Counts()
        if self.reports:
            span_s = max(span_s, self.reports[-1].interval_s + 1.0)
        for report in reversed(self.reports):
            if report.at <= now - span_s:
                break
            total.add(report)
        return total

    def word(self, since: float, now: float) -> Word | None:
        """Return what the traffic says of the path, given that something seems to have failed at `since`.

        None: too little of it to say anything. Failures or a sudden silence in the newest report are doubt, until there
        are enough of them.
        """
        recent = self.recent(now)
        if recent.ended < ENOUGH_TO_REACH:
            return None
        share = recent.succeeded / recent.ended
        if share <= LOST:
            return Word.DOWN
        newest = self.reports[-1]
        if newest.succeeded < REACHED * max(1, newest.succeeded + newest.failed):
            return Word.DOUBT
        if share < REACHED:
            return Word.DOUBT
        return Word.UP if newest.at - AGES_BY * newest.interval_s >= since else Word.STALE

    def failing_since(self) -> float:
        """Return when the newest reports began to show more failures than successes, or silence; 0 if they do not."""
        began = 0.0
        for report in reversed(self.reports):
            if report.succeeded >= REACHED * max(1, report.succeeded + report.failed):
                break
            began = report.at
        return began

    @property
    def lag_s(self) -> float:
        """Return how old what the newest report says may be, in seconds."""
        return AGES_BY * self.reports[-1].interval_s if self.reports else 0.0

    def _forget(self, now: float) -> None:
        while self.reports and self.reports[0].at <= now - WINDOW_S:
            self.sums.add(self.reports.popleft(), -1)
