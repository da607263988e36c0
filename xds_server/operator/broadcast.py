"""What is new, to everybody who watches: each topic is a slot that holds the latest value, encoded once.

A viewer gets what changed since it last looked and skips what lay between, so a slow one costs one value of each topic
and never a queue. Nobody watching costs nothing: the values are looked at, a few times a second, only while there are
viewers. Looking was chosen over being told, because `Source` then stays a set of values that are already there, and
the decision path knows nothing of pages.

A topic says whether its value changed by a key that is cheap to compare; only then it is encoded, in a thread, because
a large decision takes a while and decisions must not be late. A topic that was expensive is looked at less often
(`SHARE` of the time at most).

The form is that of server-sent events (WHATWG HTML, section 9.2): `event:`, `id:`, one line of `data:`. A comment goes
out when there was nothing else for `HEARTBEAT_S`, so that both ends notice a connection that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

LOOK_S = 0.25
HEARTBEAT_S = 10.0
SHARE = 0.05
"""Of the time, at most, is spent on looking at and encoding one topic."""

MOST_VIEWERS = 64
"""Of 256 connections of the admin side: people's pages must not keep Prometheus out."""

MOST_OF_ONE = 16
"""Under one name, which may be that of a few screens: one token must not keep everybody else out."""


class Taken(NamedTuple):
    """A value as it is now: a key that tells whether it is another one than before, and how to write it as JSON."""

    key: object
    json: Callable[[], Any]


class Topic(NamedTuple):
    """Something to follow. `take` runs on the event loop and returns immutable values; None if there is none yet."""

    name: str
    take: Callable[[], Taken | None]
    every_s: float = 0.0


class _Slot:
    """The latest value of one topic as a frame, its number, and when to look again."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._key: object = None
        self._due = 0.0
        self.number = 0
        self.frame = b""

    async def look(self) -> bool:
        """Take the value if it is time; return whether it is a new one."""
        started = time.monotonic()
        if started < self._due:
            return False
        taken = self._topic.take()
        fresh = taken is not None and (self.number == 0 or taken.key != self._key)
        if taken is not None and fresh:
            self.frame = await asyncio.to_thread(_frame, self._topic.name, self.number + 1, taken.json)
            self.number += 1
            self._key = taken.key
        took = time.monotonic() - started
        self._due = started + max(self._topic.every_s, took / SHARE)
        return fresh


def _frame(name: str, number: int, value: Callable[[], Any]) -> bytes:
    data = json.dumps(value(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\nid: {number}\ndata: {data}\n\n".encode()


class Broadcast:
    """Keeps the slots while anybody watches."""

    def __init__(self, *topics: Topic, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._heartbeat_s = heartbeat_s
        self._topics = topics
        self._slots: tuple[_Slot, ...] = ()
        self._viewers: Counter[str] = Counter()
        self._watched = asyncio.Event()
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def viewers(self) -> int:
        """Return how many watch."""
        return self._viewers.total()

    def viewers_of(self, who: str) -> int:
        """Return how many watch under a name; none under the empty one, which nobody has."""
        return self._viewers[who] if who else 0

    async def run(self) -> None:
        """Look for as long as the task lives. When it ends, streams end: a viewer must not take silence for calm."""
        try:
            while True:
                await self._watched.wait()
                fresh = [await slot.look() for slot in self._slots]
                if any(fresh):
                    self._wake()
                await asyncio.sleep(LOOK_S)
        finally:
            self.close()

    def close(self) -> None:
        """End every viewer's stream."""
        self._closed = True
        self._wake()

    @contextlib.contextmanager
    def viewing(self, who: str = "") -> Iterator[None]:
        """Count a viewer while the block runs. The first begins with empty slots: what they held is old."""
        if not self.viewers:
            self._slots = tuple(map(_Slot, self._topics))
        self._viewers[who] += 1
        self._watched.set()
        try:
            yield
        finally:
            self._viewers -= Counter((who,))
            if not self._viewers:
                self._watched.clear()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield what there is, then what is new, until `close`."""
        slots = self._slots
        seen = dict.fromkeys(slots, 0)
        yield _frame("hello", 0, lambda: {"now": time.time(), "heartbeat_s": self._heartbeat_s})
        while not self._closed:
            changed = self._changed
            fresh = [slot for slot in slots if slot.number != seen[slot]]
            if fresh:
                seen |= {slot: slot.number for slot in fresh}
                yield b"".join(slot.frame for slot in fresh)
                continue
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await changed.wait()
            except TimeoutError:
                yield b": still here\n\n"

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
