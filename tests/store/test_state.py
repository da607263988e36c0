"""What outlives a process: orders, memory, policies; and what becomes of files that cannot be used."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.signals.world import in_loop
from tests.store.world import MEMORY, Directory
from xds_server.store import state as module
from xds_server.store.database import Database
from xds_server.store.directory import StateError
from xds_server.store.state import SCHEMA, KeptPolicy, kept

TEXTS = (("a.yaml", b"resources: []\n"), ("b.yaml", "ü".encode()))


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "var" / "xds")


def test_a_new_directory_holds_nothing(directory: Directory) -> None:
    with directory.open() as state:
        assert (state.load_memory(), state.load_orders(), state.policy()) == (None, None, None)
    assert directory.reported == []
    assert directory.names() == ["lock", "state.db"]


def test_what_was_saved_last_is_loaded_by_the_next_process(directory: Directory) -> None:
    with directory.open() as state:
        state.save({"older": True})
        state.save(MEMORY)
    assert directory.memory() == MEMORY


@in_loop
async def test_orders_are_replaced_whole(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    with directory.open() as state:
        await state.save_orders('{"version": 1}')
        await state.save_orders('{"version": 2, "reason": "Zürich"}')
        assert state.load_orders() == '{"version": 2, "reason": "Zürich"}'
        state.save(MEMORY)
    with directory.open() as state:
        assert state.load_orders() == '{"version": 2, "reason": "Zürich"}'


def test_the_policy_that_was_rolled_back_last_is_known_until_one_comes_in_force(directory: Directory) -> None:
    with directory.open() as state:
        assert state.refusal() is None
        state.save_refusal("abc", "rejected by e1: cannot bind")
    with directory.open() as state:
        assert state.refusal() == ("abc", "rejected by e1: cannot bind")
        state.save_refusal("", "")
        assert state.refusal() is None


def test_files_are_for_their_owner_only_whatever_the_umask(directory: Directory) -> None:
    before = os.umask(0)
    try:
        with directory.open() as state:
            state.save(MEMORY)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("lock", "state.db", "state.db-shm", "state.db-wal"), 0o600)


def test_policies_are_kept_byte_for_byte_with_their_resources_and_when(directory: Directory) -> None:
    with directory.open() as state:
        state.save(MEMORY, KeptPolicy(b"version: 1\r\n# \xff\n", TEXTS, "d1"))
    with directory.open() as state:
        assert state.policy() == KeptPolicy(b"version: 1\r\n# \xff\n", TEXTS, "d1", directory.wall)
        state.save(MEMORY, KeptPolicy(b"two", (), "d2"))
        assert state.policy() == KeptPolicy(b"two", (), "d2", directory.wall)


def test_a_policy_that_stays_in_force_is_one_version(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POLICIES", 3)
    with directory.open() as state:
        for text in (b"one", b"two", b"two", b"one", b"three", b"three"):
            state.save(MEMORY, KeptPolicy(text, (), text.decode()))
    connection = sqlite3.connect(directory.path / "state.db")
    assert [row[0] for row in connection.execute("SELECT digest FROM policies ORDER BY id")] == ["two", "one", "three"]
    connection.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to look like one" * 100, b"SQLite format 3\0"])
def test_a_file_that_is_no_database_is_moved_aside(directory: Directory, content: bytes) -> None:
    directory.path.mkdir(parents=True)
    (directory.path / "state.db").write_bytes(content)
    with directory.open() as state:
        assert state.load_memory() is None
        state.save(MEMORY)
    assert (directory.path / "state.db.corrupt").read_bytes() == content
    assert len(directory.reported) == 1
    assert "state.db is corrupt (file is not a database); moved to " in directory.reported[0]
    assert directory.memory() == MEMORY


def test_damage_inside_is_found_at_the_start(directory: Directory) -> None:
    with directory.open() as state:
        state.save({"weights": list(range(5_000))}, KeptPolicy(b"x" * 20_000))
    path = directory.path / "state.db"
    path.write_bytes(path.read_bytes()[: 3 * 4096] + b"\xaa" * 4096 * 4)
    assert directory.memory() is None
    assert "state.db is corrupt" in directory.reported[0]
    assert "state.db.corrupt" in directory.names()


def test_a_newer_schema_refuses_to_start_and_is_left_alone(directory: Directory) -> None:
    with directory.open() as state:
        state.save(MEMORY)
    newer = len(SCHEMA) + 1
    _set_version(directory.path / "state.db", newer)
    with pytest.raises(StateError) as refused, directory.open():
        pass
    assert str(refused.value) == (
        f"{directory.path}/state.db has schema {newer}, this version knows {len(SCHEMA)}: a newer xds-server wrote it. "
        "Start that one, or move the file away to start without what is in it"
    )
    _set_version(directory.path / "state.db", len(SCHEMA))
    assert directory.memory() == MEMORY


def _set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()


def test_an_older_schema_is_brought_up_step_by_step(tmp_path: Path) -> None:
    steps = ("CREATE TABLE t (a)", "ALTER TABLE t ADD COLUMN b", "INSERT INTO t VALUES (1, 2);\nCREATE INDEX i ON t(b)")
    path = tmp_path / "x.db"
    Database(path, steps[:1], print, durable=True).close()
    with pytest.raises(StateError, match="duplicate column"):  # a step that fails leaves what was before it
        Database(path, ("", "ALTER TABLE t ADD COLUMN b", "ALTER TABLE t ADD COLUMN b"), print, durable=True)
    database = Database(path, steps, print, durable=True)
    assert database.call(lambda c: c.execute("SELECT a, b FROM t").fetchall()) == [(1, 2)]
    database.close()


def test_a_memory_the_caller_cannot_use_is_set_aside(directory: Directory) -> None:
    with directory.open() as state:
        state.save(MEMORY)
        state.refuse_memory("KeyError: 'beliefs'")
        assert state.load_memory() is None
        state.save(MEMORY)
        state.refuse_memory("again")  # the second time there is one already
    assert "KeyError: 'beliefs'" in directory.reported[0]


def test_a_disk_that_takes_no_more_leaves_the_old_state(directory: Directory) -> None:
    """A file size limit makes the write fail half-way, as a full disk does."""
    with directory.open() as state:
        state.save(MEMORY)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(StateError, match=r"state\.db cannot be used: "):
                state.save({"big": "x" * 1_000_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, previous)
        assert state.load_memory() == MEMORY
        state.save({"after": 1})
    assert directory.memory() == {"after": 1}


# What an earlier version wrote.


GOOD = {"schema": 1, "state": MEMORY}


def _earlier(directory: Directory, state: object = GOOD, resources: bytes | None = None) -> None:
    directory.path.mkdir(parents=True)
    (directory.path / "state.json").write_text(json.dumps(state))
    (directory.path / "policy.yaml").write_bytes(b"version: 1\n")
    if resources is not None:
        (directory.path / "resources.json").write_bytes(resources)


def test_files_of_an_earlier_version_are_taken_over_once(directory: Directory) -> None:
    _earlier(directory, resources=b'{"a.yaml": "resources: []\\n"}')
    assert kept(directory.path) == (MEMORY, b"version: 1\n")
    with directory.open() as state:
        assert state.load_memory() == MEMORY
        policy = state.policy()
        assert policy is not None
        assert (policy.text, policy.resources) == (b"version: 1\n", (("a.yaml", b"resources: []\n"),))
        state.save({"newer": 1}, KeptPolicy(policy.text, policy.resources, "d1"))
        again = state.policy()
        assert again is not None
        assert (again.text, again.digest) == (b"version: 1\n", "d1")
    migrated = [name for name in directory.names() if name.endswith(".migrated")]
    assert migrated == ["policy.yaml.migrated", "resources.json.migrated", "state.json.migrated"]
    shutil.copy(directory.path / "state.json.migrated", directory.path / "state.json")  # as after a kill in between
    assert directory.memory() == {"newer": 1}
    assert directory.reported == []


@pytest.mark.parametrize("state", [[], 7, {"schema": 1}, {"schema": 2, "state": {}}, {"schema": 1, "state": 7}])
def test_files_of_an_earlier_version_that_are_of_no_use_are_set_aside(directory: Directory, state: object) -> None:
    _earlier(directory, state, resources=b"[]")
    with directory.open() as opened:
        assert opened.load_memory() is None
        policy = opened.policy()
        assert policy is not None
        assert (policy.text, policy.resources) == (b"version: 1\n", ())
    assert (directory.path / "state.json.corrupt").read_text() == json.dumps(state)
    assert {"state.json.corrupt", "resources.json.corrupt", "policy.yaml.migrated"} <= set(directory.names())
    assert len(directory.reported) == 2


# Reading without the lock.


def test_what_is_kept_can_be_read_while_a_process_writes(directory: Directory) -> None:
    assert kept(directory.path) == (None, None)
    with directory.open() as state:
        state.save(MEMORY, KeptPolicy(b"text"))
        assert kept(directory.path) == (MEMORY, b"text")
    assert kept(directory.path) == (MEMORY, b"text")
    (directory.path / "state.db").write_bytes(b"nonsense" * 1000)
    assert kept(directory.path) == (None, None)
