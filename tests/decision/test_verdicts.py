"""The rules of one place's verdict, each on its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.decision.verdicts import (
    MAX_HOLD_DOWN_S,
    STEP,
    Belief,
    EndpointState,
    Evidence,
    Standing,
    held,
    hold_down_s,
    judge,
    limited,
    next_endpoint,
    stale_after_s,
)
from xds_server.model import Address, Health, Observation, Target, Verdict
from xds_server.policy.types import HealthCheck

CHECK = HealthCheck(unhealthy_after=2, healthy_after=3)
TARGET = Target("checkout", "us-east-1", Address("10.0.0.1", 80))
RAMP_S = 20.0


def feed(results: str, state: EndpointState | None = None, *, hasty: bool = False) -> EndpointState:
    """Feed `+` (healthy) and `-` (not), one a second."""
    for at, result in enumerate(results):
        seen = Observation("controlplane", TARGET, result == "+", float(at))
        state = next_endpoint(state, seen, CHECK, hasty=hasty)
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("results", "up"),
    [
        ("+", True),
        ("+-", True),
        ("+--", False),
        ("+-+-+-", True),
        ("+--+", False),
        ("+--++", False),
        ("+--+++", True),
        ("+--++-+", False),
        ("-", None),
        ("--", False),
        ("-+", True),
    ],
)
def test_an_endpoint_flips_after_so_many_in_a_row(results: str, up: bool | None) -> None:
    assert feed(results).up is up


def test_where_nothing_is_known_one_bad_result_decides() -> None:
    assert feed("-", hasty=True).up is False


@given(st.text(alphabet="+-", min_size=1, max_size=40))
def test_an_endpoint_never_flips_against_its_last_results(results: str) -> None:
    up = feed(results).up
    if results.endswith("--"):
        assert up is False
    if results.endswith("+++"):
        assert up is True


def evidence(up: int, total: int = 2, at: float = 0.0) -> Evidence:
    return Evidence(up=up, decided=total, total=total, at=at, detail="" if up == total else "connection refused")


def run(ups: list[int], every: float = 1.0, start: Belief | None = None) -> Belief:
    belief = start
    for i, up in enumerate(ups):
        belief = judge(belief, evidence(up), RAMP_S, i * every)
    assert belief is not None
    return belief


def test_the_first_evidence_decides() -> None:
    assert run([2]).verdict.health is Health.HEALTHY
    assert run([1]).verdict.health is Health.DEGRADED
    assert run([0]).verdict.health is Health.DOWN


def test_leaving_is_at_once_and_the_score_is_the_share_that_is_up() -> None:
    assert run([2, 1]).verdict.score == 0.5
    down = run([2, 0]).verdict
    assert (down.health, down.score, down.ramp) == (Health.DOWN, 0.0, 0.0)
    assert "connection refused" in down.reason


def test_returning_is_a_ramp_in_steps() -> None:
    belief = run([2, 0, 2])
    assert (belief.verdict.health, belief.verdict.ramp) == (Health.RECOVERING, STEP)
    ramps = []
    for second in range(3, 40):
        belief = judge(belief, evidence(2), RAMP_S, float(second))
        ramps.append(belief.verdict.ramp)
    assert ramps == sorted(ramps)
    assert belief.verdict.health is Health.HEALTHY
    assert ramps.index(1.0) == pytest.approx(RAMP_S - 2, abs=1)


def test_a_ramp_stands_still_while_the_region_weakens() -> None:
    belief = run([2, 0, 2, 2, 2])
    before = belief.verdict.ramp
    weak = judge(belief, evidence(1), RAMP_S, 10.0)
    assert (weak.verdict.ramp, weak.verdict.score) == (before, 0.5)


def test_a_region_partly_up_gets_its_capacity_back_in_steps() -> None:
    belief = run([2, 1, 2])
    assert belief.verdict.health is Health.HEALTHY
    assert 0.5 <= belief.verdict.score < 1.0
    assert run([2, 1] + [2] * 30).verdict.score == 1.0


def test_each_fall_is_held_longer() -> None:
    assert [hold_down_s(n) for n in (1, 2, 3, 4)] == [0.0, 10.0, 20.0, 40.0]
    assert hold_down_s(100) == MAX_HOLD_DOWN_S
    belief = run([2, 0, 2, 0, 2])
    assert belief.verdict.health is Health.DOWN
    assert "held down" in belief.verdict.reason


def test_falls_are_forgotten_after_a_while() -> None:
    belief = run([2, 0, 2])
    again = judge(belief, evidence(0), RAMP_S, 10_000.0)
    assert again.falls == 1


def test_without_evidence_the_verdict_is_held_and_then_goes_on_from_there() -> None:
    belief = run([2, 0])
    unknown = Belief(held(belief.verdict, "no fresh evidence", 50.0), falls=belief.falls, fell_at=belief.fell_at)
    assert (unknown.verdict.health, unknown.verdict.held, unknown.verdict.score) == (Health.UNKNOWN, Health.DOWN, 0.0)
    assert judge(unknown, evidence(2), RAMP_S, 60.0).verdict.health is Health.RECOVERING
    assert judge(unknown, evidence(0), RAMP_S, 60.0).verdict.health is Health.DOWN


def test_holding_twice_is_holding_once() -> None:
    once = held(run([1]).verdict, "no fresh evidence", 5.0)
    assert held(once, "no fresh evidence", 9.0) == once


def test_evidence_is_stale_after_three_missed_probes() -> None:
    assert stale_after_s(HealthCheck(interval_ms=1_000, timeout_ms=500)) == 5.0
    assert stale_after_s(HealthCheck(interval_ms=10_000, timeout_ms=2_000)) == 32.0


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_score_and_ramp_stay_fractions_and_down_means_zero(ups: list[int]) -> None:
    belief: Belief | None = None
    for second, up in enumerate(ups):
        belief = judge(belief, evidence(up), RAMP_S, float(second))
        verdict: Verdict = belief.verdict
        assert 0.0 <= verdict.score <= 1.0
        assert 0.0 <= verdict.ramp <= 1.0
        assert (verdict.health is Health.DOWN) == (not verdict.serves)
        if up == 0:
            assert verdict.health is Health.DOWN


def test_a_region_is_degraded_from_when_traffic_limits_it_and_healthy_from_when_that_ends() -> None:
    well, belief = Evidence(2, 2, 2, 0.0, ""), None
    since = []
    for now in range(60):
        slow = Standing(0.4, "p99 is 5 times") if 20 <= now < 40 else Standing()
        belief = limited(belief, well, standing=slow, ramp_up_s=RAMP_S, now=float(now))
        since.append((belief.verdict.health, belief.verdict.since))
    healthy, degraded = Health.HEALTHY, Health.DEGRADED
    assert since == [(healthy, 0.0)] * 20 + [(degraded, 20.0)] * 20 + [(healthy, 40.0)] * 20
