"""The rules of one place's verdict, each on its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.decision.verdicts import (
    FULL_STANDING,
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
    marked,
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


def test_capacity_returns_while_live_traffic_limits_the_share() -> None:
    belief = limited(None, evidence(1), standing=Standing(), ramp_up_s=RAMP_S, now=0.0)
    slow = Standing(0.9, "p99 is 3 times")
    scores = []
    for now in range(1, 40):
        belief = limited(belief, evidence(2), standing=slow, ramp_up_s=RAMP_S, now=float(now))
        scores.append(belief.verdict.score)
    assert (scores[0], scores[-1]) == (0.5, 1.0)
    assert scores == sorted(scores)


def test_a_region_that_does_well_again_is_recovering_while_its_share_returns() -> None:
    belief = limited(None, evidence(2), standing=Standing(0.4, "20% fail"), ramp_up_s=RAMP_S, now=0.0)
    again = limited(belief, evidence(2), standing=Standing(0.45, "in steps", returning=True), ramp_up_s=RAMP_S, now=9.0)
    assert (belief.verdict.health, again.verdict.health) == (Health.DEGRADED, Health.RECOVERING)
    assert again.verdict.since == 9.0


def words(of: Evidence, *, standing: Standing = FULL_STANDING, before: Belief | None = None) -> str:
    return limited(before, of, standing=standing, ramp_up_s=RAMP_S, now=20.0).verdict.reason


def test_the_words_say_what_was_counted_and_by_whom() -> None:
    assert words(Evidence(1, 1, 2, 0.0, "")) == "1 of 1 endpoints up, 1 not heard of yet"
    assert words(Evidence(0, 1, 2, 0.0, "refused")) == "0 of 1 endpoints up, 1 not heard of yet (refused)"
    seen = Evidence(2, 2, 2, 0.0, "", by=" by Envoys' probes; our own probes fail")
    assert words(seen) == "2 of 2 endpoints up by Envoys' probes; our own probes fail"
    live = Evidence(2, 2, 2, 0.0, "", words="live traffic is answered", by="; our own probes fail")
    assert words(live) == "live traffic is answered; our own probes fail"
    hopeless = Standing(0.1, "90% fail", hopeless=True)
    assert words(live, standing=hopeless) == (
        "live traffic is answered; our own probes fail, but 90% fail; held down for at least 20 s"
    )
    assert words(evidence(2), standing=hopeless).startswith("2 of 2 endpoints pass their checks, but 90% fail")


def test_the_words_of_a_region_at_rest_follow_who_sees_it() -> None:
    ours, theirs = evidence(2), replace(evidence(2), by=" by Envoys' probes; our own probes fail")
    belief = None
    for seen in (ours, theirs, ours):
        belief = limited(belief, seen, standing=FULL_STANDING, ramp_up_s=RAMP_S, now=1.0)
        assert belief.verdict.reason == f"2 of 2 endpoints up{seen.by}"
    assert limited(belief, ours, standing=FULL_STANDING, ramp_up_s=RAMP_S, now=9.0) is belief


def test_our_own_probes_are_outvoted_only_where_a_region_serves() -> None:
    up = limited(None, evidence(2), standing=FULL_STANDING, ramp_up_s=RAMP_S, now=0.0)
    hopeless = Standing(0.1, "90% fail", hopeless=True)
    down = limited(None, evidence(2), standing=hopeless, ramp_up_s=RAMP_S, now=0.0)
    assert marked(up, outvoted=True).verdict.outvoted
    assert not marked(down, outvoted=True).verdict.outvoted
    assert marked(marked(up, outvoted=True), outvoted=False) == up


def test_what_is_held_says_as_what() -> None:
    found = held(held(run([2]).verdict, "no word", 3.0), "still none", 4.0)
    assert (found.health, found.reason) == (Health.UNKNOWN, "still none; held as healthy until that changes")


def test_a_region_that_fails_real_traffic_again_is_held_down_longer() -> None:
    hopeless, belief, now, held_s = Standing(0.1, "90% fail", hopeless=True), run([2]), 1.0, []
    for _ in range(3):
        belief = limited(belief, evidence(2), standing=hopeless, ramp_up_s=RAMP_S, now=now)
        held_s.append(belief.hold_until - now)
        assert belief.verdict.reason.endswith(f"held down for at least {held_s[-1]:.0f} s")
        now = belief.hold_until - 0.1
        belief = limited(belief, evidence(2), standing=FULL_STANDING, ramp_up_s=RAMP_S, now=now)
        assert belief.verdict.health is Health.DOWN
        now = belief.hold_until
        belief = limited(belief, evidence(2), standing=FULL_STANDING, ramp_up_s=RAMP_S, now=now)
        assert (belief.verdict.health, belief.verdict.ramp) == (Health.RECOVERING, STEP)
    assert held_s == [20.0, 40.0, 80.0]


def test_time_without_evidence_is_not_counted_to_a_ramp() -> None:
    belief = run([2, 0, 2, 2, 2, 2])
    assert (belief.verdict.health, belief.verdict.ramp) == (Health.RECOVERING, 4 * STEP)
    silent = replace(belief, verdict=held(belief.verdict, "no fresh evidence", 10.0))
    again = judge(silent, evidence(2), RAMP_S, 70.0)
    assert (again.verdict.health, again.verdict.ramp) == (Health.RECOVERING, 4 * STEP)
    assert judge(again, evidence(2), RAMP_S, 71.0).verdict.ramp == pytest.approx(5 * STEP)
