"""History in SQLite: what may be asked of it, and what is deleted when.

`entries` are lines of history, numbered in the order they were written; that is also the order of paging, because the
time of day may be set back. `decisions` are the decisions among them, by the same numbers. They are deleted apart: an
entry goes when it is too old or there is too much, a decision only once a later one of the same service is that old as
well, so that what was in force at the oldest moment that is kept can still be said.

A commit does not wait for the disk: a power cut may take the last second of history, never its order, and no order of
an operator hangs on it (they are in store/state.py).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from xds_server.history.rows import DECISION, Entry, Table
from xds_server.store.database import Database, Report

HISTORY = "history.db"
STEP = 1_000
"""Entries deleted in one transaction: some ten milliseconds."""

MOST_FREED = 500
"""Pages given back to the disk in one transaction."""

LONGEST_S = 3.0
"""A question that takes longer is given up: behind it waits what happens meanwhile."""

SCHEMA = (
    """
    CREATE TABLE entries (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at REAL NOT NULL,
      kind TEXT NOT NULL,
      severity TEXT NOT NULL,
      message TEXT NOT NULL,
      service TEXT NOT NULL,
      regions TEXT NOT NULL,
      fields TEXT NOT NULL
    );
    CREATE INDEX entries_at ON entries (at);
    CREATE TABLE decisions (
      id INTEGER PRIMARY KEY,
      at REAL NOT NULL,
      service TEXT NOT NULL,
      policy TEXT NOT NULL,
      score REAL NOT NULL,
      shown TEXT,
      detail BLOB
    );
    CREATE INDEX decisions_at ON decisions (service, at, score)
    """,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much history is kept. Rows and bytes are generous: age is what usually counts."""

    age_s: float
    rows: int = 1_000_000
    bytes: int = 256 * 2**20


IN_MEMORY = Limits(3 * 3600.0, 50_000, 32 * 2**20)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries: a time span, and what else is not empty. `kind` may be the first part of kinds: `region`."""

    since: float
    until: float
    service: str = ""
    region: str = ""
    kind: str = ""
    before: int | None = None
    limit: int = 100


class Numbered(NamedTuple):
    """An entry and its number."""

    id: int
    entry: Entry


class InForce(NamedTuple):
    """A decision that was in force: its number, since when, for which service, under which policy, and what it was."""

    id: int
    at: float
    service: str
    policy: str
    detail: bytes


class Point(NamedTuple):
    """What a service's decision was from a moment on; None: it was not in the policy."""

    at: float
    table: Table | None


class Archive:
    """The history of one control plane, in a file or, for `path` None, in memory."""

    def __init__(self, path: Path | None, limits: Limits, report: Report) -> None:
        self._limits = limits
        self._database = Database(path, SCHEMA, report, durable=False)

    def close(self) -> None:
        """Finish what is under way and close."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def write(self, entries: Iterable[Entry]) -> None:
        """Add entries, in this order. Raises StateError."""
        self._database.call(lambda connection: _write(connection, entries))

    def trim(self, wall: float) -> bool:
        """Delete a step of what is beyond the limits; True if there may be more. Raises StateError."""
        return self._database.call(lambda connection: _trim(connection, self._limits, wall))

    # Questions. All raise StateError.

    async def entries(self, asked: Asked) -> list[Numbered]:
        """Return entries, the newest first."""
        return await self._database.run(lambda connection: _entries(_hasty(connection), asked))

    async def in_force(self, at: float, service: str = "") -> list[InForce]:
        """Return what was in force at a moment, by service; of one service or of all."""
        return await self._database.run(lambda connection: _in_force(_hasty(connection), at, service))

    async def series(self, service: str, since: float, until: float, most: int) -> tuple[list[Point], bool]:
        """Return how the decision of a service went, with what was in force at the beginning; True if thinned out.

        Of too many points in a row the worst moment (the least that regions could serve) and the last are kept: an
        incident of a second is still seen on a plot of a week.
        """
        return await self._database.run(lambda connection: _series(_hasty(connection), service, since, until, most))


def _hasty(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Have what follows given up if it takes too long."""
    deadline = time.monotonic() + LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
    return connection


def _write(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    connection.set_progress_handler(None, 0)
    for e in entries:
        regions = f",{','.join(e.regions)}," if e.regions else ""
        sql = "INSERT INTO entries (at, kind, severity, message, service, regions, fields) VALUES (?, ?, ?, ?, ?, ?, ?)"
        row = (e.at, e.kind, e.severity, e.message, e.service, regions, _json(dict(e.fields)))
        number = connection.execute(sql, row).lastrowid
        if (d := e.decided) is not None:
            shown = _json(d.table) if d.table is not None else None
            sql = "INSERT INTO decisions (id, at, service, policy, score, shown, detail) VALUES (?, ?, ?, ?, ?, ?, ?)"
            connection.execute(sql, (number, e.at, e.service, d.policy, d.score, shown, d.detail))


def _trim(connection: sqlite3.Connection, limits: Limits, wall: float) -> bool:
    connection.set_progress_handler(None, 0)
    first, last = connection.execute("SELECT min(id), max(id) FROM entries").fetchone()
    if first is None:
        return False
    row = connection.execute("SELECT max(id) FROM entries WHERE at < ?", (wall - limits.age_s,)).fetchone()
    end = max(row[0] or 0, last - limits.rows)
    if _bytes(connection) > limits.bytes:
        end = max(end, first + STEP - 1)
    if end < first:
        return False
    end, more = min(end, first + STEP - 1), end > first + STEP - 1
    connection.execute("DELETE FROM entries WHERE id <= ?", (end,))
    connection.execute(
        "DELETE FROM decisions WHERE id <= :end AND (shown IS NULL OR EXISTS (SELECT 1 FROM decisions AS later"
        " WHERE later.service = decisions.service AND later.id > decisions.id AND later.id <= :end))",
        {"end": end},
    )
    for _ in range(min(MOST_FREED, _pragma(connection, "freelist_count"))):
        connection.execute("PRAGMA incremental_vacuum(1)")  # of a larger number, Python takes the first step alone
    return more or _bytes(connection) > limits.bytes


def _bytes(connection: sqlite3.Connection) -> int:
    """Return the size of what is in use."""
    pages, free = _pragma(connection, "page_count"), _pragma(connection, "freelist_count")
    return (pages - free) * _pragma(connection, "page_size")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _entries(connection: sqlite3.Connection, asked: Asked) -> list[Numbered]:
    # The plus keeps SQLite from sorting all that is in the time span: in the order of numbers it may stop at the limit.
    conditions: list[tuple[str, object]] = [("+at >= ?", asked.since), ("+at <= ?", asked.until)]
    if asked.before is not None:
        conditions.append(("id < ?", asked.before))
    if asked.service:
        conditions.append(("service = ?", asked.service))
    if asked.region:
        conditions.append(("instr(regions, ?)", f",{asked.region},"))
    if asked.kind == DECISION:  # where weights moved, the entry is of the kind of the event
        conditions.append(("(kind = ? OR EXISTS (SELECT 1 FROM decisions WHERE decisions.id = entries.id))", DECISION))
    elif asked.kind:
        conditions.append(("instr(kind || '.', ?) = 1", f"{asked.kind}."))
    where = " AND ".join(condition for condition, _ in conditions)
    sql = f"SELECT * FROM entries WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
    return [_numbered(row) for row in connection.execute(sql, (*(value for _, value in conditions), asked.limit))]


def _numbered(row: tuple[int, float, str, str, str, str, str, str]) -> Numbered:
    number, at, kind, severity, message, service, regions, fields = row
    names = tuple(regions.strip(",").split(",")) if regions else ()
    return Numbered(number, Entry(at, kind, severity, message, service, names, tuple(json.loads(fields).items())))


def _in_force(connection: sqlite3.Connection, at: float, service: str) -> list[InForce]:
    one = "AND service = :service" if service else ""
    newest = f"SELECT max(id) FROM decisions WHERE at <= :at {one} GROUP BY service"  # noqa: S608
    sql = f"SELECT id, at, service, policy, detail FROM decisions WHERE id IN ({newest}) AND detail IS NOT NULL"  # noqa: S608
    rows = connection.execute(f"{sql} ORDER BY service", {"at": at, "service": service})
    return [InForce(*row) for row in rows]


def _series(
    connection: sqlite3.Connection, service: str, since: float, until: float, most: int
) -> tuple[list[Point], bool]:
    values = {"service": service, "since": since, "until": until, "width": 2 * max(until - since, 1e-3) / most}
    among = "FROM decisions WHERE service = :service AND at > :since AND at <= :until"
    first = "SELECT max(id) FROM decisions WHERE service = :service AND at <= :since"
    (count,) = connection.execute(f"SELECT count(*) {among}", values).fetchone()
    asked = [first, f"SELECT id {among}"]
    if count > most:
        bucket = "GROUP BY CAST((at - :since) / :width AS INTEGER)"
        # With a lone min(), SQLite takes the other columns from the row that has it: sqlite.org/lang_select.html
        asked = [first, f"SELECT id, min(score) {among} {bucket}", f"SELECT max(id) {among} {bucket}"]
    chosen = {row[0] for sql in asked for row in connection.execute(sql, values)}
    marks = ",".join("?" * len(chosen))
    sql = f"SELECT at, shown FROM decisions WHERE id IN ({marks}) ORDER BY id"  # noqa: S608
    return [Point(at, _table(shown)) for at, shown in connection.execute(sql, tuple(chosen))], count > most


def _table(shown: str | None) -> Table | None:
    if shown is None:
        return None
    regions, weights, verdicts, demand = json.loads(shown)
    return Table(tuple(regions), tuple(map(tuple, weights)), tuple(verdicts), tuple(demand))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
