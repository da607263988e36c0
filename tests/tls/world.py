"""A control plane that speaks TLS, its authorities, and Envoys that show what they were given."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.support.certificates import Authority, Files
from tests.support.control_plane import LIMIT_S, ControlPlane
from tests.support.envoy import EnvoyProcess
from tests.support.waiting import wait_until
from xds_server.cli import main

NAME = "control-plane.example"


class Realm:
    """One authority, a control plane with a certificate of it, and Envoys. Ends with its stack."""

    def __init__(self, directory: Path, stack: ExitStack, policy: str) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.policy = directory / "policy.yaml"
        self.policy.write_text(policy)
        self.server = self.authority.issue("server", NAME, "127.0.0.1")
        self._stack = stack

    def serve(self, *options: str) -> ControlPlane:
        files = ["--xds-cert", self.server.certificate, "--xds-key", self.server.key, "--xds-ca", self.authority.file]
        self.control_plane = ControlPlane(self.policy, *files, *options, "--state-dir", self.directory / "state")
        self._stack.callback(self.control_plane.stop)
        return self.control_plane

    def bootstrap(self, node: str, shown: Files | None, trusted: Path | None = None, *options: str) -> str:
        words = ["bootstrap", "--id", node, "--region", "us-east-1", "--cluster", "web", "--admin-port", "0", *options]
        words += ["--xds", self.control_plane.xds, "--xds-name", NAME]
        words += ["--ca", str(trusted or self.authority.file)]
        words += ["--cert", str(shown.certificate), "--key", str(shown.key)] if shown else []
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return done.output

    def envoy(self, node: str, shown: Files | None, trusted: Path | None = None, *options: str) -> EnvoyProcess:
        """Return an Envoy to be started; what takes a minute in its bootstrap takes a second."""
        place = self.directory / node
        place.mkdir()
        text = self.bootstrap(node, shown, trusted, *options)
        assert "max_connection_duration: 60s" in text
        text = text.replace("max_connection_duration: 60s", "max_connection_duration: 1s")
        return EnvoyProcess(place, text, wait_ready=False)

    def events(self, kind: str) -> list[dict[str, Any]]:
        entries = json.loads(self.control_plane.get("/api/v1/events"))["events"]
        return [entry for entry in entries if entry["kind"] == kind]

    def until(self, what: str, condition: Callable[[], object]) -> None:
        wait_until(condition, LIMIT_S, lambda: f"no {what}\n{self.control_plane.log}")


def connected(envoy: EnvoyProcess) -> bool:
    """Return whether an Envoy has had clusters from a control plane."""
    return envoy.stats("cluster_manager.cds.update_success").get("cluster_manager.cds.update_success", 0) > 0
