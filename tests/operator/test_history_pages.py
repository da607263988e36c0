"""`/api/v1/history` over real HTTP: what was decided when, what changed between, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.history.world import AT_HOME, AWAY, T0, in_memory, made
from tests.operator.world import Process, Site, serving
from tests.signals.world import in_loop
from xds_server.model import Event
from xds_server.screens.times import shown

START, KILLED, BACK = (shown(T0 + seconds) for seconds in (15, 25, 35))


@asynccontextmanager
async def a_past() -> AsyncIterator[Site]:
    """us-east-1 dies 20 s after the beginning, and is back at 30 s, under another policy."""
    past = in_memory()
    past.decide(made(AT_HOME), made(AT_HOME, name="search"))
    past.decide(made(AWAY, down="us-east-1"), made(AT_HOME, name="search"))
    fields = (("service", "checkout"), ("region", "us-east-1"))
    past.chronicle.happened(Event("region.down", 0.0, "it is down", "alarm", fields), past.wall)
    past.chronicle.happened(Event("policy.accepted", 0.0, "policy p2 in force: search removed"), past.wall + 6)
    past.decide(made(AT_HOME), policy="p2")
    async with serving(Process(chronicle=past.chronicle)) as site:
        yield site


async def get(site: Site, page: str) -> Any:
    answer = await site.get(f"/api/v1/history{page}")
    assert answer.status == 200, answer.text
    return answer.json


@in_loop
async def test_entries_page_from_the_newest_to_the_oldest() -> None:
    async with a_past() as site:
        first = await get(site, "?limit=4")
        rest = await get(site, f"?limit=10&before={first['next']}")
        alarms = await get(site, f"?kind=region&region=us-east-1&service=checkout&from={START}&to={KILLED}")
    assert [entry["message"] for entry in first["entries"]] == [
        "search is no longer in the policy",
        "checkout: us-east-1 down → healthy; weights of 4 of 4 views",
        "policy p2 in force: search removed",
        "it is down",
    ]
    assert (len(rest["entries"]), rest["next"]) == (3, None)
    assert alarms["entries"] == [
        {
            "id": 4,
            "time": T0 + 20,
            "kind": "region.down",
            "severity": "alarm",
            "message": "it is down",
            "service": "checkout",
            "regions": ["us-east-1"],
            "fields": {"service": "checkout", "region": "us-east-1"},
        }
    ]


@in_loop
async def test_the_decision_in_force_at_a_time_has_its_reasons() -> None:
    async with a_past() as site:
        then = await get(site, f"/decision?service=checkout&at={KILLED}")
        never = await site.get(f"/api/v1/history/decision?service=checkout&at={shown(T0)}")
        ended = await site.get(f"/api/v1/history/decision?service=search&at={BACK}")
    assert (then["service"], then["time"], then["policy"]) == ("checkout", T0 + 20, "p1")
    assert then["decision"]["regions"][3]["reason"] == "connection refused"
    assert then["decision"]["views"][0]["reasons"]["eu-west-1"] == "test"
    assert (never.status, ended.status) == (404, 404)
    assert never.json["detail"] == "no decision for 'checkout' at that time is kept"


@in_loop
async def test_a_series_is_of_a_view_or_of_all_requests() -> None:
    async with a_past() as site:
        one = await get(site, f"/series?service=checkout&view=sa-east-1&from={START}&to={BACK}")
        whole = await get(site, f"/series?service=checkout&from={START}&to={BACK}")
        nowhere = await get(site, f"/series?service=checkout&view=mars&from={START}&to={BACK}")
    assert [point["time"] - T0 for point in one["points"]] == [15.0, 20.0, 30.0]
    assert [point["weights"]["us-east-1"] for point in one["points"]] == [7000, 0, 7000]
    assert [point["verdicts"]["us-east-1"] for point in one["points"]] == ["healthy", "down", "healthy"]
    assert [point["weights"] for point in whole["points"]] == [point["weights"] for point in one["points"]]
    assert all(point["weights"] == {} for point in nowhere["points"])


@in_loop
async def test_a_difference_has_each_value_before_and_after() -> None:
    async with a_past() as site:
        killed = await get(site, f"/diff?from={START}&to={KILLED}")
        both = await get(site, f"/diff?from={START}&to={BACK}")
    assert killed["policy"] == ["p1", "p1"]
    (checkout,) = killed["services"]
    assert (checkout["service"], checkout["what"]) == ("checkout", "changed")
    assert checkout["verdicts"] == {"us-east-1": ["healthy", "down"]}
    assert checkout["weights"]["sa-east-1"] == {"eu-west-1": [3000, 10_000], "us-east-1": [7000, 0]}
    assert killed["happened"] == {"decision": 1, "region.down": 1}
    assert both["policy"] == ["p1", "p2"]
    assert both["edits"] == ["policy p2 in force: search removed"]
    assert [(each["service"], each["what"]) for each in both["services"]] == [("search", "removed")]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("?from=yesterday", "from: 'yesterday' is not a time; write it as"),
        ("?limit=many", "limit must be a whole number"),
        ("?before=-1", "before must be a whole number"),
        ("/series", "service is needed"),
        ("/decision?at=-1m", "service is needed"),
        ("/decision?service=a&at=1", "at: '1' is not a time"),
        ("/series?service=a&from=-1m&to=-2m", "from is later than to"),
        ("/diff?from=now&to=-1h", "from is later than to"),
    ],
)
@in_loop
async def test_a_bad_parameter_is_a_clear_400(query: str, why: str) -> None:
    async with a_past() as site:
        answer = await site.get(f"/api/v1/history{query}")
    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert answer.json["detail"].startswith(why)


@in_loop
async def test_a_history_that_cannot_be_asked_is_told_from_an_empty_one() -> None:
    past = in_memory()
    async with serving(Process(chronicle=past.chronicle)) as site:
        assert (await get(site, ""))["entries"] == []
        past.archive.close()
        answer = await site.get("/api/v1/history")
    assert answer.status == 503


@in_loop
async def test_shares_of_all_requests_follow_demand() -> None:
    past = in_memory()
    row = ((10_000, 0, 0, 0),) + ((0, 10_000, 0, 0),) * 3
    past.decide(replace(made(AT_HOME), weights=row, demand_rps=(70.0, 30.0, 0.0, 0.0)))
    async with serving(Process(chronicle=past.chronicle)) as site:
        (point,) = (await get(site, f"/series?service=checkout&to={BACK}"))["points"]
    assert list(point["weights"].values()) == [7000, 3000, 0, 0]
