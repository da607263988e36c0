"""What a good policy becomes: values, defaults, and one policy for texts that say the same."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from xds_server.model import Endpoint
from xds_server.policy.errors import MAX_PROBLEMS, PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import (
    DEFAULT_FLEET,
    Deployment,
    Fleet,
    HealthCheck,
    Policy,
    ProbeKind,
    Protocol,
    Retries,
    Rollout,
    Timeouts,
)

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = """\
version: 1
regions: {a: {}, b: {latency: {a: 0.5ms}}}
services:
  Shop: {deployments: {b: {endpoints: ["B:2", "[::1]:1"], capacity: 1.5k}, a: {endpoints: [a:1], capacity: 7 req/s}}}
"""


def policy(name: str) -> Policy:
    return parse((EXAMPLES / name).read_text(), name).policy


def test_a_small_policy_gets_every_default() -> None:
    small = parse(SMALL, "small").policy
    shop = small.services["Shop"]
    assert shop.hosts == ("shop",)
    assert shop.protocol is Protocol.HTTP1
    assert (shop.health, shop.timeouts, shop.retries) == (HealthCheck(), Timeouts(), Retries())
    assert (shop.reserve, shop.ramp_up_ms, shop.min_change) == (0.2, 60_000, 0.01)
    assert shop.demand_rps == {}
    assert list(shop.deployments.items()) == [
        ("a", Deployment("a", (Endpoint("a", 1),), 7.0)),
        ("b", Deployment("b", (Endpoint("::1", 1), Endpoint("b", 2)), 1500.0)),
    ]
    assert small.fleets == {DEFAULT_FLEET: Fleet(DEFAULT_FLEET, "127.0.0.1", 10_000, None)}
    assert small.latency_ms == {("a", "a"): 1.0, ("a", "b"): 0.5, ("b", "a"): 0.5, ("b", "b"): 1.0}
    assert [(region.name, region.drain) for region in small.regions.values()] == [("a", False), ("b", False)]


def test_a_service_overrides_defaults_key_by_key() -> None:
    services = policy("fleets.yaml").services
    assert services["cart"].health == HealthCheck(interval_ms=2_000, timeout_ms=1_000)
    assert services["search"].health == HealthCheck(
        port=8081, statuses=frozenset({200, 204}), interval_ms=2_000, timeout_ms=1_000
    )
    assert services["ledger"].health.kind is ProbeKind.TCP
    assert services["search"].timeouts == Timeouts(request_ms=5_000, per_try_ms=400, idle_ms=50_000)
    assert services["ledger"].timeouts == Timeouts(request_ms=3_600_000, idle_ms=50_000)
    assert services["search"].retries == Retries(attempts=2, budget=0.1)
    assert services["ledger"].retries == Retries(attempts=0)
    assert [s.reserve for s in services.values()] == [0.25, 0.25, 0.25]
    assert (services["ledger"].ramp_up_ms, services["ledger"].min_change) == (300_000, 0.05)
    assert [s.protocol for s in services.values()] == [Protocol.HTTP1, Protocol.GRPC, Protocol.HTTP2]


def test_fleets_and_what_they_use() -> None:
    fleets = policy("fleets.yaml")
    assert fleets.fleets["web"] == Fleet("web", "127.0.0.1", 10_000, ("cart", "search"))
    assert fleets.fleets["default"] == Fleet("default", "::1", 10_000, None)
    assert fleets.regions["eu-central-1"].drain
    stranger = fleets.fleet_for("stranger")
    assert stranger is not None
    assert [service.name for service in fleets.services_of(stranger)] == ["cart", "ledger", "search"]


def test_demand_and_capacity_are_requests_per_second() -> None:
    checkout = policy("policy.yaml").services["checkout"]
    assert checkout.demand_rps["us-east-1"] == 16_000.0
    assert checkout.deployments["sa-east-1"].capacity_rps == 12_000.0


def test_how_a_policy_comes_to_the_fleet() -> None:
    assert parse(SMALL, "x").policy.rollout == Rollout()
    assert parse(SMALL + "rollout: {canary: 50%}\n", "x").policy.rollout == Rollout(canary=0.5)
    assert parse(SMALL + "rollout: {timeout: 2m}\n", "x").policy.rollout == Rollout(timeout_ms=120_000)


def test_statuses_may_be_single_or_ranges() -> None:
    text = SMALL + "defaults: {health: {statuses: [200-202, 404, '500-501']}}\n"
    health = parse(text, "x").policy.services["Shop"].health
    assert health.statuses == {200, 201, 202, 404, 500, 501}


def test_an_alias_stands_for_a_whole_value() -> None:
    written = parse(SMALL + "defaults: {health: {interval: 2s}, timeouts: {connect: 2s}}\n", "x").policy
    text = SMALL + "defaults: {health: {interval: &two 2s}, timeouts: {connect: *two}}\n"
    assert parse(text, "x").policy.services == written.services


def test_words_that_old_yaml_reads_as_switches_are_names() -> None:
    text = SMALL.replace("Shop", "no").replace("a: {}", "a: {}, on: {latency: {a: 1ms, b: 1ms}}")
    assert list(parse(text, "x").policy.services) == ["no"]
    assert "on" in parse(text, "x").policy.regions


def test_bytes_text_and_a_byte_order_mark_are_one_policy() -> None:
    assert parse(SMALL.encode(), "x") == parse(SMALL, "y")
    marked = parse(b"\xef\xbb\xbf" + SMALL.encode(), "x").policy
    assert marked.services == parse(SMALL, "x").policy.services
    windows = parse(SMALL.replace("\n", "\r\n"), "x").policy
    assert windows.services == marked.services


def test_the_digest_names_the_text() -> None:
    assert parse(SMALL, "x").policy.digest != parse(SMALL + "\n", "x").policy.digest


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        pairs = [(key, shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(pairs)
        return dict(pairs)
    return rng.sample(value, len(value)) if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["policy.yaml", "fleets.yaml"])
def test_the_order_of_keys_and_lists_has_no_meaning(name: str) -> None:
    original = policy(name)
    rng = random.Random(7)
    for _ in range(20):
        data = shuffled(yaml.safe_load((EXAMPLES / name).read_text()), rng)
        other = parse(yaml.safe_dump(data, sort_keys=False), name).policy
        assert replace(other, digest="") == replace(original, digest="")
        assert list(other.services) == list(original.services)
        assert list(other.latency_ms) == list(original.latency_ms)


def test_a_policy_cannot_be_changed() -> None:
    small = parse(SMALL, "x").policy
    with pytest.raises(TypeError):
        small.services["other"] = small.services["Shop"]  # type: ignore[index]


def test_problems_are_in_the_order_of_the_text_and_bounded() -> None:
    deployments = "".join(f"  s{i}: {{deployments: {{a: {{}}}}}}\n" for i in range(MAX_PROBLEMS))
    with pytest.raises(PolicyError) as caught:
        parse("version: 1\nregions: {a: {}}\nservices:\n" + deployments, "x")
    problems = caught.value.problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == f"and {MAX_PROBLEMS} more; mend these first"
    places = [(problem.line, problem.column) for problem in problems]
    assert places == sorted(places)
    assert str(caught.value).count("\n") == MAX_PROBLEMS


def fleet_warnings(text: str) -> list[str]:
    return [str(warning) for warning in parse(text, "x").warnings]


def test_a_sidecar_that_would_hold_too_much() -> None:
    endpoints = ", ".join(f"h{i}:1" for i in range(100))
    both = f"{{deployments: {{a: {{endpoints: [{endpoints}], capacity: 1}}, b: {{endpoints: [x:1], capacity: 1}}}}}}"
    services = "".join(f"  s{i}: {'&both ' + both if i == 0 else '*both'}\n" for i in range(250))
    text = "version: 1\nregions: {a: {}, b: {latency: {a: 1ms}}}\nservices:\n" + services
    much = "a sidecar of this fleet needs about 101 MB for the endpoints of 250 services"
    fix = "list the ones it calls under fleets, uses:"
    assert fleet_warnings(text) == [f"x:3:1: services: {much}; {fix}"]
    fleets = "fleets: {small: {uses: [s1, s2]}, big: {}}\n"
    assert fleet_warnings(text + fleets) == [f"x:254:35: fleets.big: {much}; {fix}"]
    assert fleet_warnings(text + "fleets: {small: {uses: [s1, s2]}}\n") == []
