"""The policy file: its text, or the reason why it cannot be read. How it is watched: watch.py."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from xds_server.signals.watch import Stamp, look, stamp_of, why

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
