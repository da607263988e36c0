"""Times as people give them, and as answers show them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.screens.times import BadTimeError, moment, shown

NOW = 1_767_268_800.0
"""2026-01-01T12:00:00Z"""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0.0),
        ("-90s", -90.0),
        ("-15m", -900.0),
        ("-1.5h", -5400.0),
        ("-1d", -86400.0),
        ("-2w", -14 * 86400.0),
        ("2026-01-01T12:00:00Z", 0.0),
        ("2026-01-01T13:30:00+01:00", 1800.0),
        ("2026-01-01T13:30:00 01:00", 1800.0),
        ("2026-01-01T12:00:00.250", 0.25),
        ("2026-01-01 12:00", 0.0),
        ("2026-01-01", -43200.0),
        ("-999999999w", -NOW),
        ("1969-12-31T23:00:00Z", -NOW),
    ],
)
def test_times_people_write(text: str, seconds: float) -> None:
    assert moment(text, NOW) - NOW == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "15m", "-15", "--15m", "-15y", "yesterday", "2026-13-01", "1e9", "99999", "2026-W01", "-٣m"]
)
def test_what_is_no_time_shows_the_form(text: str) -> None:
    with pytest.raises(BadTimeError, match=r"is not a time; write it as 2026-01-31T12:00:00Z or as -15m"):
        moment(text, NOW)


@given(st.text(max_size=40) | st.from_regex(r"-?\d{1,12}[smhdwTZ:+-]?.{0,12}", fullmatch=True))
def test_any_text_is_a_time_or_says_that_it_is_not(text: str) -> None:
    with suppress(BadTimeError):
        assert 0 <= moment(text, NOW) < 1e12


@given(st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000))
def test_what_is_shown_is_read_again(at: float) -> None:
    assert moment(shown(at), NOW) == pytest.approx(at, abs=1e-3)
