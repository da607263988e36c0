"""A control plane that is killed in mid-trial, and real Envoys: the trial begins again when they are back."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from os import kill
from pathlib import Path

import pytest

from tests.commands.test_retry_envoy import Scene, listening
from tests.support.envoy import EnvoyProcess
from xds_server.demo.ports import Ports

pytestmark = pytest.mark.envoy

REJECTED = "listener_manager.lds.update_rejected"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_it_is_tried_again_by_a_cohort_and_rolled_back_and_the_rest_never_sees_it(
    tmp_path: Path, stack: ExitStack
) -> None:
    scene, ports = Scene(tmp_path), Ports(2, random.Random())
    stack.callback(scene.taken.close)
    stack.callback(ports.close)
    port, xds = ports.numbers
    scene.listen_on(port)
    control_plane = scene.serve("--xds", f"127.0.0.1:{xds}")
    stack.callback(control_plane.stop)
    envoys = [stack.enter_context(scene.envoy(name)) for name in ("e1", "e2")]
    scene.until("listeners", lambda: all(envoy.stats("listener_manager.listener_added") for envoy in envoys))
    scene.until("peace", lambda: scene.run("fleet").exit_code == 0)
    before = control_plane.policy()["digest"]

    stopped(envoys, signal.SIGSTOP)  # a trial that goes on for as long as they say nothing
    scene.listen_on(scene.taken.getsockname()[1])
    scene.until("trial", lambda: "on trial: policy " in scene.run("status").output)
    edit = control_plane.policy()["trial"]
    control_plane.kill()
    stopped(envoys, signal.SIGCONT)

    control_plane = scene.serve("--xds", f"127.0.0.1:{xds}")
    stack.callback(control_plane.stop)
    policy = control_plane.policy()
    assert (policy["digest"], policy["trial"], policy["rejected"]) == (before, edit, None)
    assert f"policy {edit} was on trial when the process before ended: policy {before} is in force" in control_plane.log
    scene.until("rollback", control_plane.rejected)
    policy = control_plane.policy()
    assert (policy["digest"], policy["trial"]) == (before, None)
    assert "cannot bind" in policy["rejected"]["errors"][0]
    assert sorted(envoy.stats(REJECTED)[REJECTED] for envoy in envoys) in ([0, 1], [1, 1], [0, 2])
    assert listening(port)


def stopped(envoys: list[EnvoyProcess], how: signal.Signals) -> None:
    for envoy in envoys:
        kill(envoy.pid, how)
