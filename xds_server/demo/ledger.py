"""What a backend saw, in files that survive its `kill -9`.

Each backend has two files of its own. `NAME.attempts` is eight bytes that it maps into memory and counts in;
`NAME.writes` gets the eight-byte id of every plain write, appended with one `write` call before the request is
answered. Both live in the kernel's page cache from that moment, so the process may die at any instruction: at most the
one request that it was about to note is missing. (A crash of the machine would lose more; a demo does not care.)
Asking the backend over HTTP at the end was rejected: a killed one forgets and a hung one does not answer.

The reader follows the files as they grow and keeps one bit per id, so its memory is bounded by the number of requests
sent, not by the number of bytes on disk. Ids are the load's running numbers.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from pathlib import Path
from typing import BinaryIO

_COUNT = struct.Struct("<Q")


class Notes:
    """The writing side, in the backend."""

    def __init__(self, directory: Path, name: str) -> None:
        attempts = directory / f"{name}.attempts"
        if not attempts.exists():
            attempts.write_bytes(_COUNT.pack(0))
        with attempts.open("r+b") as file:
            self._count = mmap.mmap(file.fileno(), _COUNT.size)
        self._attempts: int = _COUNT.unpack_from(self._count)[0]
        self._writes: BinaryIO = (directory / f"{name}.writes").open("ab", buffering=0)

    def attempt(self) -> None:
        """Count one request that arrived."""
        self._attempts += 1
        _COUNT.pack_into(self._count, 0, self._attempts)

    def plain_write(self, number: int) -> None:
        """Note that this plain write arrived."""
        self._writes.write(_COUNT.pack(number))

    def close(self) -> None:
        """Let go of the files."""
        self._count.close()
        self._writes.close()


class Ledger:
    """The reading side: all backends of a run together."""

    def __init__(self, directory: Path, names: tuple[str, ...]) -> None:
        self._directory = directory
        self._read = dict.fromkeys(names, 0)
        self._seen = bytearray()
        self._twice: set[int] = set()
        self.attempts = 0

    @property
    def duplicated_writes(self) -> int:
        """How many plain writes arrived more than once, anywhere."""
        return len(self._twice)

    def update(self) -> None:
        """Read what was added since the last time."""
        self.attempts = sum(self._attempts_of(name) for name in self._read)
        for name, offset in self._read.items():
            added = self._added(self._directory / f"{name}.writes", offset)
            self._read[name] = offset + len(added)
            self._note(added)

    def _attempts_of(self, name: str) -> int:
        file = self._directory / f"{name}.attempts"
        content = file.read_bytes() if file.exists() else b""
        return int(_COUNT.unpack(content)[0]) if len(content) == _COUNT.size else 0

    @staticmethod
    def _added(file: Path, offset: int) -> bytes:
        if not file.exists():
            return b""
        with file.open("rb") as opened:
            opened.seek(offset)
            content = opened.read()
        return content[: len(content) - len(content) % _COUNT.size]

    def _note(self, added: bytes) -> None:
        for number in array("Q", added):
            byte, bit = number >> 3, 1 << (number & 7)
            if byte >= len(self._seen):
                self._seen.extend(bytes(byte + 1 - len(self._seen) + 1024))
            if self._seen[byte] & bit:
                self._twice.add(number)
            self._seen[byte] |= bit
