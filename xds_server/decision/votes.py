"""Several vantages, one verdict: a dead region, a cut link and a lying monitor, told apart.

Everybody who looks at a region has a vote: the control plane's own probes (the monitor), and every view, by what its
live traffic sees, else by what its Envoys' probes see. A view's own word counts for its own traffic before anybody
else's, because it is the path that its requests take:

    seen by                                   follows
    all say down                              down for all views
    most say down, a view has no word         down for that view too
    one view says down, most say up           that view's link is cut; nothing changes for the others
    most say down, a view says up             down for the others, that view goes on: the region is cut off, not dead
    the monitor says down, views say up       the monitor is wrong; nothing changes
    as many say down as up                    nobody is moved on the word of half

A view that sees every region down, its own included, has lost its own network; its votes say nothing about others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fused:
    """What the votes say of one place. `down` is None without any vote.

    `cut` are the views that cannot reach it while others can. `monitor_wrong`: the views outvoted the monitor.
    """

    down: bool | None
    cut: frozenset[str] = frozenset()
    monitor_wrong: bool = False


NOTHING_SEEN = Fused(None)


def fuse(monitor: bool | None, seen: Mapping[str, bool], views: Iterable[str]) -> Fused:
    """Return what follows from the votes: True is up. `seen` has the views with a word, `views` are all there are."""
    votes = [*seen.values(), *([monitor] if monitor is not None else [])]
    if not votes:
        return NOTHING_SEEN
    most_say_up = 2 * votes.count(False) <= len(votes)
    reaches = {view: seen.get(view, most_say_up) for view in views}
    if not any(reaches.values()):
        return Fused(down=True)
    return Fused(
        down=False,
        cut=frozenset(view for view, up in reaches.items() if not up),
        monitor_wrong=monitor is False and most_say_up,
    )
