"""Agents' reports: over gRPC with the client, over HTTP as JSON, and everything that is refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.signals.world import in_loop
from tests.support import decisions as made
from xds_server.agent.client import AgentClient
from xds_server.agent.v1 import agent_pb2
from xds_server.model import AgentReport
from xds_server.signals import agents
from xds_server.signals.agents import AgentDesk, BadReportError, Sender
from xds_server.signals.places import Places

PAGE = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def desk(now: Clock | None = None) -> tuple[AgentDesk, list[AgentReport]]:
    places, seen = Places(), list[AgentReport]()
    places.follow(made.policy([made.service(), made.service("search", {"us-east-1": made.made_up("search", 0)})]))
    return AgentDesk(seen.append, places, now or Clock()), seen


def taken(**report: Any) -> AgentReport:
    at, seen = desk()
    body = json.dumps({"reporter": "r", "reports": [{"region": "us-east-1"} | report]})
    assert at.take_json(body.encode()) == 1
    return seen[0]


def refused(text: str) -> tuple[str, ...]:
    at, seen = desk()
    with pytest.raises(BadReportError) as error:
        at.take_json(text.encode())
    assert seen == []
    assert at.counts.ignored >= 1
    return error.value.problems


def refused_report(**report: Any) -> tuple[str, ...]:
    return refused(json.dumps({"reporter": "r", "reports": [{"region": "us-east-1"} | report]}))


def test_what_is_not_said_is_none() -> None:
    assert taken(utilisation=0.5) == AgentReport("r", "us-east-1", "", None, 0.5, None, "", 30.0, 100.0)
    assert taken(service="checkout", health="HEALTHY").healthy is True
    everything = taken(service="search", view="eu-west-1", health="UNHEALTHY", capacity_rps=0, ttl="1.5s", detail="why")
    assert everything == AgentReport("r", "us-east-1", "search", False, None, 0.0, "why", 1.5, 100.0, "eu-west-1")


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        ({}, "health: says nothing; report health, utilisation or capacity_rps"),
        ({"health": 7}, "health: write HEALTHY or UNHEALTHY, or leave it out"),
        ({"health": 1, "region": "mars"}, "region: 'mars' is not a region of the policy"),
        ({"health": 1, "region": ""}, "region: '' is not a region of the policy"),
        ({"health": 1, "service": "cart"}, "service: 'cart' is not deployed in us-east-1"),
        ({"health": 1, "service": "search", "region": "eu-west-1"}, "service: 'search' is not deployed in eu-west-1"),
        ({"health": 1, "view": "mars"}, "view: 'mars' is not a region of the policy"),
        ({"utilisation": -0.1}, "utilisation: a share from 0 to 10, where 0.7 is 70 %"),
        ({"utilisation": 62}, "utilisation: a share from 0 to 10, where 0.7 is 70 %"),
        ({"utilisation": "NaN"}, "utilisation: a share from 0 to 10, where 0.7 is 70 %"),
        ({"capacity_rps": "Infinity"}, "capacity_rps: requests per second from 0 to 1e+09"),
        ({"health": 1, "ttl": "0.5s"}, "ttl: from 1s to 3600s"),
        ({"health": 1, "ttl": "3601s"}, "ttl: from 1s to 3600s"),
        ({"health": 1, "detail": "x" * 201}, "detail: at most 200 characters"),
    ],
)
def test_a_bad_report_is_refused_with_its_reason(report: dict[str, Any], problem: str) -> None:
    assert refused_report(**report) == (f"reports[0].{problem}",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "null",
        '{"reporter": 1}',
        '{"reports": {}}',
        '{"unknown": 1}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"reporter": "r", "reports": [{"region": "us-east-1", "ttl": "soon"}]}',
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    assert refused(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    at, _ = desk()
    with pytest.raises(BadReportError):
        at.take_json(b"\xff\xfe{}")


def test_all_is_taken_or_nothing_with_every_reason() -> None:
    reports = [{"region": "us-east-1", "health": 1}, {"region": "x", "health": 1}, {"region": "us-east-1"}]
    problems = refused(json.dumps({"reports": reports}))
    assert [problem.partition(":")[0] for problem in problems] == ["reporter", "reports[1].region", "reports[2].health"]


def test_how_many_reports_come_at_once_is_bounded() -> None:
    one = {"region": "us-east-1", "health": 1}
    assert refused(json.dumps({"reporter": "r"})) == ("reports: 1 to 1000 are taken at once, not 0",)
    assert "not 1001" in refused(json.dumps({"reporter": "r", "reports": [one] * 1001}))[0]


def test_reporters_are_bounded_until_old_ones_are_silent() -> None:
    now = Clock()
    at, _ = desk(now)
    one = [agent_pb2.Report(region="us-east-1", health=agent_pb2.HEALTHY)]
    for number in range(agents.MOST_REPORTERS):
        at.take(agent_pb2.ReportRequest(reporter=f"r{number}", reports=one))
    late = agent_pb2.ReportRequest(reporter="late", reports=one)
    with pytest.raises(BadReportError, match="you report under 100 other names already"):
        at.take(late)
    assert at.take(late, Sender("", "10.0.0.9")) == at.take(late, Sender("alice")) == 1
    assert at.take(agent_pb2.ReportRequest(reporter="r7", reports=one)) == 1
    now.time += agents.MOST_TTL_S + 1
    assert at.take(late) == 1


def test_who_is_known_by_name_is_one_sender_wherever_it_is_and_named_in_what_it_says() -> None:
    at, seen = desk()
    one = [agent_pb2.Report(region="us-east-1", health=agent_pb2.HEALTHY)]
    for number in range(agents.MOST_REPORTERS):
        at.take(agent_pb2.ReportRequest(reporter=f"r{number}", reports=one), Sender("alice", f"10.0.0.{number}"))
    with pytest.raises(BadReportError, match="other names already"):
        at.take(agent_pb2.ReportRequest(reporter="late", reports=one), Sender("alice", "10.0.1.1"))
    assert {report.sender for report in seen} == {"alice"}


def test_who_has_been_silent_longest_is_forgotten_and_loses_nothing() -> None:
    at, seen = desk()
    report = agent_pb2.ReportRequest(
        reporter="r", reports=[agent_pb2.Report(region="us-east-1", health=agent_pb2.HEALTHY)]
    )
    for number in (*range(agents.MOST_SENDERS + 1), 0):
        assert at.take(report, Sender("", f"10.0.0.{number}")) == 1
    assert len(seen) == agents.MOST_SENDERS + 2


@asynccontextmanager
async def serving(at: AgentDesk) -> AsyncIterator[str]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((at.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@in_loop
async def test_the_client_reports_over_grpc() -> None:
    at, seen = desk()

    def report(address: str) -> None:
        with AgentClient(address, reporter="monitor") as client:
            client.report("us-east-1", "checkout", healthy=True, utilisation=0.62, capacity_rps=18_000, ttl_s=2.5)
            client.report("eu-west-1", healthy=False, view="us-east-1", detail="link cut")
            with pytest.raises(grpc.RpcError) as error:
                client.report("mars", healthy=True)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.value.details() == "reports[0].region: 'mars' is not a region of the policy"

    async with serving(at) as address:
        await asyncio.to_thread(report, address)
    assert seen == [
        AgentReport("monitor", "us-east-1", "checkout", True, 0.62, 18_000.0, "", 2.5, 100.0),
        AgentReport("monitor", "eu-west-1", "", False, None, None, "link cut", 30.0, 100.0, "us-east-1"),
    ]
    assert at.counts.messages == 2


@in_loop
async def test_bytes_that_are_no_message_are_refused() -> None:
    at, _ = desk()
    async with serving(at) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary("/xds_server.agent.v1.ReportService/Report")(b"\xff")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_examples_on_the_page_are_taken() -> None:
    found = re.search(r"-d '(\{.*?\})'\n(\{.*?\})\n", PAGE, re.DOTALL)
    assert found is not None
    at, seen = desk()
    assert {"accepted": at.take_json(found[1].encode())} == json.loads(found[2])
    assert [(report.region, report.healthy) for report in seen] == [("us-east-1", True), ("eu-west-1", False)]
    calls = re.findall(r"client\.report\((.*)\)\n", PAGE)
    assert calls == ['"us-east-1", "checkout", healthy=True, utilisation=0.62, capacity_rps=18_000']
