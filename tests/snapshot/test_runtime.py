"""The runtime layer: which breakers it moves, and that real Envoys follow it without closing a connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf.json_format import MessageToDict

from tests.support import decisions as made
from xds_server.model import Decision, FleetSize, ViewKey
from xds_server.policy.types import DEFAULT_FLEET, Fleet
from xds_server.snapshot.build import Builder, build
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.resource import Key, Snapshot, TypeUrl
from xds_server.snapshot.runtime import LAYER

POLICY = made.policy()
SETTINGS = made.protection(
    max_connections=8000, max_pending_requests=8000, max_requests=8000, min_retry_concurrency=900
)


def decided(*sizes: FleetSize) -> Decision:
    services = (made.service_decision(s, {"us-east-1": 1}, protect=SETTINGS) for s in POLICY.services.values())
    return replace(made.decision(*services), sizes=sizes)


def keys(of: Snapshot) -> dict[str, Any]:
    """What Envoy makes of the layer: names joined with dots."""
    body = of.resources[TypeUrl.RUNTIME][LAYER].body
    message = rtds_pb2.Runtime.FromString(body)
    assert message.name == LAYER
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            flat[prefix] = value

    walk("", MessageToDict(message.layer))
    return flat


def snapshot(*sizes: FleetSize, view: ViewKey = made.VIEW) -> Snapshot:
    return build(POLICY, decided(*sizes), view, made.addresses(POLICY))


def test_each_envoy_of_a_fleet_gets_its_part_of_every_region() -> None:
    found = keys(snapshot(FleetSize(DEFAULT_FLEET, "us-east-1", 40)))
    assert len(found) == 4 * len(made.REGIONS)
    for region in made.REGIONS:
        prefix = f"circuit_breakers.checkout@{region}.default"
        assert found[f"{prefix}.max_requests"] == 800
        assert found[f"{prefix}.max_connections"] == found[f"{prefix}.max_pending_requests"] == 800
        assert found[f"{prefix}.retry_budget.min_retry_concurrency"] == 100


def test_few_envoys_and_other_fleets_and_regions_move_nothing() -> None:
    assert keys(snapshot()) == {}
    assert keys(snapshot(FleetSize(DEFAULT_FLEET, "us-east-1", 4))) == {}
    assert keys(snapshot(FleetSize(DEFAULT_FLEET, "eu-west-1", 40), FleetSize("other", "us-east-1", 40))) == {}


def test_a_limit_that_is_the_clusters_own_is_left_out() -> None:
    found = keys(snapshot(FleetSize(DEFAULT_FLEET, "us-east-1", 5)))
    assert {key.rpartition(".")[2] for key in found} == {
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "min_retry_concurrency",
    }
    small = replace(decided(FleetSize(DEFAULT_FLEET, "us-east-1", 40)), services=made.even(POLICY).services)
    assert all("max" in key for key in keys(build(POLICY, small, made.VIEW, made.addresses(POLICY))))


def test_a_growing_fleet_touches_the_runtime_layer_alone() -> None:
    builder, policy = Builder(), made.policy(fleets=[Fleet("a", "127.0.0.1", 1), Fleet("b", "127.0.0.1", 1)])
    views = [ViewKey(fleet, region) for fleet in policy.fleets for region in made.REGIONS]
    before = builder.build_all(policy, decided(), views, made.addresses(policy))
    after = builder.build_all(policy, decided(FleetSize("a", "us-east-1", 90)), views, made.addresses(policy))
    assert [view for view in views if before[view] is not after[view]] == [ViewKey("a", "us-east-1")]
    old, new = before[ViewKey("a", "us-east-1")], after[ViewKey("a", "us-east-1")]
    assert {t for t in new.versions if new.versions[t] != old.versions[t]} == {TypeUrl.RUNTIME}


def test_grpc_clients_get_none() -> None:
    assert snapshot(view=made.VIEW._replace(kind=GRPC)).get(Key(TypeUrl.RUNTIME, LAYER)) is None
