"""The recorder: what it writes replays, what it cannot write is said, and it stays within its bound."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.record.world import REGISTRY, Life
from xds_server.record.replay import replay
from xds_server.record.segment import SegmentReader, Start
from xds_server.store.record_files import read, registry, segments
from xds_server.store.recorder import MOST_WAITING, Recorder


class Recorded:
    """A life whose steps go to a recorder, with a clock that is the life's."""

    def __init__(self, directory: Path, limit: int = 1 << 20, seed: int = 1, most: int = MOST_WAITING) -> None:
        self.directory = directory
        self.life = Life(seed)
        self.reported: list[str] = []
        clocks = (lambda: self.life.now, lambda: self.life.now + 1e9)
        self.recorder = Recorder(
            directory, limit, self.life.controller, clocks, self.reported.append, most_waiting=most
        )
        self.recorder.begin_if_due()

    def steps(self, count: int) -> Iterator[int]:
        for number, step in enumerate(self.life.steps(count)):
            self.recorder.took(*step)
            yield number

    def live(self, count: int) -> None:
        for _ in self.steps(count):
            pass

    def write(self) -> None:
        """Write what waits, as the recorder's task does when it ends."""
        asyncio.run(_ended(self.recorder))

    def runs(self) -> list[tuple[int, int, bool]]:
        """Return the steps of every run that can be replayed, what was lost before it, and whether it is right."""
        notes: list[str] = []
        return [(r.steps, r.lost_before, r.difference is None) for r in replay(read(self.directory, notes))]


async def _ended(recorder: Recorder) -> None:
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_what_is_recorded_replays(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "record")
    for number in recorded.steps(200):
        if number % 50 == 0:
            recorded.write()
    recorded.write()
    assert recorded.runs() == [(200, 0, True)]
    assert recorded.reported == []
    (segment,) = segments(tmp_path / "record")
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600


def test_segments_follow_each_other_and_the_oldest_go(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, limit=64 * 1024)
    for number in recorded.steps(700):
        if number % 20 == 0:
            recorded.write()
    recorded.write()
    there = segments(tmp_path)
    assert there[0].name > "00000001.rec"
    assert sum(path.stat().st_size for path in there) <= 1.1 * 64 * 1024
    ((steps, lost, right),) = recorded.runs()
    assert 100 < steps < 700
    assert (lost, right) == (0, True)


def test_a_second_process_goes_on_after_the_first(tmp_path: Path) -> None:
    for seed in (1, 2):
        recorded = Recorded(tmp_path, seed=seed)
        recorded.live(30)
        recorded.write()
    assert [path.stem for path in segments(tmp_path)] == ["00000001", "00000002"]
    assert recorded.runs() == [(30, 0, True), (30, 0, True)]


def test_too_much_at_once_leaves_a_gap_and_says_how_long(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, most=200)
    for number in recorded.steps(300):
        if number in {100, 250}:
            recorded.write()
    recorded.write()
    runs = recorded.runs()
    assert len(runs) >= 2
    assert all(right for _, _, right in runs)
    lost = sum(lost for _, lost, _ in runs)
    assert lost > 0
    assert sum(steps for steps, _, _ in runs) + lost <= 300


def test_a_disk_that_fails_leaves_a_gap_and_is_reported_once(tmp_path: Path) -> None:
    directory = tmp_path / "record"
    directory.write_text("a file is in the way")
    recorded = Recorded(directory)
    for number in recorded.steps(90):
        if number == 60:
            directory.unlink()
        if number % 10 == 0:
            recorded.write()
    recorded.write()
    assert len(recorded.reported) == 1
    assert "the record has a gap" in recorded.reported[0]
    assert [right for _, _, right in recorded.runs()] == [True]
    (start, *_) = SegmentReader(segments(directory)[0].read_bytes(), REGISTRY).read()
    assert isinstance(start, Start)
    assert start.lost > 0


def test_the_registry_is_the_same_whoever_asks() -> None:
    assert registry() == REGISTRY
    assert "model.Observation" in REGISTRY
    assert "controller.Controller" in REGISTRY
