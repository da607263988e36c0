"""What-if answers: over HTTP, and as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.operator.world import Process, serving
from tests.signals.world import in_loop
from xds_server.decision.what_if import Loss, Plan
from xds_server.model import Shed, ShedClass
from xds_server.operator.plans import plans_json
from xds_server.screens.plan_tables import all_table, one_table

REGIONS = ("east", "south", "west")
GOOD = Plan((0.0, 100.0, 400.0), 0.8, 0.0, 0.0, 12.25)
SHORT = Plan((0.0, 200.0, 600.0), 1.2, 100.0, 0.0, 20.0)
NOBODY = Plan((0.0, 0.0, 0.0), 0.0, 0.0, 300.0, 0.0)


def loss(service: str, reflex: Plan, best: Plan, without: str = "east") -> Loss:
    return Loss(service, without, REGIONS, (0.0, 0.0, 500.0), (300.0, 0.0, 200.0), reflex, best, headroom=1.0)


@in_loop
async def test_a_plan_is_asked_for_by_region_service_and_demand() -> None:
    process = Process(lost=(loss("shop", GOOD, GOOD), loss("cart", GOOD, GOOD), loss("shop", GOOD, GOOD, "west")))
    async with serving(process) as site:
        answer = (await site.get("/api/v1/plan?without=east&service=shop&demand=1.5")).json
        assert answer["policy"] == "abc123"
        assert answer["demand"] == 1.5
        assert [(x["service"], x["without"], x["headroom"]) for x in answer["losses"]] == [("shop", "east", 1.5)]
        assert len((await site.get("/api/v1/plan")).json["losses"]) == 3


@in_loop
async def test_a_name_that_is_nowhere_is_a_problem_that_lists_the_names_there_are() -> None:
    async with serving(Process(lost=(loss("shop", GOOD, GOOD),))) as site:
        for query, words in (("without=north", "'north'; there is: east"), ("service=till", "'till'; there is: shop")):
            answer = await site.get(f"/api/v1/plan?{query}")
            assert answer.status == 404
            assert words in answer.json["detail"]


@in_loop
async def test_a_demand_that_is_none_is_a_problem() -> None:
    async with serving(Process()) as site:
        for text in ("0", "-1", "x", "nan", "1e9"):
            answer = await site.get(f"/api/v1/plan?demand={text}")
            assert answer.status == 400
            assert "demand must be a number above 0" in answer.json["detail"]


def test_a_table_says_who_takes_what() -> None:
    assert one_table(plans_json([loss("shop", SHORT, GOOD)], 1.5, "d")).splitlines() == [
        "shop without east, demand × 1.5: 300 req/s must move",
        "  region  capacity  now  reflex        N-1",
        "  east    gone      300       0          0",
        "  south   0           0     200        100",
        "  west    500       200     600  120%  400  80%",
        "  reflex, in milliseconds:  DOES NOT FIT, 100 req/s too many; +20.0 ms a request on average",
        "  N-1, when it is confirmed: fits, hottest region at 80%; +12.2 ms a request on average",
    ]


def test_a_table_says_what_is_refused() -> None:
    batch = Shed(20, (ShedClass("batch", 60), ShedClass("", 5)), "west would get 600 req/s and can serve 500")
    short = replace(loss("shop", SHORT, SHORT), shed=(batch, None, Shed(10, (), "")), shed_rps=80.0)
    answer = plans_json([short], 1.0, "d")
    assert one_table(answer).splitlines()[-3:] == [
        "  refused then, so that regions hold: 80 req/s, 16% of all requests",
        "    from east 20%: 60% of batch, 5% of the rest",
        "    from west 10%",
    ]
    assert all_table(answer).endswith("N-1: DOES NOT FIT, 100 req/s too many, 80 req/s refused")


@pytest.mark.parametrize(
    ("reflex", "best", "end"),
    [
        (GOOD, GOOD, "fits"),
        (SHORT, GOOD, "reflex: DOES NOT FIT, 100 req/s too many; N-1: fits, hottest region at 80%"),
        (NOBODY, NOBODY, "N-1: DOES NOT FIT, nobody serves 300 req/s"),
    ],
)
def test_the_proof_has_a_row_for_each_loss(reflex: Plan, best: Plan, end: str) -> None:
    head, row = all_table(plans_json([loss("shop", reflex, best)], 1.0, "d")).splitlines()
    assert head.split() == ["without", "service", "moves", "reflex", "N-1", "added", "headroom"]
    assert row.split()[:2] == ["east", "shop"]
    assert row.endswith(end)
