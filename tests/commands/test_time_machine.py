"""A real process: asked what would be if, killed without warning, and what it decided replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.access.world import served, until
from xds_server.cli import main


def run(*args: object) -> tuple[int, Any]:
    result = CliRunner().invoke(main, [*map(str, args), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_process_answers_what_if_and_its_record_replays_after_a_kill(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with served(tmp_path, "--state-dir", state) as process:
        code, answer = run("plan", "--admin", f"http://{process.admin}", "--without", "east", "--demand", "2")
        assert code == 0
        assert sum(answer["losses"][0]["before_rps"].values()) == 300
        until(lambda: _replayed(state))
        process.kill()
    code, answer = run("replay", state)
    assert code == 0
    (record,) = answer["runs"]
    assert record["difference"] is None
    assert record["decisions"] >= 1


def _replayed(state: Path) -> bool:
    """Return whether the record, which is being written, holds some decided steps already."""
    result = CliRunner().invoke(main, ["replay", str(state), "--json"])
    return result.exit_code == 0 and json.loads(result.stdout)["runs"][0]["decisions"] >= 1
