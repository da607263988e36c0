"""Writes history behind the decisions and never in their way; answers what is asked of it.

What happens is noted in memory and written in batches, in a thread, where decisions are also put into their form. What
is asked sees everything that was noted before, but for a flood. A disk that fails is reported once and loses what was
to be written: decisions are not kept waiting for their history. More at once than `MOST_WAITING` is dropped, and
history says so.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from xds_server.history.archive import Archive
from xds_server.history.rows import Change, Dated, Describe, Entry, change_entry, event_entry, worth_a_row
from xds_server.model import Decision, Event, ServiceDecision
from xds_server.store.directory import StateError

EVERY_S = 0.5
MOVED = "weights.changed"
TRIM_EVERY = 60
"""Batches between two looks at the limits."""

BATCH = 200
"""Entries written at once: a decision takes 0.4 ms to put into its form, and what Envoys are sent comes first."""

AWAITED_S = 1.0
"""A question waits no longer for what was noted before it."""

MOST_AT_THE_END = 1_000
MOST_WAITING = 20_000


class Chronicle:
    """Keeps one archive. `wall` is the time of day; `report` gets a line on trouble."""

    def __init__(
        self,
        archive: Archive,
        describe: Describe,
        wall: Callable[[], float],
        report: Callable[[str], None],
        *,
        awaited_s: float = AWAITED_S,
    ) -> None:
        self.archive = archive
        self._describe = describe
        self._wall = wall
        self._report = report
        self._awaited_s = awaited_s
        self._waiting: deque[Entry | Change] = deque()
        self._lost = 0
        self._moved: dict[str, tuple[Event, float]] = {}
        self._last: dict[str, ServiceDecision] = {}
        self._policy = ""
        self._trouble = ""
        self._writing = asyncio.Lock()

    def happened(self, event: Event, wall: float) -> None:
        """Note an event. Never blocks.

        That weights moved is one entry with the decision that moved them, which follows before anything is written.
        """
        if event.kind == MOVED:
            self._moved[dict(event.fields)["service"]] = event, wall
        else:
            self._add(event_entry(event, wall))

    def decided(self, decision: Decision, policy: str, now: float) -> None:
        """Note what is decided otherwise than before, at `now` on the model's clock. Never blocks."""
        at, anew = Dated(now, self._wall()), policy != self._policy
        self._policy = policy
        found = {service.service: service for service in decision.services}
        for name, after in found.items():
            before = self._last.get(name)
            if before is None or anew or worth_a_row(before, after):
                moved, _ = self._moved.pop(name, (None, 0.0))
                self._add(Change(at, policy, before, after, moved))
                self._last[name] = after
        for name in self._last.keys() - found.keys():
            self._add(Change(at, policy, self._last.pop(name), None))
        self._add_moved()

    async def run(self) -> None:
        """Write until cancelled, and what is left then."""
        try:
            while True:
                for _ in range(TRIM_EVERY):
                    await asyncio.sleep(EVERY_S)
                    async with self._writing:
                        await self._write_some()
                await asyncio.to_thread(self._trim)
        finally:
            self._done(self._write(*self._last_words()))

    async def written(self) -> None:
        """Return once what was noted can be asked for; in a flood, once some of it can."""
        self._add_moved()
        due, until = len(self._waiting), time.monotonic() + self._awaited_s
        async with self._writing:
            while due > 0 and time.monotonic() < until:
                due -= BATCH
                await self._write_some()

    async def _write_some(self) -> None:
        self._add_moved()
        if self._waiting:
            self._done(await asyncio.to_thread(self._write, *self._take(BATCH)))

    def _add(self, what: Entry | Change) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(what)
        else:
            self._lost += 1

    def _add_moved(self) -> None:
        """Note moves that no decision came with."""
        for event, wall in self._moved.values():
            self._add(event_entry(event, wall))
        self._moved.clear()

    def _take(self, most: int) -> tuple[list[Entry | Change], int]:
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        lost, self._lost = self._lost, 0
        return taken, lost

    def _last_words(self) -> tuple[list[Entry | Change], int]:
        """Return what is written at the end: all events, and of the decisions no more than a stop may wait for."""
        self._add_moved()
        taken, lost = self._take(MOST_WAITING)
        changes = [each for each in taken if isinstance(each, Change)]
        cut = {id(each) for each in changes[MOST_AT_THE_END:]}
        kept = [event_entry(each.moved, each.at.wall) for each in changes[MOST_AT_THE_END:] if each.moved is not None]
        return [*(each for each in taken if id(each) not in cut), *kept], lost + len(cut)

    def _write(self, waiting: list[Entry | Change], lost: int) -> str:
        """Write a batch; return what went wrong, or an empty string. Runs in a thread."""
        entries = [change_entry(each, self._describe) if isinstance(each, Change) else each for each in waiting]
        if lost:
            words = f"{lost} entries of history are missing: more happened at once than is taken"
            entries.append(Entry(self._wall(), "history.gap", "warning", words))
        try:
            self.archive.write(entries)
        except StateError as error:
            return str(error)
        return ""

    def _trim(self) -> None:
        try:
            while self.archive.trim(self._wall()):
                pass
        except StateError as error:
            self._report(str(error))

    def _done(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._report(f"history has a gap: {trouble}")
        self._trouble = trouble
