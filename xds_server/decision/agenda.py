"""Which places a step looks at: those of which something may have changed, and few others.

A look at a place hears everybody and judges, some 100 µs. With a thousand services there are eight thousand places, and
a step comes as often as evidence does, so what does not change must cost nothing:

    at once       an observation that changes what is believed of an endpoint, or any of a place that is unknown
    in turn       places that were reported on, `MOST_ROUTINE` in a step
    at its time   the next step of a ramp, the end of a hold
    each second   what is neither well nor plainly down; and where those who are heard have changed: what is well and
                  nobody has a word on any more, what is down and somebody began or ceased to speak of

Places of one service that are held as unknown are looked at together: whether several failures at once are believed
depends on all of them (doubt.py). Rejected: everything that is not well in every step. When a region dies that is a
place of every service, just when there is most to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.decision.verdicts import Belief, Place
from xds_server.decision.witnesses import Voices, Witnesses
from xds_server.model import Health

MOST_ROUTINE = 400
"""A large fleet reports on thousands of places at once: the rest comes in the next steps, so that no step is long."""

SWEEP_S = 1.0


class Agenda:
    """What is to be looked at, and when. Owned by the health book."""

    def __init__(self) -> None:
        self._at_once: set[Place] = set()
        self._in_turn: dict[Place, None] = {}
        self._at: dict[Place, float] = {}
        self._restless: set[Place] = set()
        self._down: dict[Place, Voices | None] = {}
        self._swept_at = float("-inf")

    def configure(self, places: frozenset[Place]) -> None:
        """Look at all of these, and at no others any more."""
        self._at_once = set(places)
        self._in_turn = {place: None for place in self._in_turn if place in places}
        self._at = {place: at for place, at in self._at.items() if place in places}
        self._restless &= places
        self._down = {place: voices for place, voices in self._down.items() if place in places}

    def touch(self, places: Iterable[Place]) -> None:
        """Look at these in the next step."""
        self._at_once.update(places)

    def reported(self, place: Place) -> None:
        """Look at a place when its turn comes."""
        self._in_turn[place] = None

    def believed(self, place: Place, belief: Belief) -> None:
        """Note what is believed of a place now."""
        verdict = belief.verdict
        down = verdict.health is Health.DRAINING or (verdict.health is Health.DOWN and not verdict.up)
        well = verdict.health is Health.HEALTHY and verdict.score >= 1.0 and verdict.ramp >= 1.0
        self._restless.discard(place)
        if down:
            self._down.setdefault(place, None)
            return
        self._down.pop(place, None)
        if not well:
            self._restless.add(place)

    def wake(self, place: Place, at: float | None) -> None:
        """Look at a place at that time; None: nothing waits for time alone."""
        self._at.pop(place, None)
        if at is not None:
            self._at[place] = at

    def next_change(self, now: float) -> float | None:
        """Return when there is something to look at without new evidence; None if nothing waits."""
        return now if self._in_turn else min(self._at.values(), default=None)

    def sweep(self, beliefs: Mapping[Place, Belief], witnesses: Witnesses, now: float) -> bool:
        """Go over everything once a second; return whether this is that moment."""
        if now - self._swept_at < SWEEP_S:
            return False
        self._swept_at = now
        self._at_once.update(p for p, belief in beliefs.items() if self._may_have_changed(p, belief, witnesses, now))
        return True

    def _may_have_changed(self, place: Place, belief: Belief, witnesses: Witnesses, now: float) -> bool:
        if place in self._down:
            before, self._down[place] = self._down[place], witnesses.voices(place, now)
            return before != self._down[place]
        unknown = belief.verdict.health is Health.UNKNOWN
        return (place in self._restless and not unknown) or witnesses.is_heard(place, now) == unknown

    def take(self, beliefs: Mapping[Place, Belief], now: float) -> list[Place]:
        """Return what this step looks at, in order."""
        due, self._at_once = self._at_once, set()
        due.update(place for place, at in self._at.items() if at <= now)
        for place in list(self._in_turn)[:MOST_ROUTINE]:
            del self._in_turn[place]
            due.add(place)
        services = {place.service for place in due}
        due.update(p for p in self._restless if p.service in services and beliefs[p].verdict.health is Health.UNKNOWN)
        return sorted(due)
