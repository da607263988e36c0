"""A state directory of the tests, and what was reported about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xds_server.store.directory import StateDirectory
from xds_server.store.state import State

MEMORY: dict[str, Any] = {"weights": {"checkout": [[7000, 3000]]}, "since": 12.5, "name": "Zürich"}


class Directory:
    """One state directory, opened and closed as often as a test likes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall = 1_700_000_000.0
        self.reported: list[str] = []

    @contextmanager
    def open(self) -> Iterator[State]:
        with StateDirectory(self.path, self.reported.append) as held, State(held, lambda: self.wall) as state:
            yield state

    def memory(self) -> dict[str, Any] | None:
        with self.open() as state:
            return state.load_memory()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())
