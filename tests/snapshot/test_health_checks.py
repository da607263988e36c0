"""What watchers are sent: the policy's checks as Envoy's, and the word for stop. Real ones take it in tests/signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envoy.service.health.v3 import hds_pb2
from google.protobuf.json_format import MessageToDict

from tests.snapshot.test_second_opinion import folded, other
from xds_server.model import Address, Target
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.snapshot.health_checks import specifier

ONE, TWO, SIX = (Target("checkout", "eu-west-1", Address(ip, 80)) for ip in ("10.0.0.1", "10.0.0.2", "fd00::6"))
CHECK = HealthCheck(path="/up", interval_ms=2_500, timeout_ms=700)


def shown(check: HealthCheck = CHECK, *targets: Target) -> dict[str, Any]:
    message = hds_pb2.HealthCheckSpecifier.FromString(specifier(dict.fromkeys(targets or (ONE,), check)))
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def check_of(check: HealthCheck) -> dict[str, Any]:
    found: dict[str, Any] = shown(check)["cluster_health_checks"][0]["health_checks"][0]
    return found


def test_one_cluster_for_each_place_with_all_its_addresses() -> None:
    us = Target("checkout", "us-east-1", Address("10.0.0.1", 80))
    clusters = shown(CHECK, TWO, us, SIX, ONE)["cluster_health_checks"]
    assert [cluster["cluster_name"] for cluster in clusters] == ["hds/checkout@eu-west-1", "hds/checkout@us-east-1"]
    (locality,) = clusters[0]["locality_endpoints"]
    assert locality["locality"] == {"region": "eu-west-1"}
    addresses = [endpoint["address"]["socket_address"]["address"] for endpoint in locality["endpoints"]]
    assert addresses == ["10.0.0.1", "10.0.0.2", "fd00::6"]


def test_every_result_is_told_at_once_and_no_traffic_is_no_reason_to_look_less() -> None:
    check = check_of(CHECK)
    assert (check["timeout"], check["unhealthy_threshold"], check["healthy_threshold"]) == ("0.700s", 1, 1)
    assert {check[key] for key in ("interval", "no_traffic_interval", "no_traffic_healthy_interval")} == {"2.500s"}
    assert shown()["interval"] == "1s"


def test_what_an_http_probe_asks_for_and_wants() -> None:
    check = replace(CHECK, host="a.b", statuses=frozenset({200, 201, 202, 404}), body='"ok"', port=8081)
    found = check_of(check)
    assert found["alt_port"] == 8081
    http = found["http_health_check"]
    assert (http["host"], http["path"]) == ("a.b", "/up")
    assert http["expected_statuses"] == [{"start": "200", "end": "203"}, {"start": "404", "end": "405"}]
    assert [bytes.fromhex(payload["text"]) for payload in http["receive"]] == [b'"ok"']


def test_what_is_not_http_is_a_connection() -> None:
    for kind in (ProbeKind.TCP, ProbeKind.GRPC):
        found = check_of(replace(CHECK, kind=kind))
        assert found["tcp_health_check"] == {}
        assert "http_health_check" not in found


def test_nothing_to_watch_means_stop() -> None:
    assert MessageToDict(hds_pb2.HealthCheckSpecifier.FromString(specifier({}))) == {"interval": "3600s"}


def test_the_bytes_do_not_depend_on_the_order() -> None:
    assert specifier({ONE: CHECK, TWO: CHECK}) == specifier({TWO: CHECK, ONE: CHECK})


def test_another_implementation_reads_the_same() -> None:
    data = specifier({ONE: replace(CHECK, body="x"), TWO: CHECK})
    theirs = other("service.health", "HealthCheckSpecifier").parse(data)
    assert [cluster.cluster_name for cluster in theirs.cluster_health_checks] == ["hds/checkout@eu-west-1"]
    ours = MessageToDict(hds_pb2.HealthCheckSpecifier.FromString(data))
    assert texts(folded(theirs.to_dict())) == texts(folded(ours))


def texts(value: Any) -> Any:
    """JSON with every number as text: the two libraries differ for 64-bit integers in wrappers."""
    if isinstance(value, dict):
        return {key: texts(inner) for key, inner in value.items()}
    return [texts(inner) for inner in value] if isinstance(value, list) else str(value)
