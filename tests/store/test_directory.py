"""Who may hold a state directory, and what becomes of files in it that are of no use."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from xds_server.store.directory import StateDirectory, StateError, set_aside


def test_a_new_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "var" / "xds", print) as held:
        assert stat.S_IMODE(held.path.stat().st_mode) == 0o700


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from xds_server.store.directory import StateDirectory\n"
        "held = StateDirectory(Path(sys.argv[1]), print); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError) as refused:
            StateDirectory(tmp_path, print)
        assert str(refused.value) == f"state directory {tmp_path} is in use by process {holder.pid}"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    StateDirectory(tmp_path, print).close()  # the lock went with the process


def test_a_closed_directory_can_be_opened_again(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path, print)
    with pytest.raises(StateError, match="in use"):
        StateDirectory(tmp_path, print)
    first.close()
    first.close()
    StateDirectory(tmp_path, print).close()


def test_a_path_that_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"state directory .*file.* cannot be used: "):
        StateDirectory(tmp_path / "file", print)


def test_what_was_set_aside_earlier_is_not_overwritten(tmp_path: Path) -> None:
    reported: list[str] = []
    for text in ("one", "two", "three"):
        (tmp_path / "x").write_text(text)
        set_aside(tmp_path / "x", "corrupt", "is corrupt", reported.append)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"x.corrupt": "one", "x.corrupt.2": "two", "x.corrupt.3": "three"}
    assert reported[0] == f"{tmp_path}/x is corrupt; moved to {tmp_path}/x.corrupt, going on without it"
