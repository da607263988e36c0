"""What agents say of a region: its own monitoring, a load balancer, a person's script.

A report counts until its time to live ends; of one reporter only the newest counts. What it can do:

    healthy: false     a vote for "down", from inside the region: one reporter alone degrades it to half of its share,
                       two different ones are believed. What one token or certificate sends is one reporter's word,
                       under whatever names
    the same, seen     is of the link from there alone: one reporter halves that view's share, two different ones cut
    from a view        the link (links.py). Other views are not touched
    utilisation        with measured load, the capacity that the region shows: load ÷ utilisation
    capacity           the capacity, as a number; the lowest of several reports counts

Utilisation below `TELLING` says little about the capacity and is not extrapolated from. A capacity from reports is
never above the policy's: the policy is what the operator is willing to send there.

*Which load.* A report is of the moment it was made, and the load moves because of it: the load of now over the
utilisation of then would find less capacity the more traffic leaves, and empty a region within one time to live. But
load reports lag, and with the load of that very moment a region that has just taken over another's traffic would look
half as large as it is. So it is the highest load that is measured within `CATCH_UP_S` of the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from xds_server.decision.verdicts import FULL_STANDING, Place, Standing
from xds_server.model import AgentReport

TELLING = 0.5
ALONE = 0.5
CATCH_UP_S = 12.0
"""Measured load is a mean over 10 s that is 2 s late (traffic.py)."""

MOST_REPORTERS = 100
"""Per region and service; beyond that the oldest report goes, of the sender that has the most."""

Name = tuple[str, str, str]
"""Who sent a report, as far as that is proven, what the reporter calls itself, and the view it speaks of."""


class Claim(NamedTuple):
    """A capacity, and in words who says so; nobody, where it is the policy's."""

    rps: float
    why: str


class AgentBook:
    """The newest report of every reporter, on each view it sees a region from. Owned by the health book."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], dict[Name, AgentReport]] = {}
        self._loads: dict[Place, dict[Name, tuple[float, float]]] = {}
        """When a report came that tells a utilisation, and the load that belongs to it."""

    def learn(self, report: AgentReport) -> None:
        """Take in one report."""
        reports = self._reports.setdefault((report.service, report.region), {})
        name = _name(report)
        reports.pop(name, None)
        reports[name] = report
        if len(reports) > MOST_REPORTERS:
            ((most, _),) = Counter(sender for sender, _, _ in reports).most_common(1)
            del reports[next(name for name in reports if name[0] == most)]

    @property
    def silent(self) -> bool:
        """Return whether nobody has ever reported: then there is nothing to look for, which is the usual case."""
        return not self._reports

    def standing(self, place: Place, now: float) -> Standing:
        """Return what agents leave a place of its share, for all views."""
        bad = [report for report in self._valid(place, now) if report.healthy is False and not report.view]
        if not bad:
            return FULL_STANDING
        words = "; ".join(f"{r.said_by}: {r.detail or 'not healthy'}" for r in bad[:3])
        return Standing(ALONE, words, hopeless=_voices(bad) >= 2)

    def links(self, place: Place, now: float) -> tuple[frozenset[str], frozenset[str]]:
        """Return the views that agents say cannot reach a place: those that are believed, and those of one word."""
        bad = [report for report in self._valid(place, now) if report.healthy is False and report.view]
        if not bad:
            return frozenset(), frozenset()
        voices = {view: _voices([r for r in bad if r.view == view]) for view in {r.view for r in bad}}
        cut = frozenset(view for view, heard in voices.items() if heard >= 2)
        return cut, frozenset(voices) - cut

    def follow_load(self, place: Place, load_rps: float, now: float) -> None:
        """Note the load of a place, for the reports that it belongs to."""
        telling = [r for r in self._valid(place, now) if r.utilisation is not None and r.utilisation >= TELLING]
        before = self._loads.pop(place, {})
        noted = {}
        for report in telling:
            at, load = before.get(_name(report), (report.at, 0.0))
            load = load if at == report.at else 0.0
            noted[_name(report)] = report.at, max(load, load_rps) if now - report.at <= CATCH_UP_S else load
        if noted:
            self._loads[place] = noted

    def capacity(self, place: Place, stated_rps: float, now: float) -> Claim | None:
        """Return the capacity that agents report, at most what the policy states; None if they say nothing of it."""
        loads = self._loads.get(place, {})
        found = []
        for report in self._valid(place, now):
            if report.capacity_rps is not None:
                found.append(Claim(report.capacity_rps, f"{report.said_by} says so"))
            at, load = loads.get(_name(report), (0.0, 0.0))
            if report.utilisation and at == report.at and load > 0:
                why = f"{report.said_by} says {report.utilisation:.0%} used, at {load:,.0f} req/s"
                found.append(Claim(load / report.utilisation, why))
        lowest = min(found, default=None)
        return min(lowest, Claim(stated_rps, "")) if lowest is not None else None

    def places(self, regions: Iterable[Place]) -> frozenset[Place]:
        """Return those of the places that anybody has reported on."""
        return frozenset(p for p in regions if p in self._reports or ("", p.region) in self._reports)

    def _valid(self, place: Place, now: float) -> list[AgentReport]:
        own = self._reports.get(place, {})
        common = self._reports.get(("", place.region), {})
        if not own and not common:
            return []
        return [report for report in {**common, **own}.values() if now - report.at <= report.ttl_s]


def _name(report: AgentReport) -> Name:
    return report.sender, report.reporter, report.view


def _voices(reports: Iterable[AgentReport]) -> int:
    """Return how many different reporters there are, as far as that is proven."""
    return len({report.sender or report.reporter for report in reports})
