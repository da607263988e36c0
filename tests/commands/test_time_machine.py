"""A real process: asked what would be if, killed without warning, and what it decided replayed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from xds_server.cli import main

POLICY = """
version: 1
regions: {east: {latency: {west: 80ms}}, west: {}}
defaults: {health: {type: tcp, interval: 200ms, timeout: 100ms}}
services:
  shop:
    hosts: [shop.demo]
    demand: {east: 100, west: 50}
    deployments:
      east: {capacity: 200, endpoints: ["127.0.0.1:1"]}
      west: {capacity: 200, endpoints: ["127.0.0.1:2"]}
"""
LIMIT_S = 60.0


def run(*args: object) -> tuple[int, Any]:
    result = CliRunner().invoke(main, [*map(str, args), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_process_answers_what_if_and_its_record_replays_after_a_kill(tmp_path: Path) -> None:
    policy, state = tmp_path / "policy.yaml", tmp_path / "state"
    policy.write_text(POLICY)
    argv = [sys.executable, "-m", "xds_server", "serve", str(policy), "--state-dir", str(state)]
    argv += ["--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        code, answer = run("plan", "--admin", f"http://{ready['admin']}", "--without", "east", "--demand", "2")
        assert code == 0
        assert sum(answer["losses"][0]["before_rps"].values()) == 300
        until = time.monotonic() + LIMIT_S
        while not _replayed(state):
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
    code, answer = run("replay", state)
    assert code == 0
    (record,) = answer["runs"]
    assert record["difference"] is None
    assert record["decisions"] >= 1


def _replayed(state: Path) -> bool:
    """Return whether the record, which is being written, holds some decided steps already."""
    result = CliRunner().invoke(main, ["replay", str(state), "--json"])
    return result.exit_code == 0 and json.loads(result.stdout)["runs"][0]["decisions"] >= 1
