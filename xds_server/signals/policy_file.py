"""The policy file: its text whenever that changes, and a reason whenever it cannot be read.

The file is polled by its resolved path, because what must be noticed has one common trait, that `stat` says something
else: a write in place, an editor's rename over it, a symlink that a Kubernetes ConfigMap swaps two levels up, removal
and return. Rejected: inotify, which sees none of it on network file systems and needs a watch per directory of the
chain; one `stat` every 250 ms costs nothing.

A writer may be half done when we look. A file is read only when two looks in a row say the same, and what was read is
thrown away if `stat` changed meanwhile. That also makes the modification time old enough to be trusted: a later write
cannot have the same one. A file that is there at the first look is read at once.

Deletion settles the same way, so an editor that removes and writes anew is seen as one change. What is handed on is
changed content, not changed dates.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""The largest policy that parsing accepts; one byte more is read, so that parsing can say that it is too large."""

INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True)
class PolicyText:
    """What the file says now. `source` is the path as it was given."""

    source: str
    text: bytes


@dataclass(frozen=True, slots=True)
class PolicyUnreadable:
    """Why the file cannot be read now."""

    source: str
    reason: str


Found = PolicyText | PolicyUnreadable

_Stamp = tuple[str, int, int, int, int, int] | str
"""What tells one state of a file from another; or why there is none."""


class PolicyFile:
    """Watches one path and hands what it finds to `emit`, once per change."""

    def __init__(self, path: Path, emit: Callable[[Found], None], interval_s: float = INTERVAL_S) -> None:
        self._path = path
        self._emit = emit
        self._interval_s = interval_s
        self._last: Found | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        known: _Stamp | None = None
        stamp = before = await asyncio.to_thread(_stamp, self._path)
        while True:
            if stamp == before and stamp != known:
                found, read = await asyncio.to_thread(_read, self._path)
                if read == stamp:
                    known = stamp
                    self._tell(found)
            await asyncio.sleep(self._interval_s)
            before, stamp = stamp, await asyncio.to_thread(_stamp, self._path)

    def _tell(self, found: Found) -> None:
        if found != self._last:
            self._last = found
            self._emit(found)


def read_policy(path: Path) -> Found:
    """Read the file once, now."""
    return _read(path)[0]


def _stamp(path: Path) -> _Stamp:
    try:
        resolved = path.resolve(strict=True)
        return _stamp_of(resolved, resolved.stat())
    except (OSError, RuntimeError) as error:
        return _why(error)


def _stamp_of(resolved: Path, seen: os.stat_result) -> _Stamp:
    return (str(resolved), seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _read(path: Path) -> tuple[Found, _Stamp]:
    """Return what is there and the stamp that goes with it; nothing but a regular file is read."""
    source = str(path)
    try:
        resolved = path.resolve(strict=True)
        if not resolved.is_file():
            return PolicyUnreadable(source, "not a regular file"), _stamp(path)
        with resolved.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
            return PolicyText(source, text), _stamp_of(resolved, os.fstat(file.fileno()))
    except (OSError, RuntimeError) as error:
        return PolicyUnreadable(source, _why(error)), _stamp(path)


def _why(error: OSError | RuntimeError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "a loop of symbolic links"
