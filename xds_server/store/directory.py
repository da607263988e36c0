"""The state directory: made if it is missing, locked for one process, and how a file in it is set aside.

Two processes on one directory would overwrite each other's orders, so an advisory lock is held while it is open; it
goes with the process, however that ends. SQLite's own locks were rejected for this: they last as long as a
transaction, and the second process would only be told so at its first write.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

LOCK = "lock"


class StateError(Exception):
    """The state directory cannot be used; the message says why, in one line."""


class StateDirectory:
    """The state directory, locked for this process. `report` gets one line for everything that was set aside."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path = path
        self.report = report
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"state directory {path} cannot be used: {why(error)}") from error
        self._take_lock()

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
            self.close()
            by = f"process {holder}" if holder else "another process"
            raise StateError(f"state directory {self.path} is in use by {by}") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)


def set_aside(path: Path, suffix: str, what: str, report: Callable[[str], None]) -> None:
    """Rename a file that is of no use to `NAME.SUFFIX`, or `NAME.SUFFIX.2` … if that is taken, and report it."""
    aside = path.with_name(f"{path.name}.{suffix}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{suffix}.{number}")
    try:
        path.replace(aside)
    except OSError as error:
        report(f"{path} {what} and cannot be moved aside: {why(error)}; going on without it")
        return
    report(f"{path} {what}; moved to {aside}, going on without it")


def sync(directory: Path) -> None:
    """Make names in the directory survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why(error: OSError) -> str:
    """Return what the system says, in lower case."""
    return (error.strerror or str(error)).lower()
