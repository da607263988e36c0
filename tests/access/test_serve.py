"""A real process and its file of tokens."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from tests.access.world import argv, served, until
from tests.support.control_plane import LIMIT_S
from xds_server.operator.tokens import Role, line_of
from xds_server.process.admin_access import read_tokens


def tokens(directory: Path, *lines: str) -> Path:
    """Write the file as an editor does."""
    path, beside = directory / "tokens", directory / "tokens.new"
    beside.write_text("\n".join(lines) + "\n")
    beside.chmod(stat.S_IRUSR | stat.S_IWUSR)
    beside.replace(path)
    return path


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--admin", "0.0.0.0:0"], "is served on loopback addresses alone"),
        (["--admin", "0.0.0.0:0", "--admin-tokens", "tokens"], "tokens:1: a line is NAME ROLE sha256:HEX"),
    ],
)
def test_a_start_that_would_let_in_anybody_or_nobody_is_refused(tmp_path: Path, flags: list[str], words: str) -> None:
    tokens(tmp_path, "alice")
    done = subprocess.run(
        argv(tmp_path, *flags), capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_is_followed_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tokens(tmp_path, line_of("alice", Role.VIEW, "t-one"))
    path.chmod(0o644)
    with served(tmp_path, "--admin-tokens", path, "--state-dir", tmp_path / "state") as server:

        def status(token: str | None, method: str = "GET", target: str = "/api/v1/fleet") -> int:
            return server.ask(target, token, method).status

        assert [status("t-one"), status("t-two"), status(None)] == [200, 401, 401]
        assert status("t-one", "POST", "/api/v1/retry") == 403
        assert status(None, target="/ready") == 200
        assert server.logged("level=warning", "event=admin.tokens", "others on this machine can read or change it")
        tokens(tmp_path, line_of("alice", Role.OPERATE, "t-one"), line_of("bob", Role.VIEW, "t-two"))
        until(lambda: status("t-two") == 200)
        assert status("t-one", "POST", "/api/v1/retry") == 200
        tokens(tmp_path, "alice operate t-one")
        until(lambda: server.logged("event=admin.tokens", "level=error", "those who were let in still are"))
        assert [status("t-one"), status("t-two")] == [200, 200]
        metrics = server.ask("/metrics", "t-two").text
        assert 'xds_server_admin_denied_total{reason="role"} 1.0' in metrics
        said = [server.ask(f"/api/v1/{name}", "t-two").text for name in ("events", "policy", "signals", "fleet")]
        assert server.logged("event=admin.denied", "no such token")
        assert server.process.poll() is None
    kept = [file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file()]
    assert kept
    everything = [server.log.encode(), metrics.encode(), *(text.encode() for text in said), *kept]
    assert not any(b"t-one" in text or b"t-two" in text for text in everything)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"\xff", "is not UTF-8"),
        (b"#" * (2**20 + 1), "larger than 1 MiB"),
        (b"alice", "tokens:1: a line is NAME ROLE"),
    ],
)
def test_why_a_file_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_bytes(content)
    found = read_tokens(path)
    assert isinstance(found, str)
    assert found.startswith(str(path))
    assert words in found
