"""What must outlive the process: orders, the controller's memory, the policies that were in force. One SQLite file.

It is small and every commit waits for the disk, so that what was acknowledged is there after a power cut. History,
which is large and may lose its last second, is in a file of its own (history/): its size, its trimming and its damage
are not the business of orders.

Orders and memory are documents, replaced whole: they are read once, at the start, and everything in them is needed
then. Rows and columns for them were rejected, because nobody asks questions of them that the process does not answer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xds_server.store import json_state
from xds_server.store.database import Database, open_readonly
from xds_server.store.directory import StateDirectory

STATE = "state.db"
MOST_POLICIES = 200
MOST_POLICY_BYTES = 64 * 2**20
"""Of all earlier policies together; the one in force is kept whatever its size."""

SCHEMA = (
    """
    CREATE TABLE documents (name TEXT PRIMARY KEY, at REAL NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE policies (
      id INTEGER PRIMARY KEY,
      at REAL NOT NULL,
      digest TEXT NOT NULL,
      text BLOB NOT NULL,
      resources TEXT NOT NULL
    )
    """,
)

Texts = tuple[tuple[str, bytes], ...]
"""Names of files, and what they say."""


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A policy as its author wrote it, the texts of own resources with it, and when it came in force (wall clock)."""

    text: bytes
    resources: Texts = ()
    digest: str = ""
    at: float = 0.0


class State:
    """The state of one control plane, in a directory that is locked for it. `wall` is the time of day."""

    def __init__(self, directory: StateDirectory, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._report = directory.report
        self._path = directory.path / STATE
        self._database = Database(self._path, SCHEMA, directory.report, durable=True)
        self._take_over(directory)

    def close(self) -> None:
        """Finish what is under way and close."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # Orders.

    async def save_orders(self, document: str) -> None:
        """Replace the orders; on disk when it returns. Raises StateError, and then the earlier ones are still there."""
        at = self._wall()
        await self._database.run(lambda connection: _put(connection, "orders", document, at))

    def load_orders(self) -> str | None:
        """Return the orders saved last."""
        return self._database.call(lambda connection: _get(connection, "orders"))

    # Memory and policies.

    def save(self, memory: dict[str, Any], policy: KeptPolicy | None = None) -> None:
        """Replace the memory, and note a policy that came in force. Blocks for the disk. Raises StateError."""
        text = json.dumps(memory, separators=(",", ":"), sort_keys=True, allow_nan=False)
        self._database.call(lambda connection: _save(connection, text, policy, self._wall()))

    def save_refusal(self, digest: str, reason: str) -> None:
        """Note the policy that was rolled back last; an empty digest: none. Blocks for the disk. Raises StateError."""
        text, at = json.dumps([digest, reason], ensure_ascii=False), self._wall()
        self._database.call(lambda connection: _put(connection, "refusal", text, at))

    def refusal(self) -> tuple[str, str] | None:
        """Return the digest of the policy that was rolled back last, and why; None if none was since one came in."""
        text = self._database.call(lambda connection: _get(connection, "refusal"))
        digest, reason = json.loads(text) if text else ("", "")
        return (str(digest), str(reason)) if digest else None

    def load_memory(self) -> dict[str, Any] | None:
        """Return the memory saved last; None if there is none or none that can be used."""
        text = self._database.call(lambda connection: _get(connection, "memory"))
        try:
            memory = json.loads(text or "null")
        except (ValueError, RecursionError) as error:
            self.refuse_memory(str(error))
            return None
        return memory if isinstance(memory, dict) else None

    def refuse_memory(self, reason: str) -> None:
        """Set the memory aside: the caller found that it makes no sense."""
        sql = "UPDATE OR REPLACE documents SET name = 'memory.corrupt' WHERE name = 'memory'"
        self._database.call(lambda connection: connection.execute(sql))
        self._report(f"{self._path}: the memory is corrupt ({reason}); kept as memory.corrupt, going on without it")

    def refuse_orders(self, reason: str) -> None:
        """Set the orders aside: the caller found that they make no sense."""
        sql = "UPDATE OR REPLACE documents SET name = 'orders.corrupt' WHERE name = 'orders'"
        self._database.call(lambda connection: connection.execute(sql))
        self._report(
            f"{self._path}: the orders are corrupt ({reason}); kept as orders.corrupt, none of them is in force"
        )

    def policy(self) -> KeptPolicy | None:
        """Return the policy last in force."""
        return self._database.call(_newest_policy)

    def _take_over(self, directory: StateDirectory) -> None:
        """Take in what a version before this file wrote, once, and keep its files under another name."""
        found = json_state.load(directory)
        if found is None:
            return
        fresh = self._database.call(lambda c: _get(c, "memory") is None and _newest_policy(c) is None)
        if fresh:
            policy = KeptPolicy(found.policy, found.resources) if found.policy is not None else None
            memory = json.dumps(found.state) if found.state is not None else None
            self._database.call(lambda connection: _save(connection, memory, policy, self._wall()))
        json_state.retire(directory)


def kept(directory: Path) -> tuple[dict[str, Any] | None, bytes | None]:
    """Return the memory and the policy text that are kept, each None if it is not there or not usable. Only reads.

    Without the lock: a process may be using the directory.
    """
    if not (directory / STATE).exists():
        return json_state.peek(directory)
    try:
        connection = open_readonly(directory / STATE)
        try:
            connection.execute("BEGIN")  # both of one moment
            text, policy = _get(connection, "memory"), _newest_policy(connection)
        finally:
            connection.close()
        memory = json.loads(text or "null")
    except (sqlite3.Error, ValueError, RecursionError):
        return None, None
    return memory if isinstance(memory, dict) else None, policy.text if policy is not None else None


def _put(connection: sqlite3.Connection, name: str, text: str, at: float) -> None:
    connection.execute("INSERT OR REPLACE INTO documents (name, at, text) VALUES (?, ?, ?)", (name, at, text))


def _get(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT text FROM documents WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row is not None else None


def _save(connection: sqlite3.Connection, memory: str | None, policy: KeptPolicy | None, at: float) -> None:
    if memory is not None:
        _put(connection, "memory", memory, at)
    if policy is not None:
        _note(connection, policy, at)


def _note(connection: sqlite3.Connection, policy: KeptPolicy, at: float) -> None:
    """Add a policy unless it is the one noted last; forget the oldest beyond the limits."""
    last = _newest_policy(connection)
    if last is not None and (last.text, last.resources) == (policy.text, policy.resources):
        if policy.digest and not last.digest:  # taken over from a version that did not write it down
            newest = "(SELECT max(id) FROM policies)"
            connection.execute(f"UPDATE policies SET digest = ? WHERE id = {newest}", (policy.digest,))  # noqa: S608
        return
    resources = json.dumps({name: body.decode() for name, body in policy.resources})
    sql = "INSERT INTO policies (at, digest, text, resources) VALUES (?, ?, ?, ?)"
    connection.execute(sql, (at, policy.digest, policy.text, resources))
    total = 0
    sizes = connection.execute("SELECT id, length(text) + length(resources) FROM policies ORDER BY id DESC").fetchall()
    for rank, (number, size) in enumerate(sizes):
        total += size
        if rank and (rank >= MOST_POLICIES or total > MOST_POLICY_BYTES):
            connection.execute("DELETE FROM policies WHERE id <= ?", (number,))
            break


def _newest_policy(connection: sqlite3.Connection) -> KeptPolicy | None:
    sql = "SELECT text, resources, digest, at FROM policies ORDER BY id DESC LIMIT 1"
    row = connection.execute(sql).fetchone()
    if row is None:
        return None
    resources = tuple((name, body.encode()) for name, body in json.loads(row[1]).items())
    return KeptPolicy(bytes(row[0]), resources, row[2], row[3])
