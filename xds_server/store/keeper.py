"""Keeps the controller's memory on disk, behind the decisions and never in their way.

Saves run in a thread, one at a time, at most every `EVERY_S`: what was asked for meanwhile is one save.
A disk that fails is reported once and tried again: serving goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from xds_server.step import Memory
from xds_server.store.codec import to_json
from xds_server.store.directory import StateError
from xds_server.store.state import KeptPolicy, State

EVERY_S = 0.1


class _Written(NamedTuple):
    """What went wrong, if anything, and the policy that is still to be saved then."""

    trouble: str = ""
    unsaved: KeptPolicy | None = None


class Keeper:
    """Saves what `memory` returns whenever `changed` was called; `now` is the clock of the beliefs, in seconds."""

    def __init__(
        self,
        state: State,
        memory: Callable[[], Memory],
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._state = state
        self._memory = memory
        self._now = now
        self._report = report
        self._policy: KeptPolicy | None = None
        self._dirty = asyncio.Event()
        self._trouble = ""

    def changed(self, policy: KeptPolicy | None = None) -> None:
        """Save soon; with a policy that came in force."""
        self._policy = policy or self._policy
        self._dirty.set()

    async def run(self) -> None:
        """Save until cancelled, and once more then if something is left to save."""
        try:
            while True:
                await self._dirty.wait()
                await self._save()
                await asyncio.sleep(EVERY_S)
        finally:
            if self._dirty.is_set():
                self._done(self._write(*self._take()))

    async def _save(self) -> None:
        self._done(await asyncio.to_thread(self._write, *self._take()))

    def _take(self) -> tuple[Memory, KeptPolicy | None]:
        self._dirty.clear()
        policy, self._policy = self._policy, None
        return self._memory(), policy

    def _write(self, memory: Memory, policy: KeptPolicy | None) -> _Written:
        """Write both. Runs in a thread."""
        try:
            self._state.save(to_json(memory, self._now()), policy)
        except StateError as error:
            return _Written(str(error), policy)
        return _Written()

    def _done(self, written: _Written) -> None:
        if written.trouble:
            self._policy = self._policy or written.unsaved
            self._dirty.set()
            if written.trouble != self._trouble:
                self._report(written.trouble)
        self._trouble = written.trouble
