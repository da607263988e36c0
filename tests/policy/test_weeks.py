"""Times of the week: as text, and as moments."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from xds_server.policy.types import WeeklyTime, Window
from xds_server.policy.units import TextError
from xds_server.policy.weeks import day_and_minute, weekly, window, within, words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mon-fri 08:00-18:00", Window((0, 1, 2, 3, 4), 480, 1080)),
        ("sat,sun 00:00-24:00", Window((5, 6), 0, 1440)),
        ("fri-mon 01:00-01:01", Window((0, 4, 5, 6), 60, 61)),
        ("daily 00:00-00:30", Window(tuple(range(7)), 0, 30)),
    ],
)
def test_a_window_reads_as_it_is_written(text: str, value: Window) -> None:
    assert window(text) == value


@pytest.mark.parametrize("text", ["mon", "mon 8:00-9:00", "mon 09:00-08:00", "mon 08:00-25:00", "x 08:00-09:00", ""])
def test_what_is_no_window_says_so(text: str) -> None:
    with pytest.raises(TextError):
        window(text)


def test_a_weekly_time_is_a_minute_of_a_day() -> None:
    assert weekly("tue,thu 10:05") == WeeklyTime((1, 3), 605)
    with pytest.raises(TextError):
        weekly("tue 24:00")


def test_moments_fall_into_windows_in_utc() -> None:
    span = window("wed 12:00-13:00")
    assert not within(span, datetime(2026, 3, 4, 11, 59, 59, tzinfo=UTC).timestamp())
    assert within(span, datetime(2026, 3, 4, 12, 0, tzinfo=UTC).timestamp())
    assert within(span, datetime(2026, 3, 4, 12, 59, 59, tzinfo=UTC).timestamp())
    assert not within(span, datetime(2026, 3, 4, 13, 0, tzinfo=UTC).timestamp())
    assert not within(span, datetime(2026, 3, 5, 12, 30, tzinfo=UTC).timestamp())


def test_days_agree_with_the_calendar() -> None:
    for day in range(1, 15):
        moment = datetime(2026, 11, day, 7, 8, 9, tzinfo=UTC)
        assert day_and_minute(moment.timestamp()) == (moment.weekday(), 7 * 60 + 8)


def test_days_are_said_as_they_are_written() -> None:
    assert words(window("daily 01:00-02:00").days) == "daily"
    assert words(window("mon,wed 01:00-02:00").days) == "mon,wed"
