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


Refusal = tuple[str, str]
"""The digest of a policy that was rolled back, and why; an empty digest says that none is."""


class _Work(NamedTuple):
    """What is to be saved: the memory, and a policy that came in force and a refusal if there are new ones."""

    memory: Memory
    policy: KeptPolicy | None
    refusal: Refusal | None


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
        self._refusal: Refusal | None = None
        self._dirty = asyncio.Event()
        self._trouble = ""

    def changed(self, policy: KeptPolicy | None = None) -> None:
        """Save soon; with a policy that came in force, after which no other counts as rolled back."""
        if policy is not None:
            self._policy, self._refusal = policy, ("", "")
        self._dirty.set()

    def refused(self, digest: str, reason: str) -> None:
        """Save soon that a policy was rolled back."""
        self._refusal = digest, reason
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
                work = self._take()
                self._done(work, self._write(work))

    async def _save(self) -> None:
        work = self._take()
        self._done(work, await asyncio.to_thread(self._write, work))

    def _take(self) -> _Work:
        self._dirty.clear()
        policy, self._policy = self._policy, None
        refusal, self._refusal = self._refusal, None
        return _Work(self._memory(), policy, refusal)

    def _write(self, work: _Work) -> str:
        """Write it; return what went wrong, if anything. Runs in a thread."""
        try:
            self._state.save(to_json(work.memory, self._now()), work.policy)
            if work.refusal is not None:
                self._state.save_refusal(*work.refusal)
        except StateError as error:
            return str(error)
        return ""

    def _done(self, work: _Work, trouble: str) -> None:
        if trouble:
            self._policy = self._policy or work.policy
            self._refusal = self._refusal or work.refusal
            self._dirty.set()
            if trouble != self._trouble:
                self._report(trouble)
        self._trouble = trouble
