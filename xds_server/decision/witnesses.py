"""What everybody who looks at a place says of it: the words that are voted on (votes.py).

A view has up to two ways of knowing. Its live traffic is the better one: a success is proof. What its Envoys' probes
say stands where there is no traffic, and tells a region that answers everything with an error from one that cannot be
reached, which load reports do not. A region's own view does not probe it; there the monitor's answer stands in.

    traffic            probes of that view         its word
    works              any                         up
    too little         any                         what the probes say
    was fine a moment  up / failing                up / stale: the next report tells
    begins to fail     up, proven / stale / down   up / doubt / down
    all fails          any                         what the probes say: if they are answered it is no matter of the path

One thing outweighs live traffic: a health check that answers "no", to us and to every view that asks. That is how an
endpoint asks to be left, while it still serves what comes. (Rejected: any check that fails everywhere. A region that is
cut off from all others fails every check, and its own view is best served at home.)
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.decision.evidence import MONITOR, ON_THE_WAY_S, EndpointBook
from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import Place, report_lag_s
from xds_server.decision.votes import Word
from xds_server.policy.types import HealthCheck

LONG_AGO = float("-inf")

Voices = tuple[tuple[str, ...], tuple[str, ...]]
"""Who is heard of a place: those who probe it, and the views with live traffic."""


class Witnesses:
    """All vantages, for one look. It owns nothing: the books are the health book's."""

    def __init__(self, endpoints: EndpointBook, traffic: TrafficBook) -> None:
        self._endpoints = endpoints
        self._traffic = traffic

    def monitor(self, place: Place, since: float, now: float) -> Word | None:
        """Return the word of the control plane's own probes."""
        return self._endpoints.word(place, MONITOR, since, now)

    def is_heard(self, place: Place, now: float) -> bool:
        """Return whether anybody has a word on a place that is fresh enough to count."""
        return any(
            self._endpoints.word(place, vantage, LONG_AGO, now) is not None
            for vantage in self._endpoints.recent(place, now)
        ) or any(self._traffic.word(view, place, LONG_AGO, now) is not None for view in self._traffic.views(place))

    def voices(self, place: Place, now: float) -> Voices:
        """Return who has said something of a place lately."""
        live = [
            view for view in self._traffic.views(place) if self._traffic.word(view, place, LONG_AGO, now) is not None
        ]
        return tuple(self._endpoints.recent(place, now)), tuple(live)

    def wait_s(self, place: Place, check: HealthCheck) -> float:
        """Return within how many seconds of a failure all vantages have been heard; 0 if there is only the monitor."""
        alone = self._endpoints.vantages(place) in ([], [MONITOR]) and not any(self._traffic.views(place))
        return 0.0 if alone else max(report_lag_s(check), self._traffic.lag_s(place)) + ON_THE_WAY_S

    def live(self, view: str, place: Place, now: float) -> Word | None:
        """Return the word of a view's traffic alone."""
        return self._traffic.word(view, place, LONG_AGO, now)

    def failing_since(self, place: Place, now: float) -> float:
        """Return when the newest of all failures began that some vantage is sure of; long ago if there is none."""
        began = [
            self._endpoints.failing_since(place, vantage)
            for vantage in self._endpoints.vantages(place)
            if self._endpoints.word(place, vantage, LONG_AGO, now) is Word.DOWN
        ]
        began += [
            self._traffic.failing_since(view, place)
            for view in self._traffic.views(place)
            if self._traffic.word(view, place, LONG_AGO, now) is Word.DOWN
        ]
        return max(began, default=LONG_AGO)

    def words(self, place: Place, since: float, now: float) -> dict[str, Word]:
        """Return the views that have a word on a place, given that something seems to have failed at `since`."""
        views = {*self._endpoints.vantages(place), *self._traffic.views(place)} - {MONITOR}
        found = {view: self._word(view, place, since, now) for view in sorted(views)}
        said = {view: word for view, word in found.items() if word is not None}
        return dict.fromkeys(said, Word.DOWN) if self._checks_fail(place, views, since, now) else said

    def _checks_fail(self, place: Place, views: Iterable[str], since: float, now: float) -> bool:
        """Return whether the health check fails by every account, and we were told so by an answer.

        Then it is meant, whatever the traffic says: a check that answers badly is how an endpoint asks to be left. No
        answer at all may be the network, and then a region's own view goes on.
        """
        if self._endpoints.word(place, MONITOR, since, now) is not Word.DOWN or not self._endpoints.declined(place):
            return False
        checks = [self._endpoints.word(place, view, since, now) for view in views]
        checking = [word for word in checks if word is not None]
        return bool(checking) and all(word is Word.DOWN for word in checking)

    def _word(self, view: str, place: Place, since: float, now: float) -> Word | None:
        """Return a view's word by the table above."""
        traffic = self._traffic.word(view, place, since, now)
        if traffic is Word.UP:
            return Word.UP
        probes = self._endpoints.word(place, view, since, now)
        if traffic is None:
            return probes
        if probes is None:
            return self._at_home(place, since, now, traffic) if view == place.region else traffic
        if traffic is Word.STALE:
            return Word.UP if probes is Word.UP else Word.STALE
        if traffic is Word.DOUBT and probes is Word.STALE:
            return Word.DOUBT
        return probes

    def _at_home(self, place: Place, since: float, now: float, traffic: Word) -> Word:
        """Return the word of a region's own view, which does not probe it: the monitor tells whether it answers."""
        if traffic is Word.STALE:
            return traffic
        monitor = self._endpoints.word(place, MONITOR, since, now)
        if monitor is Word.UP:
            return Word.UP
        return Word.DOUBT if monitor is Word.STALE else traffic

    def blind(self, view: str, others: Iterable[Place], now: float) -> bool:
        """Return whether a view that says down sees no other place of the service either, but sees some."""
        words = [self._word(view, other, LONG_AGO, now) for other in others]
        return Word.DOWN in words and not any(word is not None and word >= Word.STALE for word in words)
