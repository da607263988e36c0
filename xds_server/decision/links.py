"""Cut links: the views that cannot reach a place although others can, and how they return to it.

A link that was cut is used again `CUT_DWELL_S` after it works, twice as long after each further cut within
`FORGET_AFTER_S`, and then not all at once: the view's share there returns in steps over the service's `ramp_up`, like a
region's. If it is cut again meanwhile, it is cut. A place that is down for everybody ends its cut links without a word:
that is no news of a link, and the region's own ramp limits its return.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from xds_server.decision.health_words import link_event
from xds_server.decision.verdicts import FORGET_AFTER_S, MAX_HOLD_DOWN_S, STEP, Place, steps
from xds_server.model import Event

CUT_DWELL_S = 10.0


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was cut. `ramp` is what has returned of its share: 0 while it is cut, 1 in memory only."""

    cut_at: float
    lost_at: float
    falls: int = 1
    ramp: float = 0.0
    moved_at: float = 0.0

    @property
    def dwell_s(self) -> float:
        """Return how long it must work before it is used again, in seconds: 10, 20, 40 … 300."""
        return min(MAX_HOLD_DOWN_S, CUT_DWELL_S * 2.0 ** min(self.falls - 1, 16))


class LinkBook:
    """All links that are cut or were. Owned by the health book."""

    def __init__(self) -> None:
        self._links: dict[Place, dict[str, Link]] = {}

    def forget_except(self, places: frozenset[Place]) -> None:
        """Drop what is known of places that are no longer in the policy."""
        self._links = {place: links for place, links in self._links.items() if place in places}

    def places(self) -> Iterable[Place]:
        """Return the places that have links which time alone may change."""
        return self._links.keys()

    def cut(self, place: Place) -> frozenset[str]:
        """Return the views that do not use their link to a place."""
        return frozenset(view for view, link in self._links.get(place, {}).items() if link.ramp == 0.0)

    def returning(self, place: Place) -> Mapping[str, float]:
        """Return the views whose link returns, with what has returned of their share."""
        return {view: link.ramp for view, link in self._links.get(place, {}).items() if 0.0 < link.ramp < 1.0}

    def follow(self, place: Place, lost: frozenset[str], ramp_up_s: float, now: float) -> list[Event]:
        """Bring the links of a place up to date, given the views that cannot reach it; return what is news."""
        before = self._links.get(place, {})
        after = {view: _cut(before.get(view), now) for view in lost}
        after |= {
            view: moved
            for view, link in before.items()
            if view not in lost and (moved := _mend(link, ramp_up_s, now)) is not None
        }
        self._keep(place, after)
        news = [(view, "cut") for view in lost if view not in before or before[view].ramp > 0.0]
        news += [
            (view, "restored") for view, link in before.items() if link.ramp == 0.0 and _ramp(after.get(view)) > 0.0
        ]
        return [
            link_event(place, view, what, "warning" if what == "cut" else "info", now) for view, what in sorted(news)
        ]

    def end(self, place: Place, now: float) -> None:
        """Take a place's links as whole: it is down for everybody, or back from that."""
        kept = {view: replace(link, ramp=1.0) for view, link in self._links.get(place, {}).items()}
        self._keep(place, {view: link for view, link in kept.items() if now - link.cut_at < FORGET_AFTER_S})

    def _keep(self, place: Place, links: dict[str, Link]) -> None:
        if links:
            self._links[place] = dict(sorted(links.items()))
        else:
            self._links.pop(place, None)


def _ramp(link: Link | None) -> float:
    return link.ramp if link is not None else 1.0


def _cut(before: Link | None, now: float) -> Link:
    """Return a link that is lost now."""
    if before is not None and before.ramp == 0.0:
        return replace(before, lost_at=now)
    again = before is not None and now - before.cut_at < FORGET_AFTER_S
    return Link(now, now, before.falls + 1 if before is not None and again else 1)


def _mend(link: Link, ramp_up_s: float, now: float) -> Link | None:
    """Return a link that works now; None when it need not be remembered any more."""
    if link.ramp == 0.0:
        if now - link.lost_at < link.dwell_s:
            return link
        return replace(link, ramp=STEP if ramp_up_s > 0 else 1.0, moved_at=now)
    if link.ramp < 1.0:
        made = steps(now - link.moved_at, ramp_up_s)
        return replace(link, ramp=min(1.0, round(link.ramp + made * STEP, 4)), moved_at=now) if made else link
    return link if now - link.cut_at < FORGET_AFTER_S else None
