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
from xds_server.snapshot.kinds import NOTHING_LACKING, Feature, kind_of, lacking

ONE, TWO, SIX = (Target("checkout", "eu-west-1", Address(ip, 80)) for ip in ("10.0.0.1", "10.0.0.2", "fd00::6"))
CHECK = HealthCheck(path="/up", interval_ms=2_500, timeout_ms=700)


def shown(check: HealthCheck = CHECK, *targets: Target, lacks: frozenset[Feature] = NOTHING_LACKING) -> dict[str, Any]:
    message = hds_pb2.HealthCheckSpecifier.FromString(specifier(dict.fromkeys(targets or (ONE,), check), lacks))
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def check_of(check: HealthCheck, lacks: frozenset[Feature] = NOTHING_LACKING) -> dict[str, Any]:
    found: dict[str, Any] = shown(check, lacks=lacks)["cluster_health_checks"][0]["health_checks"][0]
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
    check = replace(CHECK, host="a.b", statuses=frozenset({200, 201, 202, 404}), body='"ok"')
    http = check_of(check)["http_health_check"]
    assert http["path"] == "/up"
    assert http["expected_statuses"] == [{"start": "200", "end": "203"}, {"start": "404", "end": "405"}]
    assert [bytes.fromhex(payload["text"]) for payload in http["receive"]] == [b'"ok"']


def test_every_endpoint_is_asked_at_its_own_port_and_by_its_own_name_or_the_policys() -> None:
    def asked(check: HealthCheck) -> list[dict[str, Any]]:
        (locality,) = shown(check, ONE, SIX)["cluster_health_checks"][0]["locality_endpoints"]
        return [endpoint["health_check_config"] for endpoint in locality["endpoints"]]

    assert asked(CHECK) == [{"hostname": "10.0.0.1:80"}, {"hostname": "[fd00::6]:80"}]
    assert asked(replace(CHECK, host="a.b", port=81)) == [{"hostname": "a.b", "port_value": 81}] * 2


def test_a_grpc_probe_is_a_call_of_the_health_protocol() -> None:
    http = check_of(replace(CHECK, kind=ProbeKind.GRPC, grpc_service="shop.v1"))["http_health_check"]
    assert (http["path"], http["method"]) == ("/grpc.health.v1.Health/Check", "POST")
    assert http["codec_client_type"] == "HTTP2"
    assert bytes.fromhex(http["send"]["text"]) == b"\0\0\0\0\x09\x0a\x07shop.v1"
    assert [bytes.fromhex(payload["text"]) for payload in http["receive"]] == [b"\0\0\0\0\x02\x08\x01"]
    server = check_of(replace(CHECK, kind=ProbeKind.GRPC))["http_health_check"]
    assert bytes.fromhex(server["send"]["text"]) == b"\0\0\0\0\0"


def test_what_envoy_cannot_ask_is_a_connection() -> None:
    elder = lacking(kind_of("envoy", "1.35.0"))
    grpc = replace(CHECK, kind=ProbeKind.GRPC)
    found = [check_of(replace(CHECK, kind=ProbeKind.TCP)), check_of(grpc, elder)]
    found += [check_of(replace(check, tls=True)) for check in (CHECK, grpc)]
    for check in found:
        assert check["tcp_health_check"] == {}
        assert "http_health_check" not in check


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
