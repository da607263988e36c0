"""Whose fault a rejection is: the content's, or of the few clients that reject what all others of their view accept.

A port that is taken on one machine, a file that is missing there, an Envoy that was built without something: that one
rejects, and what it says is true of itself alone. To keep the content back from its view for that (quarantine.py) would
take from a hundred others what works for them; and one client that lies could do so whenever it likes. So where a view
has enough clients, the word of a few is held against what the others have done:

    more reject than a small minority, or too few others are there to ask      kept back, at once
    most of the others have accepted that very content                         upheld: the few keep it out, alone
    `WAIT_S` have passed and it is neither                                     kept back

A small minority is one client, or a tenth of those that have answered. Most of the others are at least `LEAST` and half
of those connected. While it is open nothing is held up: what was published has gone out to all when the first answer
comes, and whoever has yet to answer will say for itself. What was upheld is looked at again with every client that
rejects it, and kept back once they are too many; of one that has gone, nothing counts any more.

What others have accepted is asked of the streams when somebody rejects, a few contents at a time. Rejected: to tell the
controller of every acknowledgement, which is a word of every client for every change of a weight, to be ignored.

A trial (canary.py) knows no minority: it is there to find out, going back costs nothing yet, and an operator who reads
who rejected it can order a retry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from xds_server.model import ViewKey
from xds_server.rollout.news import Accepted, Disputed
from xds_server.rollout.quarantine import Held

LEAST = 3
"""Clients that must have accepted what another rejects, before that is its own fault."""

WAIT_S = 5.0
LOOK_EVERY_S = 0.25
AT_A_TIME = 5
"""Contents asked about in one step: each is a look at every stream."""

MOST_KEPT = 1_000
"""Contents of which it is remembered who rejects them; then the oldest is forgotten."""


class Judged(NamedTuple):
    """What became of a rejection, by whom it was first heard of, how many clients reject and accept the content."""

    held: Held
    upheld: bool
    rejecting: int = 1
    accepting: int = 0


class Dissent:
    """Who rejects what, and what is yet to be judged. Owned by the controller."""

    def __init__(self) -> None:
        self._rejecting: dict[Disputed, dict[int, Held]] = {}
        self._of_stream: dict[int, list[Disputed]] = {}
        self._open: dict[Disputed, float] = {}
        self._told: dict[Disputed, list[str]] = {}
        self._look_at = 0.0

    def heard(self, stream: int, held: Held, in_view: int, now: float) -> bool:
        """Take in that a client rejects something; True if it is to be kept back at once."""
        what = Disputed(held.view, held.key, held.version)
        known = self._rejecting.setdefault(what, {})
        if stream in known:
            return False
        known[stream] = held
        self._of_stream.setdefault(stream, []).append(what)
        if len(known) > _few(in_view) or in_view - len(known) < LEAST:
            self._forget(what)
            return True
        if what not in self._open:
            self._open[what] = 0.0
            self._look_at = now
        if len(self._rejecting) > MOST_KEPT:
            self._forget(next(iter(self._rejecting)))
        return False

    def left(self, stream: int) -> None:
        """Take in that a client has gone."""
        for what in self._of_stream.pop(stream, ()):
            rejecting = self._rejecting.get(what, {})
            rejecting.pop(stream, None)
            if not rejecting:
                self._open.pop(what, None)

    def forget(self) -> None:
        """Forget everything: it is tried once more."""
        for each in (self._rejecting, self._of_stream, self._open, self._told):
            each.clear()

    def due(self, now: float) -> tuple[Disputed, ...]:
        """Return the contents of which it is to be found out now how many clients have accepted them."""
        return tuple(self._open)[:AT_A_TIME] if now >= self._look_at else ()

    def next_look(self) -> float | None:
        """Return when something is due; None if nothing is open."""
        return self._look_at if self._open else None

    def judge(self, counts: Iterable[Accepted], in_view: Callable[[ViewKey], int], now: float) -> list[Judged]:
        """Return what the answers of others settle; a client that was told of once is not told of again."""
        judged = []
        for what, accepting in counts:
            if what not in self._open:
                continue
            self._look_at = now + LOOK_EVERY_S
            until = self._open[what] = self._open[what] or now + WAIT_S
            rejecting = self._rejecting[what]
            few = len(rejecting) <= _few(accepting + len(rejecting))
            if few and accepting >= max(LEAST, (in_view(what.view) - len(rejecting)) / 2):
                del self._open[what]
                judged += self._upheld(what, accepting)
            elif now >= until:
                judged.append(Judged(next(iter(rejecting.values())), False, len(rejecting), accepting))
                self._forget(what)
        return judged

    def _upheld(self, what: Disputed, accepting: int) -> list[Judged]:
        rejecting, told = self._rejecting[what], self._told.setdefault(what, [])
        fresh = {held.node_id: held for held in rejecting.values() if held.node_id not in told}
        told[:] = [*told, *fresh][-MOST_KEPT:]
        return [Judged(held, True, len(rejecting), accepting) for held in fresh.values()]

    def _forget(self, what: Disputed) -> None:
        self._open.pop(what, None)
        self._told.pop(what, None)
        for stream in self._rejecting.pop(what, {}):
            self._of_stream[stream].remove(what)
            if not self._of_stream[stream]:
                del self._of_stream[stream]


def _few(answered: int) -> int:
    """Return how many of those that have answered are a small minority."""
    return max(1, answered // 10)
