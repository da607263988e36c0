"""What agents say of a region: its own monitoring, a load balancer, a person's script.

A report counts until its time to live ends; of one reporter only the newest counts. What it can do:

    healthy: false     a vote for "down", from inside the region: one reporter alone degrades it to half of its share,
                       two different ones are believed. What one token or certificate sends is one reporter's word,
                       under whatever names
    utilisation        with measured load, the capacity that the region shows: load ÷ utilisation
    capacity           the capacity, as a number; the lowest of several reports counts

Utilisation below `TELLING` says little about the capacity and is not extrapolated from. A capacity from reports is
never above the policy's: the policy is what the operator is willing to send there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from xds_server.decision.verdicts import FULL_STANDING, Place, Standing
from xds_server.model import AgentReport

TELLING = 0.5
ALONE = 0.5
MOST_REPORTERS = 100
"""Per region and service; beyond that the oldest report goes, of the sender that has the most."""

Name = tuple[str, str]
"""Who sent a report, as far as that is proven, and what the reporter calls itself."""


class AgentBook:
    """The newest report of every reporter. Owned by the health book."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], dict[Name, AgentReport]] = {}

    def learn(self, report: AgentReport) -> None:
        """Take in one report."""
        reports = self._reports.setdefault((report.service, report.region), {})
        name = report.sender, report.reporter
        reports.pop(name, None)
        reports[name] = report
        if len(reports) > MOST_REPORTERS:
            ((most, _),) = Counter(sender for sender, _ in reports).most_common(1)
            del reports[next(name for name in reports if name[0] == most)]

    def standing(self, place: Place, now: float) -> Standing:
        """Return what agents leave a place of its share."""
        bad = [report for report in self._valid(place, now) if report.healthy is False]
        if not bad:
            return FULL_STANDING
        words = "; ".join(f"{r.said_by}: {r.detail or 'not healthy'}" for r in bad[:3])
        return Standing(ALONE, words, hopeless=len({r.sender or r.reporter for r in bad}) >= 2)

    def capacity_rps(self, place: Place, stated_rps: float, load_rps: float, now: float) -> float | None:
        """Return the capacity that agents report, at most what the policy states; None if they say nothing of it."""
        found = [report.capacity_rps for report in self._valid(place, now) if report.capacity_rps is not None]
        found += [
            load_rps / report.utilisation
            for report in self._valid(place, now)
            if report.utilisation is not None and report.utilisation >= TELLING and load_rps > 0
        ]
        return min(stated_rps, *found) if found else None

    def places(self, regions: Iterable[Place]) -> frozenset[Place]:
        """Return those of the places that anybody has reported on."""
        return frozenset(p for p in regions if p in self._reports or ("", p.region) in self._reports)

    def _valid(self, place: Place, now: float) -> list[AgentReport]:
        own = self._reports.get(place, {})
        common = self._reports.get(("", place.region), {})
        if not own and not common:
            return []
        return [report for report in {**common, **own}.values() if now - report.at <= report.ttl_s]
