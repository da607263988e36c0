"""One SQLite file: opened, checked, brought to the schema of this version, and used by one thread at a time.

The write-ahead log is what makes a commit survive a kill or a power cut at any moment; `durable` says whether a commit
waits for the disk (`synchronous=FULL`), or may lose its last second to a power cut but never its order
(`synchronous=NORMAL`). https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous

What must not be lost is looked through at every start; what is only a help, and large (0.3 s for 150 MiB, more from a
cold disk), after a process that did not close it. A file that SQLite finds damaged is set aside and a new one is made:
holding up a control plane for its memory would be worse than its starting fresh. A file of a newer version is whole,
and setting it aside at a mistaken downgrade would lose orders that are in force: that refuses to start.

Schemas are lists of steps. Step n takes `user_version` n-1 to n in one transaction, so that a kill between two steps
leaves the one or the other; a step that has been released is never edited.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from xds_server.store.directory import StateError, set_aside, sync, why

MEMORY = ":memory:"
BUSY_MS = 5_000
"""Somebody reads the file with another program: that holds up a checkpoint, for so long."""

Report = Callable[[str], None]
Result = TypeVar("Result")


class Database:
    """One file, or a database in memory for `path` None. Raises StateError where SQLite or the disk fails."""

    def __init__(self, path: Path | None, schema: Sequence[str], report: Report, *, durable: bool) -> None:
        self._name = str(path or "history")
        self._closed = False
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.name if path else "history")
        self._connection = _open(path, schema, report, durable=durable)

    def call(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do some work in one transaction, here and now. Raises StateError."""
        with self._lock:
            try:
                with transaction(self._connection):
                    return work(self._connection)
            except sqlite3.Error as error:
                raise StateError(f"{self._name} cannot be used: {error}") from error

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do some work in one transaction, in the thread of this file. Raises StateError."""
        if self._closed:
            raise StateError(f"{self._name} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.call, work)

    def close(self) -> None:
        """Finish what is under way and close."""
        self._closed = True
        self._thread.shutdown()
        with self._lock:
            self._connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or none of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open a file that another process may be writing. Raises sqlite3.Error.

    A directory that cannot be written to (a backup, a read-only mount) has no place for the index of the write-ahead
    log; if there is no log, the file is all there is.
    """
    uri = path.absolute().as_uri()
    try:
        connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
        connection.execute("PRAGMA user_version")
    except sqlite3.OperationalError:
        if path.with_name(f"{path.name}-wal").exists() or not path.exists():
            raise
        return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _open(path: Path | None, schema: Sequence[str], report: Report, *, durable: bool) -> sqlite3.Connection:
    """Open a file for writing, a new one if what is there is damaged. Raises StateError."""
    if path is not None:
        _make(path)
    try:
        return _ready(path, schema, durable=durable)
    except sqlite3.OperationalError as error:  # the disk or the rights, not the content
        raise StateError(f"{path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        assert path is not None
        for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if name.exists():
                set_aside(name, "corrupt", f"is corrupt ({error})", report)
    _make(path)
    try:
        return _ready(path, schema, durable=durable)
    except sqlite3.Error as error:
        raise StateError(f"{path} cannot be used: {error}") from error


def _make(path: Path) -> None:
    """Make the file, for its owner only; SQLite gives its log the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        sync(path.parent)
    except OSError as error:
        raise StateError(f"{path} cannot be used: {why(error)}") from error


def _ready(path: Path | None, schema: Sequence[str], *, durable: bool) -> sqlite3.Connection:
    unclean = path is not None and path.with_name(f"{path.name}-wal").exists()
    connection = sqlite3.connect(path or MEMORY, isolation_level=None, check_same_thread=False)
    with contextlib.ExitStack() as unless_ready:
        unless_ready.callback(connection.close)
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        _know(connection, version, len(schema))
        if durable or unclean:
            _check(connection)
        if not version:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        for number, step in enumerate(schema[version:], version + 1):
            _migrate(connection, number, step)
        unless_ready.pop_all()
    return connection


def _know(connection: sqlite3.Connection, version: int, known: int) -> None:
    if version > known:
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        raise StateError(
            f"{path} has schema {version}, this version knows {known}: a newer xds-server wrote it. "
            "Start that one, or move the file away to start without what is in it"
        )


def _check(connection: sqlite3.Connection) -> None:
    found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[0])


def _migrate(connection: sqlite3.Connection, number: int, step: str) -> None:
    with transaction(connection):
        for statement in step.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={number}")
