"""A taken port and a real Envoy: what it rejects is shown and kept back, and comes with a retry when it is free."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from envoy.service.status.v3 import csds_pb2

from tests.support.control_plane import LIMIT_S, ControlPlane
from tests.support.envoy import EnvoyProcess
from tests.support.waiting import wait_until
from xds_server.cli import main
from xds_server.demo.ports import Ports
from xds_server.transport.csds import SERVICE

pytestmark = pytest.mark.envoy

POLICY = """
version: 1
regions: {us-east-1: {}}
fleets: {default: {listen: "127.0.0.1:PORT"}}
services:
  shop:
    deployments:
      us-east-1: {endpoints: ["127.0.0.1:9"], capacity: 10}
"""


class Scene:
    """A control plane whose policy names a port that somebody else holds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.policy = directory / "policy.yaml"
        self.taken = socket.create_server(("127.0.0.1", 0))

    def listen_on(self, port: int) -> None:
        self.policy.write_text(POLICY.replace("PORT", str(port)))

    def serve(self, *options: str) -> ControlPlane:
        self.control_plane = ControlPlane(self.policy, "--state-dir", self.directory / "state", *options)
        return self.control_plane

    def envoy(self, name: str = "e1") -> EnvoyProcess:
        words = ["bootstrap", "--region", "us-east-1", "--id", name, "--xds", self.control_plane.xds]
        words += ["--admin-port", "0", "--no-load-reports", "--no-health-checks", "--no-access-logs"]
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        return EnvoyProcess(directory, CliRunner().invoke(main, words).output, wait_ready=False, cwd=directory)

    def run(self, command: str) -> Result:
        return CliRunner().invoke(main, [command, "--admin", self.control_plane.admin])

    def states(self) -> dict[str, tuple[str, str]]:
        """Return state and error of each resource, by CSDS."""
        with grpc.insecure_channel(self.control_plane.xds) as channel:
            answer = channel.unary_unary(f"/{SERVICE}/FetchClientStatus")(b"", timeout=LIMIT_S)
        configs = csds_pb2.ClientStatusResponse.FromString(answer).config
        return {
            f"{c.type_url.rpartition('.')[2]} {c.name}": (
                csds_pb2.ConfigStatus.Name(c.config_status),
                c.error_state.details,
            )
            for config in configs
            for c in config.generic_xds_configs
        }

    def until(self, what: str, condition: Callable[[], object]) -> None:
        wait_until(condition, LIMIT_S, lambda: f"no {what}\n{self.control_plane.log}")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with closing(made.taken):
        yield made


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def page(control_plane: ControlPlane) -> Any:
    return json.loads(control_plane.get("/api/v1/fleet"))


def test_a_listener_that_was_kept_back_comes_with_a_retry(scene: Scene) -> None:
    port = scene.taken.getsockname()[1]
    scene.listen_on(port)
    control_plane = scene.serve()
    try:
        with scene.envoy():
            scene.until("quarantine", lambda: page(control_plane)["quarantine"])
            shown = scene.run("fleet")
            assert shown.exit_code == 3
            assert "e1 rejected LDS" in shown.output
            assert "kept back from default/us-east-1/envoy: LDS" in shown.output
            (error,) = (error for state, error in scene.states().values() if state == "ERROR")
            assert "in use" in error
            assert "xds_server_quarantined_resources 1.0" in control_plane.get("/metrics")
            scene.taken.close()
            assert scene.run("retry").output == "tried again: 1 resources kept back, 1 clients\n"
            scene.until("a listener", lambda: listening(port))
            scene.until("peace", lambda: scene.run("fleet").exit_code == 0)
            scene.until("sync", lambda: {state for state, _ in scene.states().values()} == {"SYNCED"})
            assert page(control_plane)["quarantine"] == []
    finally:
        control_plane.stop()


def rolled_back(scene: Scene, control_plane: ControlPlane) -> str:
    """Edit the policy to a port that is taken, and wait until that was rolled back; return what was in force before."""
    scene.until("a client in sync", lambda: "SYNCED" in {state for state, _ in scene.states().values()})
    before: str = control_plane.policy()["digest"]
    scene.listen_on(scene.taken.getsockname()[1])
    scene.until("rollback", control_plane.rejected)
    return before


def test_a_policy_that_was_rolled_back_goes_on_trial_again_with_a_retry(scene: Scene) -> None:
    port = scene.taken.getsockname()[1]
    free = Ports(1, random.Random())
    scene.listen_on(free.numbers[0])
    control_plane = scene.serve()
    try:
        with scene.envoy():
            before = rolled_back(scene, control_plane)
            assert control_plane.policy()["digest"] == before
            scene.taken.close()
            assert "on trial again" in scene.run("retry").output
            scene.until("a listener", lambda: listening(port))
            scene.until("the new policy", lambda: control_plane.policy()["digest"] != before)
            assert control_plane.rejected() == []
    finally:
        control_plane.stop()
        free.close()


def test_a_policy_that_was_rolled_back_stays_so_over_a_restart_until_a_retry(scene: Scene) -> None:
    free = Ports(1, random.Random())
    scene.listen_on(free.numbers[0])
    control_plane = scene.serve()
    try:
        with scene.envoy():
            before = rolled_back(scene, control_plane)
        control_plane.stop()
        control_plane = scene.serve()
        assert (control_plane.policy()["digest"], len(control_plane.rejected())) == (before, 1)
        with scene.envoy():
            scene.until("the listener of before", lambda: listening(free.numbers[0]))
            scene.taken.close()
            assert "on trial again" in scene.run("retry").output
            scene.until("the new policy", lambda: control_plane.policy()["digest"] != before)
        after = control_plane.policy()
        assert after["rejected"] is None
        control_plane.stop()
        control_plane = scene.serve()
        assert control_plane.policy() == after
    finally:
        control_plane.stop()
        free.close()
