"""Cut links: the views that cannot reach a place although others can, and how they return to it.

A link that was cut is used again when it has worked for `CUT_DWELL_S`, twice as long after each further cut within
`FORGET_AFTER_S`, and then not all at once: the view's share there returns in steps over the service's `ramp_up`, like a
region's. If it is cut again meanwhile, it is cut. A place that is down for everybody ends its cut links without a word:
that is no news of a link, and the region's own ramp limits its return.

Who says that it works? A view whose Envoys probe the place (HDS): then nothing but its own word counts, and while it
has none the link stays as it is, cut or returning, also over a restart of this process: no evidence moves nothing.
Only after `SILENT_S` without a word it is tried again, because Envoys whose probes were switched off for good would
else stay away for ever. A view that does not probe learns by traffic alone, and a cut link has none: it is tried again
after the same time as one that works. A try is a step of the share, and Envoy's reflex stands behind it.

Rejected: to take the word of all others for a view that is silent. They reached the place when the link was cut, too.

A link that one agent alone calls bad is halved while it does: the view keeps half of its share there, and gets the rest
back in steps. That is no cut, and not counted as one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from xds_server.decision.health_words import Account, link_cut, link_doubted, link_restored
from xds_server.decision.verdicts import FORGET_AFTER_S, MAX_HOLD_DOWN_S, STEP, Place, steps
from xds_server.decision.votes import Word
from xds_server.model import CutLink, Event

CUT_DWELL_S = 10.0
HALF = 0.5

SILENT_S = 300.0
"""How long a view that probes may be without a word before its link is tried without."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was cut. `ramp` is what has returned of its share: 0 while it is cut, 1 in memory only.

    `lost_at`: when it was last not said to work. `probed`: the view's Envoys probe that place. `silent_since`: they
    have no word on it since then.
    """

    cut_at: float
    lost_at: float
    falls: int = 1
    ramp: float = 0.0
    moved_at: float = 0.0
    probed: bool = False
    silent_since: float | None = None

    @property
    def dwell_s(self) -> float:
        """Return how long it must work before it is used again, in seconds: 10, 20, 40 … 300."""
        return min(MAX_HOLD_DOWN_S, CUT_DWELL_S * 2.0 ** min(self.falls - 1, 16))


Links = Mapping[Place, Mapping[str, Link]]
"""By place and view."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a place: the views that are `cut` off, the `words` of all views, and who is `probing` it.

    `account` is what is known of who reaches it. `agents`: views of which two agents say that they are cut off, which
    is why; `halved`: those of which one alone does.
    """

    cut: frozenset[str]
    words: Mapping[str, Word]
    probing: Collection[str]
    account: Account
    agents: frozenset[str] = frozenset()
    halved: frozenset[str] = frozenset()


class LinkBook:
    """All links that are cut or were. Owned by the health book."""

    def __init__(self) -> None:
        self._links: dict[Place, dict[str, Link]] = {}

    def restore(self, links: Links) -> None:
        """Start from what an earlier process knew; of what is probed there is no word yet."""
        for place, views in links.items():
            self._keep(place, dict(views))

    def kept(self) -> Links:
        """Return what is known, to be kept for a restart."""
        return {place: dict(views) for place, views in self._links.items()}

    def forget_except(self, places: Collection[Place], views: Collection[str]) -> None:
        """Drop what is known of places and views that are no longer in the policy."""
        for place, links in list(self._links.items()):
            self._keep(place, {view: link for view, link in links.items() if place in places and view in views})

    def places(self) -> Iterable[Place]:
        """Return the places that have links which time alone may change."""
        return self._links.keys()

    def cut(self, place: Place) -> frozenset[str]:
        """Return the views that do not use their link to a place."""
        return frozenset(view for view, link in self._links.get(place, {}).items() if link.ramp == 0.0)

    def told(self, place: Place) -> tuple[CutLink, ...]:
        """Return the views that do not use their link to a place, with what an operator wants to know of it."""
        links = self._links.get(place, {}).items()
        return tuple(
            CutLink(view, place.region, link.cut_at, heard=link.silent_since is None)
            for view, link in links
            if link.ramp == 0.0
        )

    def returning(self, place: Place) -> Mapping[str, float]:
        """Return the views whose link returns, with what has returned of their share."""
        return {view: link.ramp for view, link in self._links.get(place, {}).items() if 0.0 < link.ramp < 1.0}

    def follow(self, place: Place, said: Said, ramp_up_s: float, now: float) -> list[Event]:
        """Bring the links of a place up to date with what is said of it; return what is news."""
        before = self._links.get(place, {})
        after = {view: _cut(before.get(view), now, probed=view in said.probing) for view in said.cut}
        after |= {
            view: moved
            for view, link in before.items()
            if view not in said.cut and (moved := _next(link, said.words.get(view), ramp_up_s, now)) is not None
        }
        after |= {view: _halved(after.get(view), now) for view in said.halved - said.cut}
        self._keep(place, after)
        news = [
            link_cut(
                place,
                view,
                said.account,
                after[view].dwell_s,
                now,
                probed=after[view].probed,
                agents=view in said.agents,
            )
            for view in sorted(said.cut)
            if view not in before or before[view].ramp > 0.0
        ]
        news += [
            link_restored(place, view, _silent_s(link, said.words.get(view), now), now)
            for view, link in before.items()
            if link.ramp == 0.0 and _ramp(after.get(view)) > 0.0
        ]
        news += [
            link_doubted(place, view, now) for view in sorted(said.halved - said.cut) if _ramp(before.get(view)) > HALF
        ]
        return news

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


def _silent_s(link: Link, word: Word | None, now: float) -> float | None:
    """Return for how long a view had no word on its link, in seconds; None if it has one."""
    if word is not None:
        return None
    return now - (link.lost_at if link.silent_since is None else link.silent_since)


def _cut(before: Link | None, now: float, *, probed: bool) -> Link:
    """Return a link that is lost now."""
    if before is not None and before.ramp == 0.0:
        return replace(before, lost_at=now, probed=before.probed or probed, silent_since=None)
    again = before is not None and now - before.cut_at < FORGET_AFTER_S
    return Link(now, now, before.falls + 1 if before is not None and again else 1, probed=probed)


def _halved(link: Link | None, now: float) -> Link:
    """Return a link that somebody calls bad, given what it would be without that."""
    if link is None:
        return Link(now - FORGET_AFTER_S, now, ramp=HALF, moved_at=now)
    return link if link.ramp < HALF else replace(link, ramp=HALF, moved_at=now)


def _next(link: Link, word: Word | None, ramp_up_s: float, now: float) -> Link | None:
    """Return a link that is not cut now, after its view's word; None when it need not be remembered any more."""
    if link.ramp >= 1.0:
        return link if now - link.cut_at < FORGET_AFTER_S else None
    if word is None and link.probed:
        silent_since = now if link.silent_since is None else link.silent_since
        silent = replace(link, silent_since=silent_since)
        return _hold(silent, now) if now - silent_since < SILENT_S else _mend(silent, ramp_up_s, now)
    heard = replace(link, silent_since=None) if link.silent_since is not None else link
    return _hold(heard, now) if word is Word.DOWN or word is Word.DOUBT else _mend(heard, ramp_up_s, now)


def _hold(link: Link, now: float) -> Link:
    """Return a link that is not said to work, nor to be lost: it stays as it is, and time does not count."""
    return replace(link, lost_at=now) if link.ramp == 0.0 else replace(link, moved_at=now)


def _mend(link: Link, ramp_up_s: float, now: float) -> Link:
    """Return a link that works now, or that is tried."""
    if link.ramp == 0.0:
        if now - link.lost_at < link.dwell_s:
            return link
        return replace(link, ramp=STEP if ramp_up_s > 0 else 1.0, moved_at=now)
    made = steps(now - link.moved_at, ramp_up_s)
    return replace(link, ramp=min(1.0, round(link.ramp + made * STEP, 4)), moved_at=now) if made else link
