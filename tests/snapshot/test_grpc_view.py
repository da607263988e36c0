"""What gRPC clients are sent; that real ones take it is shown in tests/grpc_clients."""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from tests.snapshot.test_build import HOME, shown, small
from tests.support import decisions as made
from xds_server.model import Decision, ViewKey
from xds_server.policy.types import Policy, Retries, Timeouts
from xds_server.snapshot.build import build
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.resource import Key, Snapshot, TypeUrl

VIEW = ViewKey(made.VIEW.fleet, made.VIEW.region, GRPC)


def snapshot(policy: Policy, decision: Decision) -> Snapshot:
    return build(policy, decision, VIEW, made.addresses(policy))


def route(of: Snapshot) -> dict[str, Any]:
    (host,) = shown(of, TypeUrl.ROUTE, "checkout")["virtual_hosts"]
    (found,) = host["routes"]
    assert found["match"] == {"prefix": ""}
    action: dict[str, Any] = found["route"]
    return action


def test_every_host_of_every_service_is_an_api_listener_that_names_the_services_routes() -> None:
    services = [made.service("checkout", hosts=("checkout.demo", "checkout.other")), made.service("search")]
    policy = made.policy(services)
    of = snapshot(policy, made.even(policy))
    names = {"checkout.demo": "checkout", "checkout.other": "checkout", "search.demo": "search"}
    assert set(of.resources[TypeUrl.LISTENER]) == set(names)
    assert set(of.resources[TypeUrl.ROUTE]) == {"checkout", "search"}
    assert of.missing() == ()
    for name, resource in of.resources[TypeUrl.LISTENER].items():
        listener = listener_pb2.Listener.FromString(resource.body)
        manager = http_connection_manager_pb2.HttpConnectionManager()
        assert listener.api_listener.api_listener.Unpack(manager)
        assert manager.rds.route_config_name == names[name]
        assert manager.rds.config_source.HasField("ads")
        assert [f.name for f in manager.http_filters] == ["envoy.filters.http.router"]
        assert resource.needs == (Key(TypeUrl.ROUTE, names[name]),)


def test_a_route_has_the_regions_with_weight_and_retries_unavailable() -> None:
    action = route(snapshot(*small(timeouts=Timeouts(request_ms=7_000))))
    clusters = {c["name"]: c["weight"] for c in action["weighted_clusters"]["clusters"]}
    assert clusters == {f"checkout@{region}": 100 * share for region, share in HOME.items()}
    retries = action["retry_policy"]
    assert (retries["retry_on"], retries["num_retries"]) == ("unavailable", 3)
    assert retries["retry_back_off"] == {"base_interval": "0.025s", "max_interval": "0.250s"}
    assert action["max_stream_duration"] == {"max_stream_duration": "7s"}
    assert set(action) == {"weighted_clusters", "retry_policy", "max_stream_duration"}, "gRPC reads nothing else"


def test_no_retries_are_said_by_no_policy_because_zero_is_rejected() -> None:
    assert "retry_policy" not in route(snapshot(*small(retries=Retries(attempts=0))))


def test_a_service_that_nothing_may_serve_has_a_virtual_host_without_routes() -> None:
    policy = made.policy([made.service()])
    of = snapshot(policy, made.decision(made.service_decision(made.service(), {})))
    (host,) = shown(of, TypeUrl.ROUTE, "checkout")["virtual_hosts"]
    assert host == {"name": "checkout", "domains": ["checkout.demo"]}


def test_a_cluster_has_what_grpc_reads_and_nothing_else() -> None:
    cluster = shown(snapshot(*small()), TypeUrl.CLUSTER, "checkout@us-east-1")
    assert "lb_policy" not in cluster, "round robin is the default, and the only one that every gRPC takes"
    assert cluster["type"] == "EDS"
    assert "ads" in cluster["eds_cluster_config"]["eds_config"]
    assert cluster["circuit_breakers"] == {"thresholds": [{"max_requests": 2048}]}
    outliers = cluster["outlier_detection"]
    assert outliers["enforcing_failure_percentage"] == 100
    assert outliers["enforcing_success_rate"] == 0
    assert outliers["failure_percentage_minimum_hosts"] > 1
    assert outliers["max_ejection_percent"] <= 50, "gRPC has no panic threshold: never eject all"
    assert set(cluster) == {"name", "type", "eds_cluster_config", "circuit_breakers", "outlier_detection"}


def test_assignments_are_the_very_bytes_that_envoys_get() -> None:
    policy, decision = small()
    envoys = build(policy, decision, made.VIEW, made.addresses(policy))
    assert snapshot(policy, decision).resources[TypeUrl.ENDPOINT] == envoys.resources[TypeUrl.ENDPOINT]


def test_an_assignment_repeats_no_address_even_if_two_regions_have_the_same() -> None:
    shared = {"us-east-1": made.made_up("a", 0), "eu-west-1": [*made.made_up("a", 0), *made.made_up("b", 1)]}
    policy, decision = small(endpoints=shared)
    for resource in snapshot(policy, decision).resources[TypeUrl.ENDPOINT]:
        found = shown(snapshot(policy, decision), TypeUrl.ENDPOINT, resource)
        hosts = [host["endpoint"] for locality in found["endpoints"] for host in locality.get("lb_endpoints", [])]
        addresses = [tuple(host["address"]["socket_address"].values()) for host in hosts]
        assert len(addresses) == len(set(addresses)) > 0
        priorities = {locality.get("priority", 0) for locality in found["endpoints"]}
        assert priorities == set(range(len(priorities))), "gRPC refuses a gap"


def test_a_weight_moves_only_the_routes_of_its_service() -> None:
    services = [made.service("checkout"), made.service("search")]
    policy = made.policy(services)
    even = {"us-east-1": 1, "eu-west-1": 1}
    before, after = (
        snapshot(
            policy, made.decision(*(made.service_decision(s, shares) for s, shares in zip(services, rows, strict=True)))
        )
        for rows in ((even, even), (HOME, even))
    )
    changed = [
        resource.key
        for by_name in after.resources.values()
        for resource in by_name.values()
        if before.get(resource.key) != resource
    ]
    assert changed == [Key(TypeUrl.ROUTE, "checkout")]
