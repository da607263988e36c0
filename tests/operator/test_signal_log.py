"""What `/api/v1/signals` shows: the newest of each source, how old it is, and no more than that."""

from __future__ import annotations

from dataclasses import replace

from tests.operator.world import Process, serving
from tests.signals.world import in_loop
from xds_server.model import AccessSummary, Address, AgentReport, LoadReport, Observation, Target
from xds_server.operator import signal_log
from xds_server.operator.signal_log import KEPT_S, SignalLog

US, EU = "us-east-1", "eu-west-1"
ONE, TWO = (Target("checkout", EU, Address(f"10.0.0.{n}", 80)) for n in (1, 2))
LOAD = LoadReport("controlplane", US, "checkout", EU, 200, 190, 10, 7, 2.0, 90.0, reflex=20, dropped=4, envoys=3)
ACCESS = AccessSummary(
    "controlplane", US, "checkout", EU, 400, 8, 80.0, 120.0, 2.0, 95.0, 100.0, 50, 1.25, (0, 0, 42, 0, 0, 8), 2
)
AGENT = AgentReport("lb-7", EU, "", False, 0.7, None, "power", 30.0, 80.0)


def rows(*signals: signal_log.Signal, now: float = 100.0) -> list[signal_log.Json]:
    log = SignalLog()
    for signal in signals:
        log.add(signal)
    found: list[signal_log.Json] = log.json(now)["signals"]
    return found


def test_each_source_has_its_row() -> None:
    ours = Observation("controlplane", ONE, healthy=False, at=99.5, detail="connection refused")
    theirs = [Observation(name, ONE, healthy=True, at=98.0, view=US) for name in ("envoy-2", "envoy-1")]
    found = rows(LOAD, ACCESS, AGENT, ours, replace(ours, target=TWO, healthy=True, at=99.0, detail=""), *theirs)
    assert [(row["source"], row["view"], row["service"], row["region"]) for row in found] == [
        ("agent", "", "", EU),
        ("probes", "", "checkout", EU),
        ("als", US, "checkout", EU),
        ("hds", US, "checkout", EU),
        ("lrs", US, "checkout", EU),
    ]
    agent, probes, als, hds, lrs = found
    assert (agent["reporter"], agent["healthy"], agent["utilisation"], agent["age_s"]) == ("lb-7", False, 0.7, 20.0)
    assert (probes["up"], probes["total"], probes["detail"], probes["age_s"]) == (1, 2, "connection refused", 0.5)
    assert (hds["up"], hds["total"], hds["reporter"]) == (2, 2, "envoy-1, envoy-2")
    assert (lrs["issued_rps"], lrs["reflex_rps"], lrs["dropped_rps"], lrs["in_progress"]) == (100.0, 10.0, 2.0, 7)
    assert (als["requests_rps"], als["failed_rps"], als["p99_ms"], als["attempts"]) == (200.0, 4.0, 120.0, 1.25)
    assert als["logged"] == {"2xx": 42, "5xx": 8}


def test_the_newest_replaces_what_was_said_before() -> None:
    assert [row["issued_rps"] for row in rows(LOAD, replace(LOAD, issued=2, at=99.0))] == [1.0]
    assert len(rows(LOAD, replace(LOAD, view=EU), replace(LOAD, region=US), replace(LOAD, service="search"))) == 4


def test_what_nobody_repeats_is_gone_and_an_agents_word_with_its_time() -> None:
    assert len(rows(LOAD, AGENT, now=109.0)) == 2
    assert [row["source"] for row in rows(LOAD, AGENT, now=110.0)] == ["lrs"]
    assert rows(LOAD, AGENT, now=90.0 + KEPT_S) == []


@in_loop
async def test_what_sources_last_said_is_served() -> None:
    process = Process()
    process.said.add(LOAD)
    async with serving(process) as site:
        answer = await site.get("/api/v1/signals")
    assert [row["source"] for row in answer.json["signals"]] == ["lrs"]


def test_endpoints_that_are_no_longer_watched_are_gone() -> None:
    log = SignalLog()
    for target in (ONE, TWO):
        log.add(Observation("controlplane", target, healthy=True, at=99.0))
    log.add(LOAD)
    log.forget_except([ONE])
    found = {row["source"]: row for row in log.json(100.0)["signals"]}
    assert found["probes"]["total"] == 1
    assert "lrs" in found
