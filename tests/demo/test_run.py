"""Whole runs through the command line: real backends, real Envoys, the real control plane. And what they leave behind.

Each run gets a temporary directory of its own, which stands in the command line of each of its processes: that is how
the tests tell a run's processes from anybody else's.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from tests.support.waiting import wait_until
from xds_server.demo.command import demo, demo_fault

pytestmark = pytest.mark.envoy
LIMIT_S = 90.0
DEMO = [sys.executable, "-m", "xds_server", "demo"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A short name: the run's socket lives below it."""
    with tempfile.TemporaryDirectory(prefix="run-") as directory:
        yield Path(directory)


def processes_of(place: Path) -> dict[int, str]:
    """The processes that name the run's directory and have not ended."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if entry.name.isdecimal() and f"{place}/" in command:
            found[int(entry.name)] = command
    return found


def run_until(condition: Callable[[], bool], run: subprocess.Popen[str], out: Path) -> None:
    def come_true() -> bool:
        found = condition()
        assert found or run.poll() is None, out.read_text()
        return found

    wait_until(come_true, LIMIT_S, out.read_text)


@contextmanager
def started(place: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a run with plain output into a file."""
    out = place / "out"
    with out.open("w") as file:
        environment = {**os.environ, "TMPDIR": str(place)}
        run = subprocess.Popen([*DEMO, *options], env=environment, stdout=file, stderr=file, text=True)
        try:
            yield run, out
        finally:
            run.kill()
            run.wait()


def loaded(out: Path) -> bool:
    return "req/s" in out.read_text()


def test_a_headless_run_writes_a_valid_report_and_leaves_nothing_behind(place: Path) -> None:
    report_file = place / "report.json"
    options = ["--headless", "--duration", "9", "--rps", "120", "--fault", "kill:us-east-1@3"]
    with started(place, *options, "--report", str(report_file)) as (run, out):
        assert run.wait(LIMIT_S) == 0, out.read_text()
    report = json.loads(report_file.read_text())
    jsonschema.validate(report, json.loads(files("xds_server.demo").joinpath("report.schema.json").read_text()))
    assert report["completed"]
    assert report["requests_total"] == 1080
    assert report["failed_by_kind"]["read"] == report["failed_by_kind"]["keyed_write"] == 0
    assert report["duplicated_writes"] == 0
    (kill,) = report["faults"]
    assert kill["detected_ms"] is not None
    assert kill["shifted_ms"] is not None
    assert kill["during"]["requests"] > 0
    assert report["weights"][-1]["by_view"]["us-east-1"].get("us-east-1", 0) == 0
    assert report["weights"][0]["by_view"]["us-east-1"]["us-east-1"] > 0
    assert report["attempts_total"] >= report["requests_total"] - report["requests_failed"]
    assert report["control_plane"]["rss_max_mb"] > 0
    assert "1,080 requests in 9 s" in out.read_text()
    assert processes_of(place) == {}
    assert not list(place.glob("xds-server-demo-*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_how_it_went_and_leaves_nothing_behind(place: Path, how: signal.Signals) -> None:
    with started(place, "--rps", "40", "--fault", "blackhole:eu-west-1@0.1") as (run, out):
        run_until(lambda: loaded(out) and "fault injected" in out.read_text(), run, out)
        run.send_signal(how)
        assert run.wait(LIMIT_S) == 0, out.read_text()
    assert "requests in" in out.read_text()
    assert processes_of(place) == {}
    assert not list(place.glob("xds-server-demo-*"))


def test_a_run_that_is_killed_takes_every_process_with_it(place: Path) -> None:
    with started(place, "--rps", "40", "--fault", "blackhole:controlplane@0.1") as (run, out):
        run_until(lambda: loaded(out) and "fault injected" in out.read_text(), run, out)
        assert len(processes_of(place)) >= 13  # 8 backends, 4 Envoys, the control plane
        run.kill()
        run.wait()
        wait_until(lambda: not processes_of(place), LIMIT_S, lambda: processes_of(place))


def test_a_run_that_is_stopped_while_starting_leaves_nothing_behind(place: Path) -> None:
    with started(place) as (run, out):
        run_until(lambda: "backends" in out.read_text(), run, out)
        run.send_signal(signal.SIGTERM)
        assert run.wait(LIMIT_S) == 130, out.read_text()
    assert processes_of(place) == {}


def test_people_can_break_and_mend_it_from_another_terminal_and_an_envoy_that_dies_is_reported(place: Path) -> None:
    with started(place, "--rps", "40") as (run, out):
        run_until(lambda: loaded(out), run, out)
        (directory,) = place.glob("xds-server-demo-*")

        def tell(fault: str) -> str:
            return CliRunner().invoke(demo_fault, [fault, "--demo", str(directory)]).output

        assert tell("kill:sa-east-1") == "done: kill:sa-east-1\n"
        assert "does not run (last fault: kill)" in tell("slow:300:sa-east-1")
        assert tell("restore:sa-east-1") == "done: restore:sa-east-1\n"
        policy = directory / "policy.yaml"
        policy.write_text(policy.read_text().replace("reserve:", "reserves:"))
        run_until(lambda: "reserves" in out.read_text(), run, out)
        (envoy,) = [pid for pid, command in processes_of(place).items() if "envoy-eu-west-1.yaml" in command]
        os.kill(envoy, signal.SIGKILL)
        assert run.wait(LIMIT_S) == 1
    assert "the Envoy of eu-west-1 ended with status -9" in out.read_text()
    assert processes_of(place) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fault", "melt:us-east-1@3"], "no fault is called 'melt'"),
        (["--headless", "--fault", "kill:us-east-1@31"], "the run ends after 30 s"),
        (["--report", "/nowhere/at/all/report.json"], "there is no directory /nowhere/at/all"),
        (["--rps", "0"], "0.0 is not in the range"),
    ],
)
def test_wrong_usage_is_refused_before_anything_starts(options: list[str], words: str) -> None:
    result = CliRunner().invoke(demo, options)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_without_a_demo_there_is_nobody_to_tell(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    result = CliRunner().invoke(demo_fault, ["kill:us-east-1"])
    assert (result.exit_code, result.output) == (1, "Error: no demo is running\n")


def test_a_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    result = CliRunner().invoke(demo, [])
    assert result.exit_code == 1
    assert (
        result.output
        == "Error: the demo needs rich, which is not installed: in a copy of the source, pip install '.[demo]'\n"
    )
