"""What is wrong with a policy, as values: where, under which key, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TOP = "policy"
"""The path of a problem that belongs to no key: bad YAML, an empty file."""

MAX_PROBLEMS = 1_000
"""Problems kept of one text; nobody reads more, and a text of 8 MiB could have a million."""

LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or that deserves a warning. Lines and columns count from 1."""

    source: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}: {self.path}: {self.message}"


class PolicyError(ValueError):
    """The policy cannot be used. `problems` are in the order of the text; `str()` gives each one line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def quoted(text: str) -> str:
    """Return text in double quotes, fit for one line of a message: shortened, nothing unprintable in it."""
    short = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    shown = "".join(c if c.isprintable() and c not in '"\\' else c.encode("unicode_escape").decode() for c in short)
    return '"' + shown.replace('"', '\\"') + '"'
