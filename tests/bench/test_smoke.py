"""Every benchmark runs, at its smallest, and yields figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import BENCHMARKS

ROOT = Path(__file__).parents[2]
SAME_CODE = {"fault-blackhole": "fault-kill", "fault-errors": "fault-kill", "overload-marked": "overload-plain"}
"""Differ from the other in one argument of the demo, which has its own tests."""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in SAME_CODE])
def test_each_benchmark_runs_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    ended = bench("--quick", "--only", name, "--out", str(out))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    (benchmark,) = found["benchmarks"]
    assert benchmark["name"] == name
    assert benchmark["figures"]
    for figure in benchmark["figures"]:
        assert figure["values"], figure
        assert all(value >= 0 for value in figure["values"]), figure
        assert figure["what"] in ended.stdout


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path: Path) -> None:
    ended = bench("--only", "fautl", "--out", str(tmp_path / "results.json"))
    assert ended.returncode == 2
    assert all(name in ended.stdout for name in BENCHMARKS)
    assert not (tmp_path / "results.json").exists()
