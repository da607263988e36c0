"""Times as people give them: RFC 3339, or back from now (`-15m`); and as answers show them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BACK = re.compile(r"-(\d{1,9}(?:\.\d{1,3})?)([smhdw])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

FORM = "write it as 2026-01-31T12:00:00Z or as -15m (s, m, h, d, w)"


class BadTimeError(ValueError):
    """A text is not a time; the message shows the form."""


def moment(text: str, now: float) -> float:
    """Return a time of day in seconds since 1970, not before that. Without an offset it is UTC. Raises BadTimeError.

    A `+` that a URL turned into a space is taken as the sign of an offset.
    """
    words = text.strip()
    if words == "now":
        return now
    if back := _BACK.fullmatch(words):
        return max(0.0, now - float(back[1]) * _UNITS[back[2]])
    if not _DATE.match(words):
        raise BadTimeError(f"{text[:40]!r} is not a time; {FORM}")
    try:
        found = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", words))
        return max(0.0, (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadTimeError(f"{text[:40]!r} is not a time; {FORM}") from error


def shown(at: float) -> str:
    """Return a time of day in RFC 3339, in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
