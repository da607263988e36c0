"""Times of the week, as text and as values: `mon-fri 08:00-18:00`, `tue 10:00`, `sat,sun 00:00-24:00`, `daily 03:00`.

All are in UTC: a window that moves by an hour twice a year would be a surprise in one half of the world.
"""

from __future__ import annotations

import re
from itertools import chain

from xds_server.policy.errors import quoted
from xds_server.policy.types import WeeklyTime, Window
from xds_server.policy.units import TextError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 1_440
WEEK_S = 604_800
_MONDAY_S = 4 * 86_400
"""The first Monday of Unix time: 1970-01-05."""

_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
_DAYS = f"(daily|{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)*)"
_TIME = "[0-2][0-9]:[0-5][0-9]"
WINDOW = f"{_DAYS} {_TIME}-{_TIME}"
WEEKLY = f"{_DAYS} {_TIME}"

_WINDOW = re.compile(WINDOW)
_WEEKLY = re.compile(WEEKLY)


def window(text: str) -> Window:
    """Read a span of some days."""
    if _WINDOW.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a time of the week; write for example mon-fri 08:00-18:00")
    days, _, span = text.partition(" ")
    start, end = map(_minute, span.split("-"))
    if start >= end:
        raise TextError(f"{quoted(text)} ends before it begins; write two entries for a span over midnight")
    return Window(_days(days), start, end)


def weekly(text: str) -> WeeklyTime:
    """Read a minute of some days."""
    if _WEEKLY.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a time of the week; write for example tue 10:00")
    days, _, at = text.partition(" ")
    minute = _minute(at)
    if minute == MINUTES:
        raise TextError(f"{quoted(text)} is not a time of day; write 00:00 of the next day")
    return WeeklyTime(_days(days), minute)


def within(span: Window, wall: float) -> bool:
    """Return whether a moment (seconds since 1970) is in a window."""
    day, minute = day_and_minute(wall)
    return day in span.days and span.start <= minute < span.end


def day_and_minute(wall: float) -> tuple[int, int]:
    """Return the day of the week (0 is Monday) and the minute of the day of a moment, in UTC."""
    of_week = int(wall - _MONDAY_S) % WEEK_S
    return of_week // 86_400, of_week % 86_400 // 60


def words(days: tuple[int, ...]) -> str:
    """Return days as they are written in a policy."""
    return "daily" if len(days) == len(DAYS) else ",".join(DAYS[day] for day in days)


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    minute = 60 * int(hours) + int(minutes)
    if minute > MINUTES:
        raise TextError(f"{quoted(text)} is not a time of day; write 00:00 to 24:00")
    return minute


def _days(text: str) -> tuple[int, ...]:
    if text == "daily":
        return tuple(range(len(DAYS)))
    return tuple(sorted(set(chain.from_iterable(map(_span, text.split(","))))))


def _span(text: str) -> range | list[int]:
    first, dash, last = text.partition("-")
    start, end = DAYS.index(first), DAYS.index(last) if dash else DAYS.index(first)
    return range(start, end + 1) if start <= end else [*range(start, len(DAYS)), *range(end + 1)]
