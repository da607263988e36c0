"""`status`, `explain`, `history` and `events` against a running admin side, and against a real process that dies."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result

from tests.history.world import AT_HOME, AWAY, T0, in_memory, made
from tests.operator.world import Process, client, decision, serving
from tests.signals.world import in_loop
from tests.support.control_plane import LIMIT_S, ControlPlane, serve_command
from tests.support.waiting import wait_until
from xds_server.cli import main
from xds_server.model import Event
from xds_server.screens.times import shown


def run(*args: object) -> Result:
    return CliRunner().invoke(main, list(map(str, args)))


async def ask(site: Any, *args: object) -> Result:
    return await asyncio.to_thread(run, *args, "--admin", site.base)


@in_loop
async def test_status_says_by_its_exit_code_whether_an_alarm_holds() -> None:
    async with serving(Process(decided=decision(), connected=(client("web-1"),))) as site:
        screen, as_json = await ask(site, "status"), await ask(site, "status", "--json")
        one = await ask(site, "status", "--service", "search")
    assert (screen.exit_code, as_json.exit_code) == (3, 3)
    assert "region.down" in screen.output
    assert "search from" in screen.output
    assert "checkout from" not in one.output
    found = json.loads(as_json.output)
    assert [alarm["kind"] for alarm in found["alarms"]] == ["client.nack", "region.down"]
    assert found["services"][1]["regions"]["us-east-1"]["health"] == "healthy"
    async with serving(Process(reason="waiting for evidence")) as site:
        waiting = await ask(site, "status")
    assert waiting.exit_code == 3
    assert "not ready: waiting for evidence" in waiting.output


@in_loop
async def test_explain_is_of_now_or_of_then() -> None:
    past = in_memory()
    past.decide(made(AT_HOME))
    past.chronicle.happened(Event("order.placed", 0.0, "hold: ordered by ann"), T0 + 12)
    past.chronicle.happened(Event("order.placed", 0.0, "other", fields=(("service", "search"),)), T0 + 13)
    past.decide(made(AWAY, down="us-east-1"))
    async with serving(Process(decided=decision(), chronicle=past.chronicle)) as site:
        now = await ask(site, "explain", "checkout", "--view", "sa-east-1")
        then = await ask(site, "explain", "checkout", "--at", shown(T0 + 15), "--json")
        later = await ask(site, "explain", "checkout", "--at", shown(T0 + 25))
        failures = [
            await ask(site, "explain", *words)
            for words in (["nothing"], ["checkout", "--view", "mars"], ["checkout", "--at", shown(T0)])
        ]
    assert now.exit_code == 0
    assert now.output.startswith("checkout, now\n")
    assert "from sa-east-1, 100 req/s\n  us-east-1       70 %  test" in now.output
    assert json.loads(then.output)["decision"]["views"][0]["weights"]["us-east-1"] == 7000
    assert later.output.startswith("checkout, as decided at 2023-11-14 22:13:40Z under policy p1\n")
    assert "connection refused" in later.output
    ordered = "\n\nordered until then\n2023-11-14 22:13:32Z  order.placed        hold: ordered by ann\n"
    assert later.output.endswith(ordered)
    assert [failed.exit_code for failed in failures] == [1, 1, 1]
    assert "there is no service 'nothing'; there is: checkout, search" in failures[0].output
    assert "there is no view 'mars'; there is: ap-southeast-1" in failures[1].output
    assert "no decision for 'checkout' at that time is kept" in failures[2].output


@in_loop
async def test_history_goes_over_pages_and_shows_what_changed() -> None:
    past = in_memory()
    past.decide(made(AT_HOME))
    for number in range(1_500):
        past.chronicle.happened(Event("client.gone", 0.0, f"event {number}"), T0 + 11)
    past.decide(made(AWAY, down="us-east-1"))
    async with serving(Process(chronicle=past.chronicle)) as site:
        newest = await ask(site, "history", "--limit", 2)
        all_json = await ask(site, "history", "--limit", 5_000, "--json", "--from", shown(T0 - 9))
        none = await ask(site, "history", "--kind", "order")
        changed = await ask(site, "history", "--diff", shown(T0 + 15), shown(T0 + 25))
        bad = await ask(site, "history", "--from", "yesterday")
    words = "checkout: us-east-1 healthy → down; weights of 4 of 4 views"
    assert newest.output.splitlines() == [
        "2023-11-14 22:13:31Z  client.gone         event 1499",
        f"2023-11-14 22:13:40Z  decision            {words}",
    ]
    assert len(json.loads(all_json.output)["entries"]) == 1_502
    assert none.output == "nothing that fits is kept\n"
    assert (
        "  us-east-1: healthy → down\n  from ap-southeast-1: eu-west-1 30 % → 100 %, us-east-1 70 % → 0"
        in changed.output
    )
    assert (bad.exit_code, "from: 'yesterday' is not a time" in bad.output) == (1, True)


# A real process.

POLICY = """
version: 1
regions: {{east: {{latency: {{west: 80ms}}}}, west: {{}}}}
defaults: {{health: {{type: tcp, interval: 500ms, timeout: 450ms}}}}
services:
  shop:
    hosts: [shop.demo]
    demand: {{east: 100, west: 50}}
    deployments:
      east: {{capacity: 200, endpoints: ["127.0.0.1:{east}"]}}
      west: {{capacity: 200, endpoints: ["127.0.0.1:{west}"]}}
"""


def a_process(policy: Path, admin: str) -> ControlPlane:
    return ControlPlane(policy, "--state-dir", policy.with_name("state"), "--admin", admin)


def alarms(admin: str) -> Any:
    return json.loads(run("status", "--admin", admin, "--json").output)["alarms"]


def until_down(admin: str) -> Any:
    """Return the alarms, once the death of east is one."""
    dead = ["region.down"]
    wait_until(lambda: [alarm["kind"] for alarm in alarms(admin)] == dead, LIMIT_S, lambda: alarms(admin))
    return alarms(admin)


def kept(admin: str, kind: str) -> Any:
    """Return what of a kind stands in history."""
    return json.loads(run("history", "--admin", admin, "--kind", kind, "--json").output)["entries"]


def next_of(lines: IO[str], kind: str) -> Any:
    """Return the next event of a kind; fails if the lines end before."""
    for line in iter(lines.readline, ""):
        event = json.loads(line)
        if event["kind"] == kind:
            return event
    raise AssertionError(f"no {kind}")


@contextmanager
def a_backend() -> Iterator[socket.socket]:
    """Take connections, and let go of them, until it is closed."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                backend.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as backend:
        accepting = threading.Thread(target=serve)
        accepting.start()
        yield backend
        with suppress(OSError):
            backend.shutdown(socket.SHUT_RDWR)
    accepting.join()


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    with a_backend() as east, a_backend() as west:
        ports = {"east": east.getsockname()[1], "west": west.getsockname()[1]}
        path = tmp_path / "policy.yaml"
        path.write_text(POLICY.format(**ports))
        yield path, east


def test_a_region_dies_and_the_process_after_it_and_all_of_it_can_be_asked(
    policy: tuple[Path, socket.socket],
) -> None:
    path, east = policy
    with a_process(path, "127.0.0.1:0") as process:
        admin = process.admin
        calm = run("status", "--admin", admin)
        assert calm.exit_code == 0, calm.output
        second = serve_command(path, "--state-dir", path.with_name("state"))
        refused = subprocess.run(second, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        words = f"Error: state directory {path.parent}/state is in use by process {process.ready['pid']}\n"
        assert (refused.returncode, refused.stderr) == (1, words)
        follow = [sys.executable, "-m", "xds_server", "events", "--follow", "--json", "--admin", admin]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stderr is not None
            limit = threading.Timer(LIMIT_S, follower.kill)
            limit.start()
            try:
                next_of(follower.stdout, "server.ready")
                east.shutdown(socket.SHUT_RDWR)
                east.close()
                assert next_of(follower.stdout, "region.down")["fields"]["region"] == "east"
                (alarm,) = until_down(admin)
                moved = time.time()
                wait_until(lambda: kept(admin, "region.down"), LIMIT_S, lambda: "nothing is kept")
                process.kill()
                assert follower.stderr.readline().startswith("cut off, trying again: ")
                with a_process(path, admin) as again:
                    next_of(follower.stdout, "server.ready")
                    _assert_all_is_there(again.admin, alarm["since"] - 0.2, moved)
            finally:
                limit.cancel()
                follower.send_signal(signal.SIGINT)
            assert follower.wait(LIMIT_S) == 0


def _assert_all_is_there(admin: str, fell: float, moved: float) -> None:
    """A process that has just started tells what the one before it did."""
    before, after = (
        json.loads(run("explain", "shop", "--admin", admin, "--at", shown(at), "--json").output)["decision"]
        for at in (fell - 0.3, moved)
    )
    weights = [{view["view"]: view["weights"] for view in one["views"]} for one in (before, after)]
    assert weights[0]["east"] == {"east": 10_000, "west": 0}
    assert weights[1]["east"] == {"east": 0, "west": 10_000}
    kinds = json.loads(run("history", "--admin", admin, "--json", "--region", "east").output)["entries"]
    assert "region.down" in {entry["kind"] for entry in kinds}
    status = json.loads(run("status", "--admin", admin, "--json").output)
    assert status["services"][0]["regions"]["east"]["share"] == 0  # a restart moves nothing
