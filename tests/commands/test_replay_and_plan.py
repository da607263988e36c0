"""`xds-server replay` and `xds-server plan` as a person or a CI job runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.record.world import policy, record
from xds_server.cli import main

POLICY = """
version: 1
regions:
  east: {latency: {west: 80ms, south: 120ms}}
  west: {latency: {south: 50ms}}
  south: {}
services:
  shop:
    hosts: [shop.demo]
    demand: {east: 600, west: 300, south: 100}
    deployments:
      east: {capacity: 1000, endpoints: ["10.0.0.1:80"]}
      west: {capacity: 1000, endpoints: ["shop.west:80"]}
      south: {capacity: 500, endpoints: ["10.0.2.1:80"]}
  cart:
    hosts: [cart.demo]
    demand: {east: 100, west: 100, south: 100}
    deployments:
      east: {capacity: 200, endpoints: ["10.0.0.2:80"]}
      west: {capacity: 200, endpoints: ["10.0.1.2:80"]}
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def test_the_plan_of_one_loss_is_a_table(file: Path) -> None:
    result = run("plan", file, "--without", "east", "--service", "shop")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("shop without east: 600 req/s must move\n")
    assert "N-1, when it is confirmed: fits" in result.output


def test_the_proof_fails_where_a_loss_does_not_fit(file: Path) -> None:
    assert run("plan", file, "--all", "--service", "shop").exit_code == 0
    result = run("plan", file, "--all")
    assert result.exit_code == 1
    rows = {tuple(line.split()[:2]): line for line in result.output.splitlines()[1:]}
    assert len(rows) == 5
    assert rows["south", "shop"].endswith("fits")
    assert "DOES NOT FIT, 100 req/s too many" in rows["east", "cart"]


@pytest.mark.parametrize("demand", ["1.5", "×1.5", "x1.5", "1.5x", "150%", "+50%"])
def test_demand_is_a_factor_however_it_is_written(file: Path, demand: str) -> None:
    answer = json.loads(run("plan", file, "--without", "east", "--demand", demand, "--json").output)
    assert answer["demand"] == 1.5
    shop = next(loss for loss in answer["losses"] if loss["service"] == "shop")
    assert sum(shop["before_rps"].values()) == pytest.approx(1500, abs=0.01)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--all", "--without", "east"), "give --without REGION, or --all"),
        ((), "give --without REGION, or --all"),
        (("--without", "east", "--without", "west"), "give --without once"),
        (("--all", "--demand", "much"), "is not a factor"),
        (("--all", "--demand=-100%"), "is not above 0"),
        (("--all", "--demand", "0"), "is not above 0"),
        (("--all", "--admin", "http://127.0.0.1:1"), "give a POLICY file, or --admin for a running process, not both"),
        (("--without", "north"), "no region with a deployment 'north'; there is: east, south, west"),
        (("--all", "--service", "till"), "no service 'till'; there is: cart, shop"),
    ],
)
def test_what_cannot_be_answered_is_said(file: Path, args: tuple[str, ...], words: str) -> None:
    result = run("plan", file, *args)
    assert result.exit_code in {1, 2}
    assert words in result.output


def test_a_process_that_is_not_there_is_one_line() -> None:
    result = run("plan", "--admin", "http://127.0.0.1:1", "--all")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "http://127.0.0.1:1/api/v1/plan" in result.output


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A state directory with a record of two segments that was cut off while it was written."""
    directory = tmp_path / "state" / "record"
    directory.mkdir(parents=True)
    for number, segment in enumerate(record(7, 120, every=60).segments[:2], 1):
        (directory / f"{number:08}.rec").write_bytes(segment[:-3] if number == 2 else segment)
    return directory.parent


def test_a_replay_says_that_everything_is_the_same_again(log: Path) -> None:
    result = run("replay", log)
    assert result.exit_code == 0, result.output
    assert "119 steps" in result.output
    assert "all the same again" in result.output
    assert "note: 00000002.rec: the last frame is torn" in result.output
    assert (
        json.loads(CliRunner().invoke(main, ["replay", str(log / "record"), "--json"]).stdout)["runs"][0]["steps"]
        == 119
    )


def test_a_replay_under_another_policy_is_a_table(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.replace("capacity: 1000", "capacity: 300"))
    result = run("replay", log, "--policy", other)
    assert result.exit_code == 0, result.output
    assert "shop from east" in result.output
    assert " → " in result.output
    assert "no evidence in the record, taken for healthy: cart in east, cart in west" in result.output
    changes = json.loads(CliRunner().invoke(main, ["replay", str(log), "--policy", str(other), "--json"]).stdout)
    assert {change["service"] for change in changes["changes"]} == {"shop", "cart"}


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "00000001.rec").write_text("hello")
    result = run("replay", tmp_path)
    assert result.exit_code == 1
    assert "00000001.rec: not a record, or not one of this version" in result.output
    assert policy().services


@pytest.mark.parametrize("under", [(), ("--policy", "examples/policy.yaml")])
def test_where_there_is_no_record_nothing_is_said_of_it(tmp_path: Path, under: tuple[str, ...]) -> None:
    result = run("replay", tmp_path, *under)
    assert result.exit_code == 1
    assert f"{tmp_path}: no record: `xds-server serve --state-dir DIR` keeps one" in result.output
    (tmp_path / "00000001.rec").write_bytes(b"xds-serv")
    assert "no record: 00000001.rec: nothing in it yet" in run("replay", tmp_path, *under).output


def test_a_segment_that_was_only_begun_does_not_spoil_those_before_it(log: Path) -> None:
    (log / "record" / "00000003.rec").touch()
    result = run("replay", log)
    assert result.exit_code == 0, result.output
    assert "note: 00000003.rec: nothing in it yet" in result.output
