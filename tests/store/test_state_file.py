"""The state directory: what survives, what is set aside, and who may hold it."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xds_server.store.state_file import SCHEMA, StateError, StateFile

STATE: dict[str, Any] = {"weights": {"checkout": [[7000, 3000]]}, "since": 12.5, "name": "Zürich"}


class Directory:
    """One state directory and what was reported about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reported: list[str] = []

    def open(self) -> StateFile:
        return StateFile(self.path, self.reported.append)

    def load(self) -> dict[str, Any] | None:
        with self.open() as opened:
            return opened.load()


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "var" / "xds")


def test_a_new_directory_is_made_and_holds_nothing(directory: Directory) -> None:
    assert directory.load() is None
    assert directory.reported == []
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700


def test_what_was_saved_last_is_loaded_by_the_next_process(directory: Directory) -> None:
    with directory.open() as opened:
        opened.save({"older": True})
        opened.save(STATE)
    assert directory.load() == STATE
    assert sorted(path.name for path in directory.path.iterdir()) == ["lock", "state.json"]


def test_files_are_for_their_owner_only_whatever_the_umask(directory: Directory) -> None:
    before = os.umask(0)
    try:
        with directory.open() as opened:
            opened.save(STATE)
            opened.save_policy(b"version: 1\n", (("a.yaml", b"resources: []\n"),))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()} == {0o600}


def test_the_policy_is_kept_beside_the_state_byte_for_byte(directory: Directory) -> None:
    with directory.open() as opened:
        assert opened.load_policy() is None
        opened.save_policy(b"version: 1\r\n# \xff\n")
    with directory.open() as opened:
        assert opened.load_policy() == b"version: 1\r\n# \xff\n"
    assert (directory.path / "policy.yaml").read_bytes() == b"version: 1\r\n# \xff\n"


def test_own_resources_are_kept_with_the_policy_they_came_with(directory: Directory) -> None:
    texts = (("a.yaml", b"resources: []\n"), ("b.yaml", "ü".encode()))
    with directory.open() as opened:
        assert opened.load_resources() == ()
        opened.save_policy(b"one", texts)
    with directory.open() as opened:
        assert opened.load_resources() == texts
        opened.save_policy(b"two")
        assert opened.load_resources() == ()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_kept_resources_that_make_no_sense_are_moved_aside(directory: Directory, content: bytes) -> None:
    with directory.open() as opened:
        (directory.path / "resources.json").write_bytes(content)
        assert opened.load_resources() == ()
    assert (directory.path / "resources.json.corrupt").read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"schema": 1}',
        b'{"schema": 1, "state": {"a": ',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": "../x", "state": {}}',
        b'{"schema": 1, "state": 7}',
    ],
    ids=["empty", "torn", "list", "null", "no keys", "no state", "cut", "not text", "deep", "odd schema", "odd state"],
)
def test_a_corrupt_file_is_moved_aside_and_reported(directory: Directory, content: bytes) -> None:
    with directory.open() as opened:
        opened.save(STATE)
    (directory.path / "state.json").write_bytes(content)
    with directory.open() as opened:
        assert opened.load() is None
        opened.save(STATE)
    assert (directory.path / "state.json.corrupt").read_bytes() == content
    assert len(directory.reported) == 1
    assert "state.json is corrupt" in directory.reported[0]
    assert directory.load() == STATE


def test_a_newer_versions_file_is_kept_under_another_name(directory: Directory) -> None:
    with directory.open() as opened:
        opened.save(STATE)
    newer = json.dumps({"schema": SCHEMA + 1, "state": {}})
    (directory.path / "state.json").write_text(newer)
    assert directory.load() is None
    assert (directory.path / f"state.json.schema-{SCHEMA + 1}").read_text() == newer
    assert f"has schema {SCHEMA + 1}, this version reads {SCHEMA}" in directory.reported[0]


def test_a_state_the_caller_cannot_use_is_moved_aside_too(directory: Directory) -> None:
    with directory.open() as opened:
        opened.save(STATE)
        opened.refuse("KeyError: 'beliefs'")
        assert opened.load() is None
    assert (directory.path / "state.json.corrupt").exists()
    assert "KeyError: 'beliefs'" in directory.reported[0]


def test_a_second_process_is_told_who_holds_the_directory(directory: Directory) -> None:
    program = (
        "import sys; from pathlib import Path; from xds_server.store.state_file import StateFile\n"
        "held = StateFile(Path(sys.argv[1]), print); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(directory.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError) as refused:
            directory.open()
        assert str(refused.value) == f"state directory {directory.path} is in use by process {holder.pid}"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert directory.load() is None  # the lock went with the process


def test_a_closed_directory_can_be_opened_again(directory: Directory) -> None:
    first = directory.open()
    with pytest.raises(StateError, match="in use"):
        directory.open()
    first.close()
    first.close()
    directory.open().close()


def test_a_path_that_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"state directory .*file.* cannot be used: "):
        StateFile(tmp_path / "file", print)


def test_a_disk_that_takes_no_more_leaves_the_old_state(directory: Directory) -> None:
    """A file size limit makes the write fail half-way, as a full disk does."""
    with directory.open() as opened:
        opened.save(STATE)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(StateError, match=r"state\.json cannot be written: file too large"):
                opened.save({"big": "x" * 100_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, previous)
    assert directory.load() == STATE


def test_a_temporary_file_of_a_crashed_process_is_no_obstacle(directory: Directory) -> None:
    with directory.open() as opened:
        (directory.path / "state.json.new").write_text('{"half')
        opened.save(STATE)
    assert directory.load() == STATE
