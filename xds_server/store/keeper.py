"""Keeps the controller's memory on disk, behind the decisions and never in their way.

Saves run in a thread, one at a time, at most every `EVERY_S`: what was asked for meanwhile is one save.
A disk that fails is reported once and tried again: serving goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xds_server.controller import Memory
from xds_server.store.codec import to_json
from xds_server.store.state_file import StateError, StateFile, Texts

EVERY_S = 0.1


class Keeper:
    """Saves what `memory` returns whenever `changed` was called; `now` is the clock of the beliefs, in seconds."""

    def __init__(
        self,
        file: StateFile,
        memory: Callable[[], Memory],
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._file = file
        self._memory = memory
        self._now = now
        self._report = report
        self._text: tuple[bytes, Texts] | None = None
        self._dirty = asyncio.Event()
        self._trouble = ""

    def changed(self, policy_text: bytes | None = None, resources: Texts = ()) -> None:
        """Save soon; with the texts of the policy and of own resources if they are new."""
        if policy_text is not None:
            self._text = policy_text, resources
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

    def _take(self) -> tuple[Memory, tuple[bytes, Texts] | None]:
        self._dirty.clear()
        text, self._text = self._text, None
        return self._memory(), text

    def _write(self, memory: Memory, text: tuple[bytes, Texts] | None) -> str:
        """Write both files; return what went wrong, or an empty string. Runs in a thread."""
        try:
            if text is not None:
                self._file.save_policy(*text)
            self._file.save(to_json(memory, self._now()))
        except StateError as error:
            return str(error)
        return ""

    def _done(self, trouble: str) -> None:
        if trouble:
            self._dirty.set()
            if trouble != self._trouble:
                self._report(trouble)
        self._trouble = trouble
