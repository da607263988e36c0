"""The demo as people start it: one command, an exit status of 0, and a report that fits its schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.envoy.test_start import program
from xds_server.demo import report

pytestmark = pytest.mark.envoy

SCHEMA = Path(report.__file__).with_name("report.schema.json")


def test_a_headless_run_ends_with_a_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    faults = ["--fault", "kill:us-east-1@3", "--fault", "restore:us-east-1@8"]
    done = program("demo", "--headless", "--duration", "10", "--rps", "150", *faults, "--report", str(file))
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["completed"] is True
    assert found["requests_total"] == 1_500
    assert found["failed_by_kind"]["read"] == found["failed_by_kind"]["keyed_write"] == 0
    assert found["duplicated_writes"] == 0
    killed, restored = found["faults"]
    assert killed["detected_ms"] <= killed["shifted_ms"]
    assert (restored["detected_ms"], restored["shifted_ms"]) == (None, None)
