"""Plays every scenario file and compares the outcome with what is on file; `--rewrite` writes it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.decision.scenario import FILES, play


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    before = path.read_text()
    after = play(before)
    if request.config.getoption("--rewrite"):
        path.write_text(after)
    else:
        assert after == before


def test_there_are_scenarios() -> None:
    assert FILES
