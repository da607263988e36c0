"""When a client took what: its last acknowledgements, as far as something that they brought is still the latest.

A time for each resource of each client would be half a megabyte for 8,000 names. An acknowledgement covers a response,
whose names all its clients share, so a time and a reference do. What changes often supersedes itself and costs one:
sets of names are compared by identity, and looked into only when there are too many. Beyond `MOST` the oldest is
forgotten, and when its resources came is no longer known.
"""

from __future__ import annotations

from typing import NamedTuple

MOST = 8


class Update(NamedTuple):
    """The names in a response, and when it was acknowledged."""

    at: float
    names: frozenset[str]


def noted(updates: tuple[Update, ...], at: float, names: frozenset[str]) -> tuple[Update, ...]:
    """Return the updates, the newest first, with one more."""
    if not names:
        return updates
    if updates and updates[0].names is names:
        return (Update(at, names), *updates[1:])
    others = [update for update in updates if update.names is not names]
    if len(others) >= MOST:
        others = [update for update in others if not update.names <= names]
    return (Update(at, names), *others[: MOST - 1])


def when(updates: tuple[Update, ...], name: str) -> float | None:
    """Return when a resource last came; None if that is not known."""
    return next((update.at for update in updates if name in update.names), None)
