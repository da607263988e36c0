"""What probes say of endpoints, by vantage: the control plane's own (view "") and every view's Envoys.

An endpoint's state belongs to who looked: one vantage may see it down while another sees it up, and only the votes
(votes.py) say what that means. Within one view several Envoys may probe; their results are one sequence.

The same goes for single endpoints. What the monitor alone sees fail, and more views see well, is *excused*: our own
network may fail endpoint by endpoint, and a region must not lose half of its capacity for it. Here, too, a view's word
counts from after the failure, and is waited for if it is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.decision.verdicts import (
    EndpointState,
    Evidence,
    Place,
    next_endpoint,
    report_lag_s,
    stale_after_s,
)
from xds_server.decision.votes import Word
from xds_server.model import Observation, Target
from xds_server.policy.types import HealthCheck

ON_THE_WAY_S = 1.5
"""Until what an Envoy sees is here: it reports once a second, and reports are handed on a moment later."""

MONITOR = ""
"""The vantage of the control plane itself."""


class EndpointBook:
    """The state of every endpoint as each vantage sees it. Owned by the health book."""

    def __init__(self) -> None:
        self._targets: dict[Place, tuple[Target, ...]] = {}
        self._checks: dict[Place, HealthCheck] = {}
        self._states: dict[str, dict[Target, EndpointState]] = {}
        self._vantages: dict[Place, dict[str, float]] = {}
        """When each of those who look at a place was last heard of it."""
        self._marked: frozenset[Target] | None = None
        self._excused: dict[Place, frozenset[Target]] = {}

    def configure(self, checks: Mapping[Place, HealthCheck], targets: Iterable[Target]) -> None:
        """Follow the policy and the addresses: what is gone from them is forgotten, what stays keeps its state."""
        grouped: dict[Place, list[Target]] = {place: [] for place in checks}
        for target in targets:
            grouped[Place(target.service, target.region)].append(target)
        self._targets = {place: tuple(sorted(found)) for place, found in grouped.items()}
        self._checks = dict(checks)
        known = {target for found in self._targets.values() for target in found}
        self._states = {
            vantage: kept
            for vantage, states in self._states.items()
            if (kept := {target: state for target, state in states.items() if target in known})
        }
        self._vantages = {place: seen for place, seen in self._vantages.items() if place in self._targets}
        self._excused = {place: kept for place, kept in self._excused.items() if place in self._targets}
        self._marked = None

    def learn(self, seen: Observation, *, hasty: bool) -> bool:
        """Take one observation; True if it may change a verdict. One of a target no longer watched is ignored."""
        place = Place(seen.target.service, seen.target.region)
        if seen.target not in self._targets.get(place, ()):
            return False
        states = self._states.setdefault(seen.view, {})
        before = states.get(seen.target)
        if before is not None and seen.at < before.at:
            return False
        after = states[seen.target] = next_endpoint(before, seen, self._checks[place], hasty=hasty)
        self._vantages.setdefault(place, {})[seen.view] = seen.at
        news = before is None or before.up != after.up
        if news:
            self._marked = None
        return news

    def evidence(self, place: Place, vantage: str = MONITOR) -> Evidence:
        """Return what one vantage sees of a place."""
        states = self._seen(place, vantage)
        excused = self._excused.get(place, frozenset()) if vantage == MONITOR else frozenset()
        decided = [s for s in states if s.up is not None]
        failing = {t: s for t in self._targets[place] if (s := self._states.get(vantage, {}).get(t)) and s.up is False}
        worst = [s for t, s in failing.items() if t not in excused]
        saved = len(failing) - len(worst)
        return Evidence(
            up=len(decided) - len(worst),
            decided=len(decided),
            total=len(self._targets[place]),
            at=max((s.at for s in states), default=0.0),
            detail=worst[0].detail if worst else "",
            unsettled=any(s.streak for s in states),
            by=f", {saved} of them by Envoys' probes alone" if saved else "",
        )

    def fresh(self, place: Place, now: float) -> dict[str, Evidence]:
        """Return what each vantage with fresh and decided evidence sees of a place."""
        self._excuse(place, now)
        limit = now - stale_after_s(self._checks[place])
        found = {vantage: self.evidence(place, vantage) for vantage in self.vantages(place)}
        return {vantage: e for vantage, e in found.items() if e.decided and e.at >= limit}

    def _excuse(self, place: Place, now: float) -> None:
        """Note which endpoints of a place only the monitor sees fail, as of now."""
        seen = self._states.get(MONITOR, {})
        failing = {t: s for t in self._targets[place] if (s := seen.get(t)) is not None and s.up is False}
        excused = frozenset(t for t, s in failing.items() if self._outvoted(t, s, place, now))
        if excused != self._excused.get(place, frozenset()):
            self._marked = None
        if excused:
            self._excused[place] = excused
        else:
            self._excused.pop(place, None)

    def _outvoted(self, target: Target, failed: EndpointState, place: Place, now: float) -> bool:
        check = self._checks[place]
        views = [self._states[v].get(target) for v in self.vantages(place) if v != MONITOR and v in self._states]
        words = [s for s in views if s is not None and s.at >= now - stale_after_s(check)]
        well = [s for s in words if s.up and s.well]
        against = 1 + len(words) - len(well)
        lag_s = report_lag_s(check)
        proven = [s for s in well if s.at - lag_s >= failed.since]
        on_the_way = now - failed.since < lag_s + ON_THE_WAY_S
        return len(well if on_the_way else proven) >= against

    def word(self, place: Place, vantage: str, since: float, now: float) -> Word | None:
        """Return what a vantage says of a place, given that something seems to have failed at `since`.

        A probe that was well proves it for when it was sent. Envoys repeat a result until they have the next.
        """
        check = self._checks[place]
        states = self._seen(place, vantage)
        if not any(s.up is not None for s in states) or max(s.at for s in states) < now - stale_after_s(check):
            return None
        well = [s.at for s in states if s.up and s.well]
        if well:
            lag_s = check.timeout_ms / 1000 if vantage == MONITOR else report_lag_s(check)
            return Word.UP if max(well) - lag_s >= since else Word.STALE
        return Word.DOUBT if any(s.up for s in states) else Word.DOWN

    def declined(self, place: Place) -> bool:
        """Return whether the monitor sees every endpoint of a place fail, each by an answer of its own."""
        states = self._seen(place, MONITOR)
        return bool(states) and all(s.up is False and s.answered for s in states)

    @property
    def excused(self) -> set[Place]:
        """Return the places with endpoints that only the monitor sees fail: time, or another word, may change that."""
        return set(self._excused)

    def failing_since(self, place: Place, vantage: str) -> float:
        """Return when the last endpoint that a vantage sees fail began to."""
        return max((s.since for s in self._seen(place, vantage) if not s.well), default=0.0)

    def vantages(self, place: Place) -> list[str]:
        """Return who has ever looked at a place."""
        return sorted(self._vantages.get(place, ()))

    def recent(self, place: Place, now: float) -> list[str]:
        """Return who looked at a place lately."""
        since = now - stale_after_s(self._checks[place])
        return [vantage for vantage, at in self._vantages.get(place, {}).items() if at >= since]

    def _seen(self, place: Place, vantage: str) -> list[EndpointState]:
        seen = self._states.get(vantage, {})
        return [s for t in self._targets[place] if (s := seen.get(t)) is not None]

    def unhealthy(self) -> frozenset[Target]:
        """Return the endpoints that the monitor sees down in places where it sees others up: EDS marks these.

        Where a whole place is down nothing is marked, so that Envoy still has hosts to try if we are wrong.
        """
        if self._marked is None:
            self._marked = self._marks()
        return self._marked

    def _marks(self) -> frozenset[Target]:
        excused = {target for targets in self._excused.values() for target in targets}
        down = [t for t, state in self._states.get(MONITOR, {}).items() if state.up is False and t not in excused]
        partly = {place for t in down if self.evidence(place := Place(t.service, t.region)).up}
        return frozenset(t for t in down if Place(t.service, t.region) in partly)
