"""Words of others, made fit for a terminal and for lines of a log.

What cannot be printed (by `str.isprintable`: control characters, the C1 ones too, separators of lines, marks that turn
the direction of writing) could steer a terminal, or make one line look like two. Text for people has a space in its
place; JSON has its escape, which a program reads as the same.
"""

from __future__ import annotations

import json


def plain(text: str) -> str:
    """Return text on one line that cannot steer a terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def dumped(value: object, indent: int | None = None) -> str:
    """Return JSON in which everything can be printed, and the rest is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
