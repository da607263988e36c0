"""The bounded event log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xds_server.model import Event
from xds_server.operator.events import EventLog


def filled(count: int, kept: int) -> EventLog:
    log = EventLog(kept)
    for number in range(1, count + 1):
        assert log.add(Event("x", 0.0, str(number)), float(number)) == number
    return log


@given(st.integers(0, 30), st.integers(1, 10), st.integers(0, 40), st.integers(0, 12))
def test_pages_are_what_a_list_would_give(count: int, kept: int, after: int, limit: int) -> None:
    log = filled(count, kept)
    everything = list(range(1, count + 1))[-kept:]
    assert log.last == count
    assert [entry.seq for entry in log.after(after, limit)] == [seq for seq in everything if seq > after][:limit]
    assert [entry.seq for entry in log.newest(limit)] == everything[max(0, len(everything) - limit) :]


def test_an_entry_has_the_event_and_the_time_on_the_wall() -> None:
    (entry,) = filled(3, kept=1).after(0)
    assert (entry.seq, entry.time, entry.event.message) == (3, 3.0, "3")
