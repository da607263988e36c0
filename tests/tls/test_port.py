"""Real Envoys with real certificates on an xDS port that speaks mutual TLS: who gets in, and what rotation does."""

from __future__ import annotations

import json
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from tests.support.certificates import HOUR, Authority, Files, replace
from tests.support.envoy import EnvoyProcess
from tests.tls.world import NAME, Realm, connected
from xds_server.agent.client import AgentClient
from xds_server.cli import main
from xds_server.demo.ports import Ports

pytestmark = pytest.mark.envoy

US, EU = "spiffe://demo/us-east-1/web", "spiffe://demo/eu-west-1/web"
POLICY = """
version: 1
regions: {us-east-1: {latency: {eu-west-1: 80ms}}, eu-west-1: {}}
fleets: {web: {listen: "127.0.0.1:PORT"}}
clients:
  - {identity: "spiffe://demo/us-east-1/*", regions: [us-east-1], fleets: [web], nodes: ["us-*"]}
  - {identity: "spiffe://demo/eu-west-1/*", regions: [eu-west-1]}
  - {identity: monitor.example, regions: [us-east-1], agent: true}
services:
  shop: {deployments: {us-east-1: {endpoints: ["127.0.0.1:9"], capacity: 10}}}
"""


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with ExitStack() as stack:
        ports = stack.enter_context(closing(Ports(1, random.Random())))
        realm = Realm(tmp_path, stack, POLICY.replace("PORT", str(ports.numbers[0])))
        realm.serve()
        yield realm


def test_only_a_good_certificate_of_the_right_region_gets_in(realm: Realm) -> None:
    """Wrong authority, expired, none, another region's, and an Envoy that does not trust us: none is ever served."""
    issue, stranger = realm.authority.issue, Authority(realm.directory, "stranger")
    good = realm.envoy("us-good", issue("good", US))
    foreign = realm.envoy("us-foreign", issue("foreign", EU))
    failing = {
        "none": realm.envoy("us-none", None),
        "wrong authority": realm.envoy("us-wrong", stranger.issue("wrong", US)),
        "expired": realm.envoy("us-old", issue("old", US, ends=-HOUR)),
        "wrong name": realm.envoy("us-misled", issue("misled", US), stranger.file),
    }
    realm.until("a connected Envoy", lambda: connected(good))
    for what, envoy in {"foreign": foreign, **failing}.items():
        realm.until(what, partial(_failed_twice, envoy))
    for envoy in (foreign, *failing.values()):
        assert not connected(envoy)
        assert envoy.admin("/ready")[0] == 503
    assert failing["wrong name"].stats("fail_verify")["cluster.xds.ssl.fail_verify_error"] > 0
    words = f"the certificate of {EU} may not speak as node 'us-foreign' of fleet web in region us-east-1"
    assert words in foreign.log
    (denied,) = realm.events("client.denied")
    assert denied["message"].startswith(words)
    assert denied["fields"]["identity"] == EU
    fleet = json.loads(realm.control_plane.get("/api/v1/fleet"))
    assert [client["id"] for client in fleet["clients"]] == ["us-good"]
    metrics = realm.control_plane.get("/metrics")
    assert 'xds_server_denied_total{service="xds"}' in metrics
    assert 'xds_server_certificate_expiry_timestamp_seconds{certificate="xds"}' in metrics


def test_files_rotate_and_a_policy_that_no_longer_lets_a_client_in_ends_its_streams(realm: Realm) -> None:
    sds = realm.directory / "sds"
    sds.mkdir()
    shown = realm.authority.issue("good", US)
    envoy = realm.envoy("us-good", shown, None, "--sds-dir", str(sds))
    realm.until("a connected Envoy", lambda: connected(envoy))
    for service in ("lrs", "hds"):
        realm.until(service, partial(_streams_are, realm, service, 1))

    before = _presented(realm, shown)
    replace(realm.server.key, b"not a key")
    realm.until("an alarm", lambda: [e for e in realm.events("xds.certificate") if e["severity"] == "alarm"])
    assert str(realm.server.key) in realm.events("xds.certificate")[-1]["message"]
    assert _presented(realm, shown) == before
    realm.authority.issue("server", NAME, "127.0.0.1")
    realm.until("a new certificate", lambda: _presented(realm, shown) != before)

    updates = "cluster.xds.client_ssl_socket_factory.ssl_context_update_by_sds"
    loaded = envoy.stats(updates)[updates]
    realm.authority.issue("good", US)
    realm.until("the Envoy's own rotation", lambda: envoy.stats(updates)[updates] > loaded)

    realm.policy.write_text(realm.policy.read_text().replace('nodes: ["us-*"]', 'nodes: ["others"]'))
    realm.until("the end of its streams", lambda: realm.events("client.closed"))
    assert "PERMISSION_DENIED" in realm.events("client.closed")[0]["message"]
    for service in ("lrs", "hds"):
        realm.until(service, partial(_streams_are, realm, service, 0))
    assert json.loads(realm.control_plane.get("/api/v1/fleet"))["clients"] == []
    assert "PRIVATE" not in realm.control_plane.log


def test_an_agent_reports_on_the_regions_that_its_certificate_is_for(realm: Realm) -> None:
    def report(shown: Files, region: str) -> str:
        files = (realm.authority.file, shown.key, shown.certificate)
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        with AgentClient(realm.control_plane.ready["xds"], reporter="m", credentials=credentials) as client:
            try:
                client.report(region, healthy=True, timeout_s=30)
            except grpc.RpcError as error:
                return f"{error.code().name}: {error.details()}"
        return "taken"

    monitor, sidecar = realm.authority.issue("monitor", "monitor.example"), realm.authority.issue("sidecar", US)
    assert report(monitor, "us-east-1") == "taken"
    assert report(monitor, "eu-west-1").startswith(
        "PERMISSION_DENIED: the certificate of monitor.example may not report on region eu-west-1"
    )
    assert report(sidecar, "us-east-1").startswith(f"PERMISSION_DENIED: the certificate of {US} may not report")


def test_clients_in_a_policy_need_a_port_that_asks_for_certificates(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("PORT", "1"))
    done = CliRunner().invoke(main, ["serve", str(tmp_path / "policy.yaml"), "--xds", "127.0.0.1:0"])
    assert done.exit_code == 1
    assert "start with --xds-ca, or remove it" in done.stderr


def _failed_twice(envoy: EnvoyProcess) -> bool:
    return envoy.stats("cds.update_failure")["cluster_manager.cds.update_failure"] >= 2


def _streams_are(realm: Realm, service: str, count: int) -> bool:
    return f'xds_server_signal_streams{{source="{service}"}} {count}.0' in realm.control_plane.get("/metrics")


def _presented(realm: Realm, shown: Files) -> bytes | None:
    """Return the certificate that the port shows now."""
    context = ssl.create_default_context(cafile=str(realm.authority.file))
    context.load_cert_chain(*shown)
    host, _, port = realm.control_plane.ready["xds"].rpartition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=NAME) as tls:
        return tls.getpeercert(binary_form=True)
