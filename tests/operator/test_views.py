"""What the decision and the fleet look like as JSON."""

from __future__ import annotations

import json

import pytest

from tests.operator.world import client, decision, strained
from xds_server.model import Decision, Health
from xds_server.operator.views import PolicyStatus, decision_json, fleet_json, short_type

POLICY = PolicyStatus("policy.yaml", "abc123")


def shown() -> dict[str, object]:
    made = decision_json(decision(), POLICY, now=100.0)
    again: dict[str, object] = json.loads(json.dumps(made, allow_nan=False))
    assert again == made, "everything is plain JSON"
    return again


def test_a_region_is_summed_up_by_its_worst_service_by_name() -> None:
    regions = {item["region"]: item for item in decision_json(decision(), POLICY, now=100.0)["regions"]}
    assert regions["sa-east-1"] == {
        "region": "sa-east-1",
        "health": "down",
        "reason": "checkout: 2 of 2 endpoints down: connection refused",
        "since_s": 30.0,
    }
    assert regions["us-east-1"]["health"] == "healthy"


def test_a_region_without_services_is_unknown_and_says_so() -> None:
    empty = Decision(("mars-1",), ())
    assert decision_json(empty, POLICY, 0.0)["regions"] == [
        {"region": "mars-1", "health": Health.UNKNOWN, "reason": "no service is deployed here", "since_s": 0.0}
    ]


def test_a_service_shows_its_tables_by_name() -> None:
    checkout = shown()["services"][0]  # type: ignore[index]
    assert checkout["regions"][2] == {
        "region": "sa-east-1",
        "health": "down",
        "held": None,
        "score": 0.0,
        "ramp": 1.0,
        "reason": "2 of 2 endpoints down: connection refused",
        "capacity_rps": 1000.0,
        "capacity_reason": "",
        "load_rps": 100.0,
        "up": 0,
        "total": 2,
        "since_s": 30.0,
    }
    weights = {"ap-southeast-1": 0, "eu-west-1": 3000, "sa-east-1": 0, "us-east-1": 7000}
    assert checkout["views"][3] == {
        "view": "us-east-1",
        "demand_rps": 100.0,
        "weights": weights,
        "half_open": None,
        "shed": None,
        "reasons": dict.fromkeys(weights, "test"),
    }
    assert checkout["reflex"]["us-east-1"]["eu-west-1"]["us-east-1"] == 0
    assert sum(checkout["reflex"]["us-east-1"]["eu-west-1"].values()) == 10_000
    assert checkout["reflex_fit"]["us-east-1"] == {
        "overload": 1.0,
        "reason": "fits: ap-southeast-1, eu-west-1 and sa-east-1 have 2,700 req/s to spare for its 100",
    }
    assert checkout["n_minus_1"] == [
        {
            "without": "us-east-1",
            "load_rps": {"ap-southeast-1": 10.0, "eu-west-1": 20.0, "sa-east-1": 0.0, "us-east-1": 0.0},
            "overload": 1.25,
            "added_latency_ms": 12.346,
        }
    ]
    assert checkout["protection"]["us-east-1"]["eu-west-1"]["max_requests"] == 2048
    assert checkout["protection"]["us-east-1"]["eu-west-1"]["reasons"] == {"a": "why"}


def test_regions_where_a_service_is_not_deployed_are_left_out() -> None:
    search = shown()["services"][1]  # type: ignore[index]
    assert [place["region"] for place in search["regions"]] == ["us-east-1"]
    assert len(search["views"]) == 4
    assert all(view["weights"] == {"us-east-1": 10_000} for view in search["views"])
    assert list(search["protection"]["eu-west-1"]) == ["us-east-1"]


def test_the_fleet_is_in_the_order_of_views_and_ids() -> None:
    clients = [client("b"), client("a"), client("z", region="eu-west-1")]
    shown = fleet_json(clients, (), now=100.0)["clients"]
    assert [(item["region"], item["id"]) for item in shown] == [
        ("eu-west-1", "z"),
        ("us-east-1", "a"),
        ("us-east-1", "b"),
    ]
    assert shown[0] == {
        "id": "z",
        "fleet": "default",
        "region": "eu-west-1",
        "kind": "envoy",
        "agent": "envoy",
        "version": "1.40.0",
        "peer": "ipv4:127.0.0.1:5000",
        "variant": "sotw",
        "on_trial": False,
        "connected_s": 10.0,
        "types": {
            "CDS": {
                "sent": "c1",
                "acked": "c1",
                "synced": True,
                "nacked": None,
                "rejected": [],
                "rejected_count": 0,
            },
            "RDS": {
                "sent": "r2",
                "acked": "r1",
                "synced": False,
                "nacked": {"version": "r2", "error": "bad route"},
                "rejected": [{"name": "outbound", "version": "v2", "error": "bad route"}],
                "rejected_count": 1,
            },
        },
    }


@pytest.mark.parametrize(
    ("type_url", "short"),
    [
        ("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "EDS"),
        ("type.googleapis.com/evil.Made.Up", "other"),
        ("", "other"),
    ],
)
def test_types_have_short_names_and_made_up_ones_share_one(type_url: str, short: str) -> None:
    assert short_type(type_url) == short


def test_a_view_shows_what_it_refuses_and_what_it_tries() -> None:
    shown = decision_json(strained(), PolicyStatus("p"), 100.0)["services"][0]["views"][3]
    assert shown["half_open"] == {"ap-southeast-1": 0, "eu-west-1": 2900, "sa-east-1": 100, "us-east-1": 7000}
    assert shown["shed"] == {"percent": 10, "classes": [{"name": "batch", "percent": 50}], "reason": "full"}
