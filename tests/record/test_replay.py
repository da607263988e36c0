"""A record run again gives what was decided, from any of its segments; and says where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.record.world import REGISTRY, Life, policy, record
from xds_server.commands.replay_words import comparison_json, comparison_lines
from xds_server.controller import Controller
from xds_server.model import TOTAL_WEIGHT
from xds_server.record.capture import capture, revive
from xds_server.record.replay import replay, what_if
from xds_server.record.segment import SegmentReader, Start, Step


@pytest.mark.parametrize("seed", range(3))
def test_a_record_replays_to_the_same_bytes_from_every_segment(seed: int) -> None:
    """`lost` makes every segment a run of its own: each starts from the state that was captured there."""
    tape = record(seed, 140, every=13, lost=1)
    done = list(replay(tape.entries()))
    assert len(done) == 11
    assert [run.difference for run in done] == [None] * 11
    assert sum(run.steps for run in done) == 140
    assert sum(run.decisions for run in done) > 10


def test_segments_in_sequence_are_one_run() -> None:
    (run,) = replay(record(1, 100, every=10).entries())
    assert (run.steps, run.difference) == (100, None)
    assert run.events


def test_trials_and_quarantine_were_under_way_at_some_start() -> None:
    """What makes the test above mean something."""
    starts = [e for e in record(3, 150, every=5, lost=1).entries() if isinstance(e, Start)]
    assert any(start.controller.candidate is not None for start in starts)
    assert any(start.controller._health.next_change(start.at) is not None for start in starts)


def test_a_changed_input_is_found() -> None:
    """What the replay is for: another evidence, or another engine, and the first difference is named."""
    entries = record(2, 100, every=1000).entries()
    steps = [(i, e) for i, e in enumerate(entries) if isinstance(e, Step)]
    told = next((i, e) for i, e in steps if "decision" in e.told and e.inputs.observations)
    entries[told[0]] = replace(told[1], inputs=replace(told[1].inputs, observations=()))
    (run,) = replay(entries)
    assert run.difference is not None
    assert run.difference.step == told[0]
    assert "decision" in run.difference.parts


def test_the_captured_state_is_independent_of_the_living_one() -> None:
    life = Life(4)
    for _ in life.steps(100):
        pass
    frozen = capture(life.controller)
    first: Controller = revive(frozen)
    before = first.memory()
    for _ in life.steps(50):
        pass
    assert revive(frozen).memory() == before
    assert life.controller.memory() != before


def test_another_policy_shows_what_would_have_been() -> None:
    tape = record(5, 120, every=1000)
    same = what_if(tape.entries(), policy())
    other = what_if(tape.entries(), policy(east=300))
    assert other.changes
    moved = [change for change in other.changes if change.would is not None and change.was is not None]
    east = moved[-1].regions.index("east")
    assert min(change.would.weights[east] for change in moved if change.view == "east" and change.would) < TOTAL_WEIGHT
    assert len(same.changes) < len(other.changes)
    assert other.unseen == ()
    assert other.began < other.ended


def test_another_policy_shows_what_would_have_been_refused() -> None:
    tape = record(5, 60, every=1000)
    tight = what_if(tape.entries(), policy(east=100, drain="true"))
    refusing = what_if(tape.entries(), policy(east=100, drain="true", mode="shed"))
    assert not any(change.would.refused for change in tight.changes if change.would)
    assert any(change.would.refused > 20 for change in refusing.changes if change.would)
    assert not any(change.was.refused for change in refusing.changes if change.was)
    lines = list(comparison_lines(refusing))
    assert any(line.endswith("refused") for line in lines)
    assert any(" 0% → " in line and line.endswith("%") for line in lines)
    refused = comparison_json(refusing)["changes"][0]["refused"]
    assert (refused["was"]["percent"], refused["would"]["classes"]) == (0, {})


def test_a_torn_tail_costs_only_what_was_written_last() -> None:
    (segment,) = record(6, 30, every=1000).segments
    whole = sum(isinstance(e, Step) for e in SegmentReader(segment, REGISTRY).read())
    for cut in (1, 5, 60):
        reader = SegmentReader(segment[:-cut], REGISTRY)
        steps = sum(isinstance(e, Step) for e in reader.read())
        assert whole - 4 <= steps < whole
        assert "torn" in reader.tail


def test_damage_in_the_middle_is_said() -> None:
    (segment,) = record(6, 30, every=1000).segments
    middle = len(segment) // 2
    reader = SegmentReader(segment[:middle] + bytes([segment[middle] ^ 1]) + segment[middle + 1 :], REGISTRY)
    start, *_ = reader.read()
    assert isinstance(start, Start)
    assert reader.tail
