"""Bootstraps: what they say, that the real Envoy takes them without complaint, and that a static one serves."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.snapshot.test_build import small, snapshot
from tests.support import decisions as made
from tests.support.envoy import EnvoyProcess, validate
from xds_server.model import Endpoint
from xds_server.policy.types import DEFAULT_FLEET, Fleet, Protocol
from xds_server.snapshot.bootstrap import BootstrapOptions, bootstrap, static_bootstrap, to_json, to_yaml
from xds_server.snapshot.build import build


def options(**changes: Any) -> BootstrapOptions:
    settings: dict[str, Any] = {
        "region": "us-east-1",
        "node_id": "web-1",
        "cluster": "web",
        "xds_host": "127.0.0.1",
        "xds_port": 18_000,
    }
    return BootstrapOptions(**(settings | changes))


def shown(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_says_who_it_is_and_whom_to_ask() -> None:
    found = shown(to_yaml(bootstrap(options(zone="us-east-1a"))))
    assert found["node"] == {
        "id": "web-1",
        "cluster": "web",
        "locality": {"region": "us-east-1", "zone": "us-east-1a"},
    }
    assert found["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    (xds,) = found["static_resources"]["clusters"]
    (endpoint,) = xds["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 18_000}


def test_pings_and_backs_off_and_waits_for_configuration() -> None:
    found = shown(to_yaml(bootstrap(options())))
    (xds,) = found["static_resources"]["clusters"]
    (http,) = xds["typed_extension_protocol_options"].values()
    assert http["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"] == {
        "interval": "10s",
        "timeout": "5s",
    }
    (service,) = found["dynamic_resources"]["ads_config"]["grpc_services"]
    assert service["envoy_grpc"]["retry_policy"]["retry_back_off"] == {"base_interval": "0.500s", "max_interval": "5s"}
    assert found["dynamic_resources"]["lds_config"]["initial_fetch_timeout"] == "0s"
    assert found["dynamic_resources"]["cds_config"]["initial_fetch_timeout"] == "0s"


@pytest.mark.parametrize(("host", "kind"), [("10.0.0.1", "STATIC"), ("::1", "STATIC"), ("xds.test", "STRICT_DNS")])
def test_a_control_plane_with_a_name_is_looked_up(host: str, kind: str) -> None:
    (xds,) = shown(to_yaml(bootstrap(options(xds_host=host))))["static_resources"]["clusters"]
    assert xds.get("type", "STATIC") == kind


def test_changes_alone_can_be_asked_for() -> None:
    kinds = {shown(to_yaml(bootstrap(options(delta=d))))["dynamic_resources"]["ads_config"]["api_type"] for d in (0, 1)}
    assert kinds == {"GRPC", "DELTA_GRPC"}


@pytest.mark.parametrize("name", ["n", "Y", "on", "1e3", "~"])
def test_envoy_reads_any_name_as_text(name: str, tmp_path: Path) -> None:
    assert validate(tmp_path, to_yaml(bootstrap(options(node_id=name)))) == ""


def test_json_and_yaml_say_the_same() -> None:
    message = static_bootstrap(options(), snapshot(*small()))
    assert json.loads(to_json(message)) == shown(to_yaml(message))


def test_the_static_one_asks_nobody() -> None:
    found = shown(to_yaml(static_bootstrap(options(), snapshot(*small()))))
    assert "dynamic_resources" not in found
    clusters = {cluster["name"]: cluster for cluster in found["static_resources"]["clusters"]}
    assert list(clusters) == [f"checkout@{region}" for region in made.REGIONS]
    assert all("eds_cluster_config" not in cluster for cluster in clusters.values())
    assert [e.get("priority", 0) for e in clusters["checkout@us-east-1"]["load_assignment"]["endpoints"]] == [0, 1, 1]
    (listener,) = found["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert "rds" not in manager
    assert manager["route_config"]["virtual_hosts"][0]["name"] == "checkout"


# The real Envoy.


@pytest.mark.envoy
@pytest.mark.parametrize(
    "changes",
    [{}, {"xds_host": "control-plane"}, {"xds_host": "::1", "admin_host": "::1", "zone": "a"}, {"delta": True}],
)
def test_envoy_takes_the_normal_one_without_a_word(changes: dict[str, Any], tmp_path: Path) -> None:
    message = bootstrap(options(**changes))
    assert validate(tmp_path, to_yaml(message)) == ""
    assert validate(tmp_path, to_json(message), "json") == ""


@pytest.mark.envoy
@pytest.mark.parametrize("protocol", list(Protocol))
def test_envoy_takes_the_static_one_without_a_word(protocol: Protocol, tmp_path: Path) -> None:
    endpoints = {"us-east-1": [Endpoint("gw.test", 80)], "eu-west-1": [Endpoint("10.0.0.9", 80)]}
    made_of = snapshot(*small(protocol=protocol, endpoints=endpoints))
    assert validate(tmp_path, to_yaml(static_bootstrap(options(), made_of))) == ""


@contextmanager
def backend(region: str) -> Iterator[tuple[int, list[str]]]:
    """A tiny real backend: answers with its region, fails on /fail; yields its port and the lines it got."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append(f"{self.command} {self.path} {self.headers['host']} {self.headers['x-envoy-attempt-count']}")
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.send_response(503 if self.path == "/fail" else 200)
            self.send_header("content-length", str(len(region)))
            self.end_headers()
            self.wfile.write(region.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={"host": "checkout.demo", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.envoy
def test_an_envoy_without_control_plane_serves_by_weight_and_by_reflex(tmp_path: Path) -> None:
    """By weight, and what fails in one region is repeated once in another, unless it is a plain write."""
    with ExitStack() as stack:
        (home, at_home), (abroad, seen_abroad) = (
            stack.enter_context(backend(region)) for region in ("us-east-1", "eu-west-1")
        )
        endpoints = {"us-east-1": [Endpoint("127.0.0.1", home)], "eu-west-1": [Endpoint("127.0.0.1", abroad)]}
        checkout = made.service(endpoints=endpoints)
        policy = made.policy([checkout], fleets=[Fleet(DEFAULT_FLEET, "127.0.0.1", 0)])
        decision = made.decision(made.service_decision(checkout, {"us-east-1": 1}))
        made_of = build(policy, decision, made.VIEW, made.addresses(policy))
        text = to_yaml(static_bootstrap(options(admin_port=0), made_of))
        envoy = stack.enter_context(EnvoyProcess(tmp_path, text))
        port = envoy.listener_port()

        assert [ask(port) for _ in range(20)] == [(200, "us-east-1")] * 20
        assert seen_abroad == []
        at_home.clear()

        assert ask(port, "/fail") == (503, "eu-west-1")
        assert (at_home, seen_abroad) == (["GET /fail checkout.demo 1"], ["GET /fail checkout.demo 2"])
        assert ask(port, "/fail", "POST", **{"idempotency-key": "k"}) == (503, "eu-west-1")
        assert ask(port, "/fail", "POST", **{"x-envoy-retry-on": "5xx"}) == (503, "us-east-1")
        assert len(seen_abroad) == 2
        assert not any(value for name, value in envoy.stats("ejections_active").items())
        assert envoy.log == ""
