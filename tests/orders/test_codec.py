"""What is written of orders is what comes back, on another clock."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from xds_server.orders.codec import BadOrdersError, from_json, to_json
from xds_server.orders.types import Ended, Kind, Order, Orders, Phase, Report, Standing
from xds_server.orders.words import cost
from xds_server.policy.types import OnHarm

EVACUATION = Standing(
    Order("e-1", Kind.EVACUATE, "anna", "why", 10.0, 100.0, region="us-east-1", over_s=5.0, on_harm=OnHarm.ROLL_BACK),
    Phase.MOVING,
    step_at=12.0,
    moved=0.3,
    detail="waiting",
    report=Report(requests=10, lost=0, acked_s=1.5, gap=True),
)
WEIGHTS = Standing(
    Order("w-1", Kind.WEIGHT, "bo", "test", 1.0, 2.0, service="s", weights=(("a", 80.0), ("b", 20.0)), forced=True),
    Phase.IN_FORCE,
    step_at=1.0,
)
ALL = Orders(7, (EVACUATION, WEIGHTS), (Ended(WEIGHTS, 2.0, "expired"),))


def test_orders_come_back_as_they_were() -> None:
    assert from_json(json.loads(json.dumps(to_json(ALL, 1e9))), 1e9) == ALL


def test_a_report_that_was_not_complete_says_that_something_is_missing() -> None:
    (back, _) = from_json(to_json(Orders(1, (replace(EVACUATION, report=Report()), WEIGHTS)), 0.0), 0.0).standing
    assert back.report == Report(gap=True)
    assert cost(replace(back, report=Report(requests=5, lost=0, gap=True))).startswith(
        "0 of 5 requests lost (without those of a restart in between)"
    )


def test_times_follow_the_clock_of_the_process() -> None:
    later = from_json(to_json(ALL, 1e9), 1e9 + 50.0)
    assert later.standing[0].order.ends == 50.0
    assert later.standing[0].step_at == -38.0
    assert later.ended[0].at == -48.0


@pytest.mark.parametrize("text", ["{}", '{"version": 1, "standing": [{}], "ended": []}', "[]", '{"version": "x"}'])
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadOrdersError):
        from_json(json.loads(text), 0.0)
