"""Several vantages, one verdict: a dead region, a cut link and a lying monitor, told apart.

Everybody who looks at a region has a vote: the control plane's own probes (the monitor), and every view, by what its
live traffic sees and what its Envoys' probes see. A view's own word counts for its own traffic before anybody else's,
because it is the path that its requests take:

    seen by                                   follows
    all say down                              down for all views
    most say down, a view has no word         down for that view too
    one view says down, most say up           that view's link is cut; nothing changes for the others
    most say down, a view says up             down for the others, that view goes on: the region is cut off, not dead
    the monitor says down, views say up       the monitor is wrong; nothing changes
    as many say down as up                    nobody is moved on the word of half
    one view says down, nobody else a word    that view's link is cut; of the region nothing is known

**When.** Vantages notice one after the other, and what they say is old when it comes. Counted as it comes, the death of
a region looks for a second like a cut link: some say down, and the others still say that all was well before it died.
So a vantage that says "up" must have seen it *after* the newest failure began (`UP`); what it saw before that (`STALE`)
neither contradicts nor agrees, and one that has just begun to fail (`DOUBT`) has no word. Where it matters how a stale
one will turn, nothing is decided (`pending`): nobody is moved off and nobody is sent there. It never waits where it
does not matter: if nobody says anything but down, it is down at once. Waiting ends at a deadline; after it stale words
do not count.

One view is no quorum: with fewer heard than there are, as in the first second of a process, its word is for itself
alone. The monitor's word is enough until others speak, because it is what a control plane without Envoys has to go by;
and a view's is, where a probe of our own begins to fail as well.

A view that sees every region down, its own included, has lost its own network; its votes say nothing about others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum


class Word(IntEnum):
    """What one vantage says of a place."""

    DOWN = 0
    DOUBT = 1
    STALE = 2
    UP = 3


@dataclass(frozen=True, slots=True)
class Fused:
    """What the votes say of one place. `down` is None without any vote, or with one view's that is for itself alone.

    `cut` are the views that cannot reach it while others can. `monitor_wrong`: the views outvoted the monitor.
    `pending`: it depends on words that are not in yet; the rest is then what would follow without them.
    """

    down: bool | None
    cut: frozenset[str] = frozenset()
    monitor_wrong: bool = False
    pending: bool = False


NOTHING_SEEN = Fused(None)


def fuse(monitor: Word | None, seen: Mapping[str, Word], views: Iterable[str], *, patient: bool = False) -> Fused:
    """Return what follows from the votes. `seen` has the views with a word, `views` are all there are.

    `patient`: wait for stale words where they matter. Otherwise they do not count, unless nobody says anything else.
    """
    views = tuple(views)
    words = [*seen.values(), *([monitor] if monitor is not None else [])]
    if Word.DOWN not in words:
        return Fused(down=False) if words else NOTHING_SEEN
    without = _count(monitor, seen, views, Word.UP)
    if patient and Word.STALE in words and _count(monitor, seen, views, Word.STALE) != without:
        return Fused(without.down, without.cut, without.monitor_wrong, pending=True)
    return _alone(monitor, seen, views) if without.down else without


def _alone(monitor: Word | None, seen: Mapping[str, Word], views: tuple[str, ...]) -> Fused:
    """Return what follows if nobody contradicts those who say down: nothing for the others, if it is one view alone."""
    down = [view for view, word in seen.items() if word is Word.DOWN]
    agrees = monitor is Word.DOWN or monitor is Word.DOUBT
    return Fused(down=True) if agrees or len(down) > 1 or len(views) == 1 else Fused(None, cut=frozenset(down))


def _count(monitor: Word | None, seen: Mapping[str, Word], views: tuple[str, ...], up_from: Word) -> Fused:
    """Count the votes, where a word of at least `up_from` says up."""
    said = {view: word >= up_from for view, word in seen.items() if word >= up_from or word is Word.DOWN}
    monitor_says = None if monitor is None or (monitor < up_from and monitor is not Word.DOWN) else monitor >= up_from
    votes = [*said.values(), *([monitor_says] if monitor_says is not None else [])]
    most_say_up = 2 * votes.count(False) <= len(votes)
    reaches = {view: said.get(view, most_say_up) for view in views}
    if not any(reaches.values()):
        return Fused(down=True)
    return Fused(
        down=False,
        cut=frozenset(view for view, up in reaches.items() if not up),
        monitor_wrong=monitor_says is False and most_say_up,
    )
