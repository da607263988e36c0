"""Writes down what goes into the controller, behind the decisions and never in their way.

The control loop leaves each step here and goes on. Twice a second what has gathered is hashed, encoded, compressed and
appended, in a thread. What cannot be written in time is not half written: when too much waits, steps are dropped until
the next segment, which begins with the controller's whole state and says how many were lost. So a record has gaps but
never lies. The same when the disk does not take it.

The directory holds at most `limit_bytes`, the oldest segments go first. Nothing is synced: a record that ends a second
before a power cut is as good as one that does not, and a sync every half second is not free for the disk.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xds_server import __version__
from xds_server.controller import Controller
from xds_server.record.capture import capture
from xds_server.record.fingerprint import Fingerprints
from xds_server.record.segment import SegmentWriter, Start, Step
from xds_server.record.values import Captured, NotRecordableError
from xds_server.step import Inputs, Outcome
from xds_server.store.record_files import SUFFIX, registry, segments

EVERY_S = 0.5
SEGMENTS = 8
"""The limit in segments: one is deleted when the next is begun, so at least 7/8 of the limit is history."""
LEAST_BYTES = 64 * 1024
MOST_WAITING = 200_000
"""Values (observations, reports …) that may wait to be written: some 100 MB, two seconds of 100,000 a second."""


class _Begin(NamedTuple):
    start: Start
    controller: Captured


class _Took(NamedTuple):
    inputs: Inputs
    now: float
    outcome: Outcome


class Recorder:
    """Records one controller. `clock` is the controller's, `wall` the time of day; `report` gets a line on trouble."""

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        controller: Controller,
        clocks: tuple[Callable[[], float], Callable[[], float]],
        report: Callable[[str], None],
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._most_waiting = most_waiting
        self._controller = controller
        self._clock, self._wall = clocks
        self._report = report
        self._waiting: list[_Begin | _Took] = []
        self._values = 0
        self._process = f"{os.getpid()}-{self._wall() * 1000:.0f}"
        self._segment = 0
        self._lost = 0
        self._file = _File(directory, max(limit_bytes, LEAST_BYTES))
        self._begin_due = True
        self._trouble = ""

    def begin_if_due(self) -> None:
        """Begin a segment if one is due. Call before the first step; after that `took` does."""
        if not self._begin_due or self._values > self._most_waiting // 2:
            return
        self._begin_due = False
        self._segment += 1
        start = Start(__version__, self._process, self._segment, self._clock(), self._wall(), self._lost, None)
        self._waiting.append(_Begin(start, capture(self._controller)))
        self._lost = 0

    def took(self, inputs: Inputs, now: float, outcome: Outcome) -> None:
        """Record a step that the controller has just taken. Never blocks."""
        size = 1 + sum(len(value) for value in _sequences(inputs))
        if (self._begin_due and self._lost) or self._values + size > self._most_waiting:
            self._lost += 1
            self._begin_due = True
        else:
            self._values += size
            self._waiting.append(_Took(inputs, now, outcome))
        self.begin_if_due()

    async def run(self) -> None:
        """Write until cancelled, and what is left then."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                self._done(await asyncio.to_thread(self._file.write, self._take()))
        finally:
            self._done(self._file.write(self._take()))

    def _take(self) -> list[_Begin | _Took]:
        taken, self._waiting, self._values = self._waiting, [], 0
        return taken

    def _done(self, written: _Written) -> None:
        if written.trouble and written.trouble != self._trouble:
            self._report(f"the record has a gap: {written.trouble}")
        self._trouble = written.trouble
        if written.full or written.lost:
            self._lost += written.lost
            self._begin_due = True


def _sequences(inputs: Inputs) -> list[tuple[object, ...]]:
    values = (getattr(inputs, name) for name in inputs.__dataclass_fields__)
    return [value for value in values if isinstance(value, tuple)]


class _Written(NamedTuple):
    """What became of a batch: whether a new segment is due, how many steps were not written, and why."""

    full: bool
    lost: int
    trouble: str


class _File:
    """The segment that is being written. Used by one thread at a time."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit = limit_bytes
        self._registry = registry()
        self._fingerprints = Fingerprints()
        self._writer: SegmentWriter | None = None
        self._path: Path | None = None
        self._size = 0
        self._unwritten = 0
        self._lost = 0

    def write(self, batch: list[_Begin | _Took]) -> _Written:
        """Append a batch. A segment that is broken off is not gone on with: what follows waits for the next start."""
        self._lost, trouble = 0, ""
        for item in batch:
            trouble = (self._begin(item) if isinstance(item, _Begin) else self._step(item)) or trouble
        trouble = self._flush() or trouble
        full = self._writer is None or self._size >= self._limit // SEGMENTS
        return _Written(full, self._lost, trouble)

    def _begin(self, item: _Begin) -> str:
        trouble = self._flush()
        self._writer, self._size, self._fingerprints = SegmentWriter(self._registry), 0, Fingerprints()
        try:
            self._writer.start(item.start, item.controller)
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            there = segments(self._directory)
            self._make_room(there)
            number = int(there[-1].stem) + 1 if there else 1
            self._path = self._directory / f"{number:08}{SUFFIX}"
        except (OSError, NotRecordableError) as error:
            return self._break_off(error)
        return trouble

    def _step(self, item: _Took) -> str:
        if self._writer is None:
            self._lost += 1
            return ""
        self._unwritten += 1
        try:
            self._writer.step(Step(item.now, item.inputs, self._fingerprints.of(item.outcome)))
        except NotRecordableError as error:
            return self._break_off(error)
        return ""

    def _flush(self) -> str:
        if self._writer is None or self._path is None:
            return ""
        frame = self._writer.frame(first=self._size == 0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(self._path, flags, 0o600), "ab") as file:
                file.write(frame)
        except OSError as error:
            return self._break_off(error)
        self._size += len(frame)
        self._unwritten = 0
        return ""

    def _break_off(self, error: OSError | NotRecordableError) -> str:
        self._writer = self._path = None
        self._lost, self._unwritten = self._lost + self._unwritten, 0
        return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)

    def _make_room(self, there: list[Path]) -> None:
        """Delete the oldest segments until one more has room."""
        sizes = [path.stat().st_size for path in there]
        total = sum(sizes) + self._limit // SEGMENTS
        for path, size in zip(there, sizes, strict=True):
            if total <= self._limit:
                return
            path.unlink()
            total -= size
