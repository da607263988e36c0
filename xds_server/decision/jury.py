"""When enough was said of a place to decide: counts the votes, and waits for those that are still to come.

*How long stale words are waited for*: until every vantage had the time to look again and to be heard, from when the
newest failure began; never longer than twice that since the waiting began, so that a vantage that comes and goes cannot
stop a decision. When a place that was down comes back, those who still say down are waited for in the same way: they
look no less often, and without it each would be a cut link for a moment.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from xds_server.decision.verdicts import Place
from xds_server.decision.votes import NOTHING_SEEN, Fused, Word, fuse
from xds_server.decision.witnesses import LONG_AGO, Witnesses
from xds_server.policy.types import HealthCheck


@dataclass(frozen=True, slots=True)
class Hearing:
    """What was said of a place, and what follows.

    `lost` are the views that say down. `waiting`: words are still on their way, whether they matter or not.
    `borne_out`: more than our own probes says that it is down, or did since it began to fail. That is live traffic,
    which falls silent when Envoys have ejected what is dead, or the probes of two views. `monitor` is what our own
    probes say.
    """

    fused: Fused = NOTHING_SEEN
    seen: Mapping[str, Word] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    waiting: bool = False
    borne_out: bool = False
    monitor: Word | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """What a hearing is about: a place, the service's others, all views, and whether it is believed to be down."""

    place: Place
    check: HealthCheck
    views: tuple[str, ...]
    others: tuple[Place, ...]
    down: bool


class Jury:
    """Hears all vantages, and remembers what it waits for. Owned by the health book."""

    def __init__(self) -> None:
        self._pending_since: dict[Place, float] = {}
        self._back_since: dict[Place, float] = {}
        self._borne_out: set[Place] = set()

    def forget_except(self, places: frozenset[Place]) -> None:
        """Drop what is known of places that are no longer in the policy."""
        self._pending_since = {p: at for p, at in self._pending_since.items() if p in places}
        self._back_since = {p: at for p, at in self._back_since.items() if p in places}
        self._borne_out &= places

    @property
    def undecided(self) -> Container[Place]:
        """Return the places of which a decision waits for words."""
        return self._pending_since.keys()

    @property
    def waiting(self) -> Iterable[Place]:
        """Return the places of which words are waited for, to leave them or to come back: time alone may end that."""
        return self._pending_since.keys() | self._back_since.keys()

    def hear(self, witnesses: Witnesses, seat: Seat, now: float) -> Hearing:
        """Hear everybody on a place."""
        place, check = seat.place, seat.check
        since = witnesses.failing_since(place, now)
        if since == LONG_AGO:  # nobody is sure of a failure: there is nothing to decide, and mostly this is so
            return self._undisputed(witnesses, place, now)
        words = witnesses.words(place, since, now)
        monitor = witnesses.monitor(place, since, now)
        deaf = {view for view, word in words.items() if word is Word.DOWN and witnesses.blind(view, seat.others, now)}
        seen = {view: word for view, word in words.items() if view not in deaf}
        wait_s = witnesses.wait_s(place, check)
        fused = fuse(monitor, seen, seat.views, patient=self._patient(place, since, wait_s, now))
        if not fused.pending:
            self._pending_since.pop(place, None)
        fused = self._coming_back(
            place, fused, check.healthy_after * check.interval_ms / 1000 + wait_s, now, down=seat.down
        )
        fused = replace(fused, cut=fused.cut - deaf)
        lost = frozenset(view for view, word in words.items() if word is Word.DOWN)
        waiting = now - since < wait_s and any(word in {Word.STALE, Word.DOUBT} for word in words.values())
        if any(seen.get(view) is Word.DOWN and witnesses.live(view, place, now) is Word.DOWN for view in lost):
            self._borne_out.add(place)
        borne_out = place in self._borne_out or sum(word is Word.DOWN for word in seen.values()) >= 2
        return Hearing(fused, seen, lost, waiting, borne_out, monitor)

    def _undisputed(self, witnesses: Witnesses, place: Place, now: float) -> Hearing:
        self._pending_since.pop(place, None)
        self._back_since.pop(place, None)
        self._borne_out.discard(place)
        return Hearing(Fused(down=False) if witnesses.is_heard(place, now) else NOTHING_SEEN)

    def _patient(self, place: Place, since: float, wait_s: float, now: float) -> bool:
        """Return whether stale words may be waited for, and note since when that is."""
        began = self._pending_since.setdefault(place, now)
        return now - since < wait_s and now - began < 2 * wait_s

    def _coming_back(self, place: Place, fused: Fused, wait_s: float, now: float, *, down: bool) -> Fused:
        """Wait for those who still say down of a place that was down for all and is up for some."""
        if not down or fused.down is not False or not fused.cut:
            self._back_since.pop(place, None)
            return fused
        waited = now - self._back_since.setdefault(place, now)
        return replace(fused, pending=True) if waited < wait_s else fused
