"""Real Envoys with real certificates on an xDS port that speaks mutual TLS: who gets in, and what rotation does."""

from __future__ import annotations

import json
import os
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from envoy.service.status.v3 import csds_pb2

from tests.support.certificates import HOUR, Authority, Files, replace
from tests.support.envoy import EnvoyProcess
from tests.tls.world import NAME, Realm, connected
from xds_server.agent.client import AgentClient
from xds_server.cli import main
from xds_server.demo.ports import Ports
from xds_server.transport.csds import SERVICE

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


def new_realm(directory: Path, stack: ExitStack) -> Realm:
    ports = stack.enter_context(closing(Ports(1, random.Random())))
    realm = Realm(directory, stack, POLICY.replace("PORT", str(ports.numbers[0])))
    realm.serve()
    return realm


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """A realm whose policy and certificates stay as they are: starting it costs more than most tests."""
    with ExitStack() as stack:
        yield new_realm(tmp_path_factory.mktemp("realm"), stack)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a test starts ends with it."""
    with ExitStack() as stack:
        yield stack


def test_only_a_good_certificate_of_the_right_region_gets_in(shared: Realm, stack: ExitStack) -> None:
    """Wrong authority, expired, none, another region's, and an Envoy that does not trust us: none is ever served."""
    realm, issue, start = shared, shared.authority.issue, stack.enter_context
    stranger = Authority(realm.directory, "stranger")
    good = start(realm.envoy("us-good", issue("good", US)))
    foreign = start(realm.envoy("us-foreign", issue("foreign", EU)))
    failing = {
        "none": start(realm.envoy("us-none", None)),
        "wrong authority": start(realm.envoy("us-wrong", stranger.issue("wrong", US))),
        "expired": start(realm.envoy("us-old", issue("old", US, ends=-HOUR))),
        "wrong name": start(realm.envoy("us-misled", issue("misled", US), stranger.file)),
    }
    realm.until("a connected Envoy", lambda: connected(good))
    for what, envoy in {"foreign": foreign, **failing}.items():
        realm.until(what, partial(_failed, envoy))
    for envoy in (foreign, *failing.values()):
        assert not connected(envoy)
        assert envoy.admin("/ready")[0] == 503
    assert failing["wrong name"].stats("fail_verify")["cluster.xds.ssl.fail_verify_error"] > 0
    words = f"the certificate of {EU} may not speak as node 'us-foreign' of fleet web in region us-east-1"
    assert words in foreign.log
    (denied,) = [event for event in realm.events("client.denied") if event["fields"]["identity"] == EU]
    assert denied["message"].startswith(words)
    fleet = json.loads(realm.control_plane.get("/api/v1/fleet"))
    assert [client["id"] for client in fleet["clients"]] == ["us-good"]
    assert _seen_by(realm, issue("colleague", US)) == ["us-good"]
    assert _seen_by(realm, issue("onlooker", EU)) == []
    metrics = realm.control_plane.get("/metrics")
    assert 'xds_server_denied_total{service="xds"}' in metrics
    assert 'xds_server_certificate_expiry_timestamp_seconds{certificate="xds"}' in metrics


def test_files_rotate_and_a_policy_that_no_longer_lets_a_client_in_ends_its_streams(
    tmp_path: Path, stack: ExitStack
) -> None:
    realm = new_realm(tmp_path, stack)
    sds = realm.directory / "sds"
    sds.mkdir()
    shown = realm.authority.issue("good", US)
    envoy = stack.enter_context(realm.envoy("us-good", shown, None, "--sds-dir", str(sds)))
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


def test_a_denied_envoy_gets_in_when_its_certificate_is_put_right_and_then_stays(
    shared: Realm, stack: ExitStack, tmp_path: Path
) -> None:
    shown = shared.authority.issue("mended", EU)
    envoy = stack.enter_context(shared.envoy("us-mended", shown, None, "--sds-dir", str(tmp_path)))
    shared.until("a denial", partial(_failed, envoy))
    shared.authority.issue("mended", US)
    shared.until("a connected Envoy", partial(connected, envoy))
    reached = "cluster.xds.upstream_cx_max_duration_reached"
    before = envoy.stats(reached)[reached]
    shared.until("the end of its minute", lambda: envoy.stats(reached)[reached] > before)
    came = [e for e in shared.events("client.connected") if e["fields"]["client"] == "us-mended"]
    assert len(came) == 1
    assert envoy.stats("control_plane.connected_state")["control_plane.connected_state"] == 1


def test_a_grpc_client_speaks_tls_by_its_bootstrap(shared: Realm) -> None:
    made, place = shared.authority.issue("grpc", US), shared.directory / "grpc.json"
    words = ["bootstrap", "--grpc", "--id", "us-grpc", "--region", "us-east-1", "--cluster", "web"]
    words += ["--ca", str(shared.authority.file), "--cert", str(made.certificate), "--key", str(made.key)]
    done = CliRunner().invoke(main, [*words, "--xds", shared.control_plane.xds])
    place.write_text(done.output)
    call = "import grpc; grpc.insecure_channel('xds:///shop').unary_unary('/a.B/C')(b'', timeout=5)"
    environment = {**os.environ, "GRPC_XDS_BOOTSTRAP": str(place)}
    failed = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=False)
    assert "127.0.0.1:9" in failed.stderr, failed.stderr  # it knows where to go; nobody is there
    came = [event["fields"]["client"] for event in shared.events("client.connected")]
    assert "us-grpc" in came


def test_an_agent_reports_on_the_regions_that_its_certificate_is_for(shared: Realm) -> None:
    realm = shared

    def report(shown: Files, region: str) -> str:
        credentials = _credentials(realm, shown)
        with AgentClient(realm.control_plane.xds, reporter="m", credentials=credentials) as client:
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


def _credentials(realm: Realm, shown: Files) -> grpc.ChannelCredentials:
    files = (realm.authority.file, shown.key, shown.certificate)
    return grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))


def _seen_by(realm: Realm, shown: Files) -> list[str]:
    """Return the clients that CSDS shows to who has this certificate."""
    with grpc.secure_channel(realm.control_plane.xds, _credentials(realm, shown)) as channel:
        fetch = channel.unary_unary(f"/{SERVICE}/FetchClientStatus")
        answer = csds_pb2.ClientStatusResponse.FromString(fetch(b"", timeout=30))
    return [config.node.id for config in answer.config]


def _failed(envoy: EnvoyProcess) -> bool:
    return envoy.stats("cds.update_failure")["cluster_manager.cds.update_failure"] > 0


def _streams_are(realm: Realm, service: str, count: int) -> bool:
    return f'xds_server_signal_streams{{source="{service}"}} {count}.0' in realm.control_plane.get("/metrics")


def _presented(realm: Realm, shown: Files) -> bytes | None:
    """Return the certificate that the port shows now."""
    context = ssl.create_default_context(cafile=str(realm.authority.file))
    context.load_cert_chain(*shown)
    host, _, port = realm.control_plane.xds.rpartition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=NAME) as tls:
        return tls.getpeercert(binary_form=True)
