"""Every release takes all that `xds-server serve` sends it, though it rejects what it does not know."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.envoy_matrix.releases import binary
from tests.support import decisions as made
from tests.support.control_plane import ControlPlane
from tests.support.envoy import LIMIT_S, EnvoyProcess, validate
from xds_server.demo.ports import Ports
from xds_server.model import ViewKey
from xds_server.policy.types import DEFAULT_FLEET, Protocol
from xds_server.snapshot.bootstrap import BootstrapOptions, static_bootstrap, to_yaml
from xds_server.snapshot.build import build
from xds_server.snapshot.kinds import ENVOY, SINCE, kind_of

pytestmark = pytest.mark.envoy

PROGRAM = str(Path(sys.executable).with_name("xds-server"))
STRICT = ("--reject-unknown-dynamic-fields",)
KINDS = sorted({kind_of("envoy", f"{major}.{minor - 1}.0") for major, minor in SINCE.values()} | {ENVOY})

POLICY = """
version: 1
regions:
  us-east-1: {{latency: {{eu-west-1: 80ms}}}}
  eu-west-1: {{}}
defaults:
  health: {{type: tcp}}
services:
  plain:
    hosts: [plain.demo]
    deployments:
      us-east-1: {{endpoints: ["127.0.0.1:{port}"], capacity: 100}}
      eu-west-1: {{endpoints: ["localhost:{port}"], capacity: 100}}
  remote:
    protocol: grpc
    deployments:
      us-east-1: {{endpoints: ["127.0.0.1:{port}"], capacity: 100}}
  second:
    protocol: http2
    deployments:
      eu-west-1: {{endpoints: ["127.0.0.1:{port}"], capacity: 100}}
fleets:
  default: {{listen: "127.0.0.1:{listen}"}}
"""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def backend() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def get(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request("GET", "/", headers={"host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def fleet(admin: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://{admin}/api/v1/fleet", timeout=LIMIT_S) as response:
        found: list[dict[str, Any]] = json.load(response)["clients"]
        return found


@pytest.mark.parametrize("options", [(), ("--delta",)], ids=["sotw", "delta"])
def test_takes_everything_and_routes(tmp_path: Path, release: str, options: tuple[str, ...]) -> None:
    with backend() as port, closing(Ports(1, random.Random())) as free:
        policy = tmp_path / "policy.yaml"
        policy.write_text(POLICY.format(port=port, listen=free.numbers[0]))
        with ControlPlane(policy, "--log-level", "error") as at:
            bootstrap = [
                PROGRAM,
                "bootstrap",
                *options,
                "--region",
                "us-east-1",
                "--xds",
                at.xds,
                "--admin-port",
                "0",
            ]
            text = subprocess.run(bootstrap, check=True, capture_output=True, text=True).stdout
            with EnvoyProcess(tmp_path, text, program=binary(release), flags=STRICT) as envoy:
                assert get(envoy.listener_port(), "plain.demo") == 200
                stats = envoy.stats("(update_(rejected|success)|unknown_fields|deprecated_feature_use)$")
                (client,) = fleet(at.admin)
    for accepted in ("listener_manager.lds", "cluster_manager.cds", "http.outbound.rds.outbound"):
        assert stats[f"{accepted}.update_success"] >= 1, stats
    refused = {name: n for name, n in stats.items() if not name.endswith("update_success") and n}
    assert not refused
    assert stats["server.static_unknown_fields"] == stats["server.dynamic_unknown_fields"] == 0
    assert client["kind"] == kind_of("envoy", client["version"], delta=bool(options))
    assert ("VHDS" in client["types"]) == (bool(options) and release != "1.36")
    assert {t: said["nacked"] for t, said in client["types"].items()} == dict.fromkeys(client["types"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_view_is_valid(tmp_path: Path, release: str, kind: str) -> None:
    services = [made.service("plain"), made.service("remote", protocol=Protocol.GRPC)]
    policy = made.policy(services)
    view = ViewKey(DEFAULT_FLEET, "us-east-1", kind)
    snapshot = build(policy, made.even(policy), view, made.addresses(policy))
    options = BootstrapOptions("us-east-1", "n1", DEFAULT_FLEET, "127.0.0.1", 1, admin_port=0)
    assert validate(tmp_path, to_yaml(static_bootstrap(options, snapshot)), program=binary(release)) == ""
