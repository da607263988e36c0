r"""One segment of a record: a start state and the steps after it, as bytes. Pure; store/recorder.py has the files.

    file    = magic, frame …
    frame   = length (4 bytes, of the rest), CRC-32 (4 bytes, of the rest), compressed lines
    line    = JSON: ["class", …] as met, ["part", …] and ["start", …] once, ["step", now, inputs, fingerprint] …

All frames of a segment are one zlib stream, flushed at the end of each: a probe's result is much like the last one, and
the window that knows it goes on. A segment can be read without any other. Its tail may be torn, by a crash or because
it is being written: reading ends at the first frame that is not whole, which costs at most what was written last.
Damage in the middle ends it there as well, and is said: what follows cannot be read without what is missing.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xds_server.record.fingerprint import Fingerprint
from xds_server.record.values import Captured, Decoder, Encoder, Registry, UnreadableError
from xds_server.step import Inputs

MAGIC = b"xds-server record 1\n"
_HEAD = struct.Struct(">II")
MOST_FRAME_BYTES = 1 << 30
"""A frame that claims more than this is damage."""


@dataclass(frozen=True, slots=True)
class Start:
    """The head of a segment. `process` names the process that wrote it, `number` counts its segments from 1.

    `at` is `now` of the controller's clock, `wall` the same moment in seconds since 1970. `lost` steps before this one
    were not recorded (the writer could not keep up, or the disk was full): only then is it not the sequel of the last.
    """

    version: str
    process: str
    number: int
    at: float
    wall: float
    lost: int
    controller: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One call of `Controller.step`: what went in, and the fingerprint of what came out."""

    now: float
    inputs: Inputs
    told: Fingerprint


class SegmentWriter:
    """Turns a start and steps into the bytes to append to a file."""

    def __init__(self, registry: Registry) -> None:
        self._encoder = Encoder(registry)
        self._stream = zlib.compressobj(6)
        self._lines: list[str] = []

    def start(self, start: Start, controller: Captured) -> None:
        """Begin the segment; `controller` stands for the one in `start`."""
        parts, state = self._encoder.in_parts(controller)
        for part in parts:
            self._add(["part", *part])
        head = [start.version, start.process, start.number, start.at, start.wall, start.lost]
        self._add(["start", *head, state])

    def step(self, step: Step) -> None:
        """Add a step."""
        self._add(["step", step.now, self._encoder.encode(step.inputs), step.told])

    def frame(self, *, first: bool) -> bytes:
        """Return everything added since the last frame, as bytes."""
        bodies = [self._stream.compress(line.encode()) for line in self._lines]
        self._lines.clear()
        body = b"".join([*bodies, self._stream.flush(zlib.Z_SYNC_FLUSH)])
        return (MAGIC if first else b"") + _HEAD.pack(len(body), zlib.crc32(body)) + body

    def _add(self, line: list[Any]) -> None:
        for row in self._encoder.fresh():
            self._lines.append(_text(["class", *row]))
        self._lines.append(_text(line))


def _text(line: list[Any]) -> str:
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"


class SegmentReader:
    """Reads one segment. After the last step, `tail` says in words what could not be read; empty if all could."""

    def __init__(self, content: bytes, registry: Registry) -> None:
        if not content.startswith(MAGIC):
            raise UnreadableError("not a record, or not one of this version")
        self._content = content
        self._decoder = Decoder(registry)
        self.tail = ""

    def read(self) -> Iterator[Start | Step]:
        """Yield the start and the steps. Raises UnreadableError if they are of another version."""
        for line in self._lines():
            kind, *rest = line
            if kind == "class":
                self._decoder.learn(rest)
            elif kind == "part":
                self._decoder.part(*rest)
            elif kind == "start":
                version, process, number, at, wall, lost, state = rest
                yield Start(version, process, number, at, wall, lost, self._decoder.decode(state))
            elif kind == "step":
                now, inputs, told = rest
                yield Step(now, self._decoder.decode(inputs), told)
            else:
                raise UnreadableError(f"a line of kind {kind!r}")

    def _lines(self) -> Iterator[list[Any]]:
        stream = zlib.decompressobj()
        for body in self._frames():
            for text in stream.decompress(body).splitlines():
                yield json.loads(text)

    def _frames(self) -> Iterable[bytes]:
        at, content = len(MAGIC), self._content
        while at < len(content):
            if len(content) - at < _HEAD.size:
                self.tail = "the last frame is torn"
                return
            length, checksum = _HEAD.unpack_from(content, at)
            body = content[at + _HEAD.size : at + _HEAD.size + length]
            if len(body) < length or length > MOST_FRAME_BYTES:
                self.tail = "the last frame is torn"
                return
            if zlib.crc32(body) != checksum:
                rest = len(content) - at - _HEAD.size - length
                self.tail = f"a frame is damaged at byte {at}; {rest} bytes after it are not read"
                return
            yield body
            at += _HEAD.size + length
