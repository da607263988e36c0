"""Watching files: what is there now, whenever that changes and has settled.

Files are polled, because what must be noticed has one common trait, that `stat` says something else: a write in place,
an editor's rename over it, a symlink that a Kubernetes ConfigMap swaps two levels up, removal and return. Rejected:
inotify, which sees none of it on network file systems and needs a watch per directory of the chain; one `stat` per file
every 250 ms costs nothing.

A writer may be half done when we look. Things are read only when two looks in a row say the same, and what was read is
thrown away if a look says something else meanwhile. That also makes modification times old enough to be trusted: a
later write cannot have the same one. What is there at the first look is read at once. Deletion settles like every
change, so an editor that removes and writes anew is seen as one change. What is handed on is changed content, not
changed dates.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

INTERVAL_S = 0.25

Stamp = tuple[object, ...] | str
"""What tells one state of files from another; or why there is none."""

F = TypeVar("F")


class Watch(Generic[F]):
    """Hands what `read` finds to `emit`, once per change. `look` is cheap and returns the stamp of what is there.

    `read` returns what it found with the stamp that goes with it. Both run in a thread.
    """

    def __init__(
        self,
        look: Callable[[], Stamp],
        read: Callable[[], tuple[F, Stamp]],
        emit: Callable[[F], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._look = look
        self._read = read
        self._emit = emit
        self._interval_s = interval_s
        self._last: F | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        known: Stamp | None = None
        stamp = before = await asyncio.to_thread(self._look)
        while True:
            if stamp == before and stamp != known:
                found, read = await asyncio.to_thread(self._read)
                if read == stamp:
                    known = stamp
                    self._tell(found)
            await asyncio.sleep(self._interval_s)
            before, stamp = stamp, await asyncio.to_thread(self._look)

    def _tell(self, found: F) -> None:
        if found != self._last:
            self._last = found
            self._emit(found)


def look(path: Path) -> Stamp:
    """Return the stamp of what a path leads to, or why it leads to nothing."""
    try:
        resolved = path.resolve(strict=True)
        return stamp_of(resolved, resolved.stat())
    except (OSError, RuntimeError) as error:
        return why(error)


def stamp_of(resolved: Path, seen: os.stat_result) -> Stamp:
    """Return the stamp of a file."""
    return (str(resolved), seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def why(error: OSError | RuntimeError) -> str:
    """Return why a path leads to nothing, in words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "a loop of symbolic links"
