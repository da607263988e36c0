"""What a snapshot holds, and what each kind of change touches."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import decisions as made
from xds_server.model import TOTAL_WEIGHT, Address, Decision, Endpoint, Shed, ShedClass, Target, ViewKey
from xds_server.policy.types import (
    DEFAULT_FLEET,
    Fleet,
    Overload,
    OverloadMode,
    Policy,
    Protocol,
    Service,
    Timeouts,
    TrafficClass,
)
from xds_server.snapshot.build import Builder, build
from xds_server.snapshot.facts import Inconsistent
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.snapshot.wire import encode

MESSAGES: Mapping[str, type[Message]] = {
    TypeUrl.LISTENER: listener_pb2.Listener,
    TypeUrl.ROUTE: route_pb2.RouteConfiguration,
    TypeUrl.CLUSTER: cluster_pb2.Cluster,
    TypeUrl.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    TypeUrl.RUNTIME: rtds_pb2.Runtime,
}
HOME = {"us-east-1": 80, "eu-west-1": 20}
PLAN = {"us-east-1": {"eu-west-1": 3, "sa-east-1": 1}}


def small(**changes: Any) -> tuple[Policy, Decision]:
    """One service, four regions, one row of weights, one reflex plan."""
    checkout = made.service(**changes)
    return made.policy([checkout]), made.decision(made.service_decision(checkout, HOME, reflex=PLAN))


def snapshot(policy: Policy, decision: Decision, **more: Any) -> Snapshot:
    return build(policy, decision, made.VIEW, more.pop("addresses", made.addresses(policy)), **more)


def shown(of: Snapshot, type_url: str, name: str) -> dict[str, Any]:
    """A resource as JSON, by name."""
    message = MESSAGES[type_url].FromString(of.resources[type_url][name].body)
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def routes(of: Snapshot) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown(of, TypeUrl.ROUTE, "outbound")["virtual_hosts"][0]["routes"]
    return found


def localities(of: Snapshot, name: str = "checkout@us-east-1") -> list[tuple[int, str, int, list[str]]]:
    """Priority, region, weight and addresses of each locality."""
    return [
        (
            locality.get("priority", 0),
            locality["locality"]["region"],
            locality["load_balancing_weight"],
            [
                "{address}:{port_value}".format(**host["endpoint"]["address"]["socket_address"])
                for host in locality.get("lb_endpoints", [])
            ],
        )
        for locality in shown(of, TypeUrl.ENDPOINT, name)["endpoints"]
    ]


def changed(before: Snapshot, after: Snapshot) -> set[str]:
    return {t for t in MESSAGES if before.versions[t] != after.versions[t]}


def test_holds_one_cluster_and_assignment_per_region_and_refers_to_nothing_else() -> None:
    made_of = snapshot(*small())
    names = [f"checkout@{region}" for region in made.REGIONS]
    assert list(made_of.resources[TypeUrl.CLUSTER]) == names
    assert list(made_of.resources[TypeUrl.ENDPOINT]) == names
    assert made_of.missing() == ()
    listener = made_of.resources[TypeUrl.LISTENER]["outbound"]
    assert [need.type_url for need in listener.needs] == [TypeUrl.ROUTE]
    assert {need.name for need in made_of.resources[TypeUrl.ROUTE]["outbound"].needs} == set(names)


def test_routes_in_order_reads_keyed_writes_with_their_retries() -> None:
    reads, keyed, other_reads, writes = routes(snapshot(*small()))
    assert keyed["match"]["headers"] == [{"name": "idempotency-key", "present_match": True}]
    assert reads["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]
    assert other_reads["match"]["headers"][0]["string_match"]["safe_regex"]["regex"] == "HEAD|OPTIONS"
    assert "headers" not in writes["match"]
    assert keyed["route"] == reads["route"] == other_reads["route"]
    assert "5xx" in reads["route"]["retry_policy"]["retry_on"]
    assert writes["route"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream,reset-before-request"
    assert "per_try_timeout" not in writes["route"]["retry_policy"]


def test_every_deployed_region_is_listed_also_without_weight() -> None:
    for route in routes(snapshot(*small())):
        clusters = route["route"]["weighted_clusters"]["clusters"]
        assert [(c["name"], c["weight"]) for c in clusters] == [
            ("checkout@ap-southeast-1", 0),
            ("checkout@eu-west-1", 2000),
            ("checkout@sa-east-1", 0),
            ("checkout@us-east-1", 8000),
        ]
        assert sum(c["weight"] for c in clusters) == TOTAL_WEIGHT


def test_a_service_that_nothing_may_serve_answers_503_and_keeps_its_clusters() -> None:
    checkout = made.service()
    policy = made.policy([checkout])
    made_of = snapshot(policy, made.decision(made.service_decision(checkout, {})))
    assert [route["direct_response"]["status"] for route in routes(made_of)] == [503, 503, 503, 503]
    assert len(made_of.resources[TypeUrl.CLUSTER]) == len(made.REGIONS)


def test_the_per_try_timeout_follows_the_farthest_region_unless_given() -> None:
    computed = routes(snapshot(*small()))[1]["route"]["retry_policy"]
    assert computed["per_try_timeout"] == "0.940s"
    given_by_policy = routes(snapshot(*small(timeouts=Timeouts(per_try_ms=300))))[1]["route"]["retry_policy"]
    assert given_by_policy["per_try_timeout"] == "0.300s"


def test_the_reflex_plan_is_priority_one_without_regions_of_no_weight() -> None:
    made_of = snapshot(*small())
    found = localities(made_of)
    assert [(priority, region, weight) for priority, region, weight, _ in found] == [
        (0, "us-east-1", TOTAL_WEIGHT),
        (1, "eu-west-1", 7500),
        (1, "sa-east-1", 2500),
    ]
    own = [f"{e.host}:{e.port}" for e in made.made_up("checkout", made.REGIONS.index("us-east-1"))]
    assert found[0][3] == own


def test_a_region_without_addresses_keeps_its_empty_priority_zero() -> None:
    policy, decision = small()
    addresses = {e: a for e, a in made.addresses(policy).items() if not e.host.startswith("10.3.")}
    found = localities(snapshot(policy, decision, addresses=addresses))
    assert found[0] == (0, "us-east-1", TOTAL_WEIGHT, [])
    assert [region for priority, region, _, _ in found if priority == 1] == ["eu-west-1", "sa-east-1"]


def test_an_address_stands_once_in_an_assignment() -> None:
    names = {"us-east-1": [Endpoint("a.test", 80), Endpoint("b.test", 80)], "eu-west-1": [Endpoint("c.test", 80)]}
    shared, other = Address("10.0.0.1", 80), Address("10.0.0.2", 80)
    policy, decision = small(endpoints=names)
    resolved = {
        Endpoint("a.test", 80): (other, shared),
        Endpoint("b.test", 80): (shared,),
        Endpoint("c.test", 80): (shared, Address("10.0.0.3", 80)),
    }
    made_of = snapshot(policy, decision, addresses=resolved)
    found = localities(made_of)
    assert [hosts for _, _, _, hosts in found] == [["10.0.0.1:80", "10.0.0.2:80"], ["10.0.0.3:80"]]
    first = shown(made_of, TypeUrl.ENDPOINT, "checkout@us-east-1")["endpoints"][0]["lb_endpoints"]
    assert [host["endpoint"]["hostname"] for host in first] == ["a.test", "a.test"]


def test_host_names_are_passed_on_and_rewritten_addresses_are_not() -> None:
    named = snapshot(
        *small(endpoints={"us-east-1": [Endpoint("gw.test", 80)], "eu-west-1": [Endpoint("10.0.0.9", 80)]})
    )
    assert all(route["route"]["auto_host_rewrite"] for route in routes(named))
    own, abroad = shown(named, TypeUrl.ENDPOINT, "checkout@us-east-1")["endpoints"]
    assert own["lb_endpoints"][0]["endpoint"]["hostname"] == "gw.test"
    assert "hostname" not in abroad["lb_endpoints"][0]["endpoint"]
    assert not any("auto_host_rewrite" in route["route"] for route in routes(snapshot(*small())))


def test_unhealthy_endpoints_are_marked_wherever_they_stand() -> None:
    policy, _ = small()
    bad = made.addresses(policy)[policy.services["checkout"].deployments["us-east-1"].endpoints[0]][0]
    decision = made.even(policy)
    before = snapshot(policy, decision)
    after = snapshot(policy, decision, unhealthy=frozenset({Target("checkout", "us-east-1", bad)}))
    assert changed(before, after) == {TypeUrl.ENDPOINT}
    for name in after.resources[TypeUrl.ENDPOINT]:
        hosts = [h for each in shown(after, TypeUrl.ENDPOINT, name)["endpoints"] for h in each["lb_endpoints"]]
        marked = [h["endpoint"]["address"]["socket_address"]["address"] for h in hosts if "health_status" in h]
        assert marked == [bad.ip]


def test_domains_with_and_without_port() -> None:
    made_of = snapshot(*small(hosts=["checkout.demo", "shop.demo:8443", "*.checkout.demo"]))
    (host,) = shown(made_of, TypeUrl.ROUTE, "outbound")["virtual_hosts"]
    assert host["domains"] == ["*.checkout.demo", "checkout.demo", "checkout.demo:*", "shop.demo:8443"]


@pytest.mark.parametrize("protocol", list(Protocol))
def test_the_protocol_is_the_policys(protocol: Protocol) -> None:
    cluster = shown(snapshot(*small(protocol=protocol)), TypeUrl.CLUSTER, "checkout@us-east-1")
    (options,) = cluster["typed_extension_protocol_options"].values()
    expected = "http_protocol_options" if protocol is Protocol.HTTP1 else "http2_protocol_options"
    assert list(options["explicit_http_config"]) == [expected]
    assert options["common_http_protocol_options"]["idle_timeout"] == "30s"


def test_a_fleet_gets_the_services_it_uses() -> None:
    fleets = [Fleet("web", "0.0.0.0", 10_001, ("checkout",)), Fleet(DEFAULT_FLEET, "127.0.0.1", 10_000)]
    policy = made.policy([made.service("cart"), made.service("checkout")], fleets=fleets)
    addresses, decision = made.addresses(policy), made.even(policy)
    some = build(policy, decision, ViewKey("web", "us-east-1"), addresses)
    every = build(policy, decision, ViewKey(DEFAULT_FLEET, "us-east-1"), addresses)
    assert {name.partition("@")[0] for name in some.resources[TypeUrl.CLUSTER]} == {"checkout"}
    assert {name.partition("@")[0] for name in every.resources[TypeUrl.CLUSTER]} == {"cart", "checkout"}
    address = shown(some, TypeUrl.LISTENER, "outbound")["address"]["socket_address"]
    assert address == {"address": "0.0.0.0", "port_value": 10_001}


# What each kind of change touches: never more than one type, and never a cluster for health or load.


def decide(service: Service, **changes: Any) -> Decision:
    arguments: dict[str, Any] = {"shares": HOME, "reflex": PLAN}
    return made.decision(made.service_decision(service, **(arguments | changes)))


@pytest.mark.parametrize(
    ("changes", "touches"),
    [
        ({"shares": {"eu-west-1": 1}}, TypeUrl.ROUTE),
        ({"shares": {}}, TypeUrl.ROUTE),
        ({"reflex": {"us-east-1": {"ap-southeast-1": 1}}}, TypeUrl.ENDPOINT),
        ({"protect": made.protection(overprovisioning_factor=200)}, TypeUrl.ENDPOINT),
        ({"protect": made.protection(max_requests=4096)}, TypeUrl.CLUSTER),
        ({"protect": made.protection(reasons=(("max_requests", "other words"),))}, None),
    ],
)
def test_a_change_touches_one_type(changes: dict[str, Any], touches: str | None) -> None:
    policy, before = small()
    builder, views, addresses = Builder(), [made.VIEW], made.addresses(policy)
    first = builder.build_all(policy, before, views, addresses)[made.VIEW]
    second = builder.build_all(policy, decide(policy.services["checkout"], **changes), views, addresses)[made.VIEW]
    assert changed(first, second) == ({touches} if touches else set())
    for type_url in MESSAGES.keys() - {touches}:
        for name, resource in first.resources[type_url].items():
            assert second.resources[type_url][name] is resource


def test_new_addresses_touch_assignments_alone() -> None:
    policy, decision = small()
    addresses = made.addresses(policy)
    moved = addresses | {next(iter(addresses)): (Address("10.9.9.9", 1),)}
    assert changed(snapshot(policy, decision), snapshot(policy, decision, addresses=moved)) == {TypeUrl.ENDPOINT}


def test_the_builder_returns_the_same_objects_and_forgets_what_is_gone() -> None:
    policy = made.policy([made.service("cart"), made.service("checkout")])
    builder, views = Builder(), [ViewKey(DEFAULT_FLEET, region) for region in made.REGIONS]
    first = builder.build_all(policy, made.even(policy), views, made.addresses(policy))
    again = builder.build_all(policy, made.even(policy), views, made.addresses(policy))
    assert all(again[view] is first[view] for view in views)
    less = made.policy([made.service("checkout")])
    builder.build_all(less, made.even(less), views, made.addresses(less))
    last = builder.build_all(policy, made.even(policy), views, made.addresses(policy))
    assert all(last[view].versions == first[view].versions and last[view] is not first[view] for view in views)


def test_what_does_not_fit_together_is_a_bug() -> None:
    policy, decision = small()
    with pytest.raises(Inconsistent, match="no view"):
        build(policy, decision, ViewKey(DEFAULT_FLEET, "mars"), {})
    with pytest.raises(Inconsistent, match="does not cover checkout"):
        build(policy, replace(decision, services=()), made.VIEW, {})
    bare = replace(decision.services[0], protection=tuple(tuple(None for _ in made.REGIONS) for _ in made.REGIONS))
    with pytest.raises(Inconsistent, match="lacks protection"):
        build(policy, replace(decision, services=(bare,)), made.VIEW, {})


# Determinism.


def shuffled(policy: Policy, decision: Decision, chance: random.Random) -> tuple[Policy, Decision, Any]:
    """The same inputs, with everything whose order means nothing in another order."""

    def mixed(items: Any) -> list[Any]:
        return chance.sample(list(items), len(items))

    services = {
        name: replace(
            service,
            hosts=tuple(mixed(service.hosts)),
            deployments={
                region: replace(deployment, endpoints=tuple(mixed(deployment.endpoints)))
                for region, deployment in mixed(service.deployments.items())
            },
        )
        for name, service in mixed(policy.services.items())
    }
    addresses = {e: tuple(mixed(several)) for e, several in mixed(made.addresses(policy).items())}
    return replace(policy, services=services), replace(decision, services=tuple(mixed(decision.services))), addresses


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_same_inputs_in_any_order_give_the_same_bytes(chance: random.Random) -> None:
    several = made.service("search", {r: made.made_up("search", i, 5) for i, r in enumerate(made.REGIONS)})
    policy = made.policy([made.service("cart", hosts=["cart.demo", "basket.demo"]), several])
    decision = made.even(policy)
    expected = snapshot(policy, decision)
    other, its_decision, addresses = shuffled(policy, decision, chance)
    assert build(other, its_decision, made.VIEW, addresses) == expected


weights = st.dictionaries(st.sampled_from(made.REGIONS), st.integers(0, 50), max_size=4)


@given(shares=weights, plan=weights, hosts=st.integers(0, 4), factor=st.integers(100, 1000))
@settings(max_examples=60, deadline=None)
def test_joined_bytes_are_the_canonical_encoding(
    shares: dict[str, int], plan: dict[str, int], hosts: int, factor: int
) -> None:
    """Decoding and encoding again the slow way gives the bytes that were joined from parts."""
    checkout = made.service(endpoints={r: made.made_up("x", i, hosts) for i, r in enumerate(made.REGIONS)})
    policy = made.policy([checkout])
    protect = made.protection(overprovisioning_factor=factor)
    plans = {gone: {r: w for r, w in plan.items() if r != gone} for gone in made.REGIONS}
    made_of = snapshot(policy, made.decision(made.service_decision(checkout, shares, reflex=plans, protect=protect)))
    for type_url, by_name in made_of.resources.items():
        for resource in by_name.values():
            assert encode(MESSAGES[type_url].FromString(resource.body)) == resource.body


def shedding(kind: str = "envoy", **changes: Any) -> Snapshot:
    """A snapshot of a view that sheds a third of its requests."""
    classes = changes.pop("classes", (TrafficClass("batch", (("x-class", "batch"),), 0.3),))
    checkout = replace(made.service(), overload=Overload(OverloadMode.SHED, 4_500, classes))
    policy = made.policy([checkout])
    by_class = (ShedClass("batch", 100), ShedClass("", 5)) if classes else ()
    shed = (Shed(34, by_class, "made"),) * len(made.REGIONS)
    decided = replace(made.service_decision(checkout, HOME), shed=shed, **changes)
    return build(policy, made.decision(decided), made.VIEW._replace(kind=kind), made.addresses(policy))


def test_classes_are_refused_by_routes_ahead_of_all_others() -> None:
    of = shedding()
    batch, rest, reads, *_ = routes(of)
    assert reads["name"] == "reads"
    assert batch["match"]["headers"] == [{"name": "x-class", "string_match": {"exact": "batch"}}]
    assert "runtime_fraction" not in batch["match"], "all of it"
    fraction = rest["match"]["runtime_fraction"]["default_value"]
    assert fraction == {"numerator": 50_000, "denominator": "MILLION"}
    assert "headers" not in rest["match"]
    for route in (batch, rest):
        assert route["direct_response"] == {"status": 503}
        assert route["response_headers_to_add"] == [{"header": {"key": "retry-after", "value": "5"}}]
    assert all("drop_overloads" not in policy_of(of, region) for region in made.REGIONS)


def policy_of(of: Snapshot, region: str) -> dict[str, Any]:
    found: dict[str, Any] = shown(of, TypeUrl.ENDPOINT, f"checkout@{region}")["policy"]
    return found


def test_without_classes_and_for_grpc_clients_assignments_drop() -> None:
    entry = {"category": "overload", "drop_percentage": {"numerator": 34}}
    for of in (shedding(classes=()), shedding(GRPC)):
        assert [policy_of(of, region)["drop_overloads"] for region in made.REGIONS] == [[entry]] * len(made.REGIONS)
    assert [route["name"] for route in routes(shedding(classes=()))] == ["reads", "keyed", "other_reads", "writes"]


def test_only_what_may_be_sent_twice_tries_a_region_that_is_down() -> None:
    policy, decision = small()
    decided = replace(decision.services[0], half_open=(made.row({"us-east-1": 50, "eu-west-1": 50}),) * 4)
    weights = {
        route["name"]: [c["weight"] for c in route["route"]["weighted_clusters"]["clusters"]]
        for route in routes(snapshot(policy, made.decision(decided)))
    }
    assert weights["reads"] == weights["keyed"] == weights["other_reads"] == [0, 5_000, 0, 5_000]
    assert weights["writes"] == [0, 2_000, 0, 8_000]


def test_shedding_bytes_are_the_canonical_encoding() -> None:
    for of in (shedding(), shedding(classes=()), shedding(GRPC)):
        for type_url, by_name in of.resources.items():
            for resource in by_name.values():
                assert encode(MESSAGES[type_url].FromString(resource.body)) == resource.body
