"""The policy file: its text, or the reason why it cannot be read. How it is watched: watch.py.

Deletion settles like every change, so an editor that removes and writes anew is seen as one change. What is handed on
is changed content, not changed dates.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xds_server.signals.watch import INTERVAL_S, Stamp, Watch, look, stamp_of, why

MAX_BYTES = 8 * 1024 * 1024
"""The largest policy that parsing accepts; one byte more is read, so that parsing can say that it is too large."""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """What a file says now. `source` is the path as it was given."""

    source: str
    text: bytes = field(repr=False)  # a file of resources may hold a secret


@dataclass(frozen=True, slots=True)
class PolicyUnreadable:
    """Why the file cannot be read now."""

    source: str
    reason: str


Found = PolicyText | PolicyUnreadable


class PolicyFile:
    """Watches one path and hands what it finds to `emit`, once per change."""

    def __init__(self, path: Path, emit: Callable[[Found], None], interval_s: float = INTERVAL_S) -> None:
        self._watch = Watch(lambda: look(path), lambda: read_stamped(path), emit, interval_s)

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._watch.run()


def read_policy(path: Path) -> Found:
    """Read the file once, now."""
    return read_stamped(path)[0]


def read_stamped(path: Path) -> tuple[Found, Stamp]:
    """Return what is there and the stamp that goes with it; nothing but a regular file is read."""
    source = str(path)
    try:
        resolved = path.resolve(strict=True)
        if not resolved.is_file():
            return PolicyUnreadable(source, "not a regular file"), look(path)
        with resolved.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
            return PolicyText(source, text), stamp_of(resolved, os.fstat(file.fileno()))
    except (OSError, RuntimeError) as error:
        return PolicyUnreadable(source, why(error)), look(path)
