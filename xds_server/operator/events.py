"""The recent events, numbered, for people and scripts that ask what happened. Bounded: the oldest go first."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from xds_server.model import Event
from xds_server.operator.held_events import HeldEvents

KEPT = 2_000
"""A few hundred bytes each: under a megabyte, and hours of history unless everything is failing."""


class Entry(NamedTuple):
    """An event with its number and when it happened on the wall (seconds since 1970)."""

    seq: int
    time: float
    event: Event


class EventLog:
    """The last `kept` events. Numbers start at 1 and have no gaps, so a reader sees when it missed some."""

    def __init__(self, kept: int = KEPT, started: float = 0.0) -> None:
        self.started = started
        """When the process began, on the wall: numbers of another are not to be compared."""
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._last = 0
        self.held = HeldEvents()
        """What of it holds until something ends it."""

    @property
    def last(self) -> int:
        """Return the number of the newest event; 0 before the first."""
        return self._last

    def add(self, event: Event, wall: float) -> int:
        """Keep an event that happened at `wall`; return its number."""
        self._last += 1
        self._entries.append(Entry(self._last, wall, event))
        self.held.add(event, wall)
        return self._last

    def after(self, seq: int, limit: int = KEPT) -> tuple[Entry, ...]:
        """Return the first `limit` kept events numbered above `seq`, oldest first."""
        oldest = self._last - len(self._entries)
        start = max(seq - oldest, 0)
        return tuple(self._entries[i] for i in range(start, min(start + limit, len(self._entries))))

    def newest(self, limit: int) -> tuple[Entry, ...]:
        """Return the last `limit` events, oldest first."""
        return self.after(self._last - limit, limit)
