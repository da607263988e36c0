"""What one pass over one text collects: problems, warnings, and where each path stands. The only mutable thing here.

A path names a value as an operator would: `services.checkout.deployments.us-east-1.capacity`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from xds_server.policy import units
from xds_server.policy.errors import MAX_PROBLEMS, Problem, quoted
from xds_server.policy.nodes import Node

MAX_SUGGESTIONS = 20
"""Searches for a similar name in one text: each takes milliseconds among a thousand services."""

BAD: Final = object()
"""What stands for a value that has been complained about."""

_PLAIN_STEP = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(units.NAME)


@dataclass(slots=True)
class Reading:
    """What one pass over one text has found: problems, and where each path stands."""

    source: str
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    where: dict[str, Node] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    more: int = 0
    suggestions: int = 0

    def wrong(self, path: str, message: str, node: Node | None = None) -> Any:
        """Note a problem at a node, or else where the path stands. Returns BAD."""
        line, column = self.position(path) if node is None else (node.line, node.column)
        self.bad.add(path)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.source, line, column, path, message))
        else:
            self.more += 1
        return BAD

    def warn(self, path: str, message: str) -> None:
        """Note something that works but deserves a look."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(self.source, *self.position(path), path, message))

    def position(self, path: str) -> tuple[int, int]:
        """Return where a path stands, or the nearest section around it."""
        while path not in self.where and "." in path:
            path = path.rpartition(".")[0]
        node = self.where.get(path)
        return (node.line, node.column) if node else (1, 1)

    def similar(self, given: str, known: Iterable[str]) -> str:
        """Return `; did you mean X?` if something known looks like what was given."""
        self.suggestions += 1
        if len(given) > 64 or self.suggestions > MAX_SUGGESTIONS:
            return ""
        close = difflib.get_close_matches(given, list(known), 1)
        return f"; did you mean {close[0]}?" if close else ""


def below(path: str, name: str) -> str:
    """Return the path of a key in a mapping. A name with a dot in it is quoted, so that no two paths look alike."""
    step = name
    if not _PLAIN_STEP.fullmatch(name):
        step = f'"{name}"' if _NAME.fullmatch(name) else quoted(name)
    return f"{path}.{step}" if path else step
