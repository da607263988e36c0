"""One place's verdict from its evidence: the table of health.py, rule by rule. Values in, values out.

A `Belief` is a verdict and what is needed to change it. Every function here returns the next belief; what several
regions failing at once means is not asked here but in health.py, which sees them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from xds_server.model import Health, Observation, Verdict
from xds_server.policy.types import HealthCheck

STEP = 0.05
"""Ramps and rising scores move in steps of this size: each step is a push to every Envoy."""

PAUSE = 0.25
"""For this part of the ramp time a ramp stands still when the region weakens."""

ENVOY_JITTER = 1.1
"""Envoys stretch the interval of their probes by up to a tenth, so that they do not all probe at once."""

LIVE_HOLD_S = 20.0
"""How long a region that failed real traffic stays down before it is tried again."""

HOLD_DOWN_S = 10.0
MAX_HOLD_DOWN_S = 300.0
FORGET_AFTER_S = 600.0
"""The second fall within `FORGET_AFTER_S` is held down `HOLD_DOWN_S`, each further one twice as long."""


class Place(NamedTuple):
    """One service in one region: what a verdict is about."""

    service: str
    region: str


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What we know of one address. `up` is None until decided; `streak` counts results in a row against `up`.

    `since` is when the last result was first seen without a break: when it began to fail, or to be well. `answered`:
    the last result was the address's own answer.
    """

    up: bool | None
    streak: int
    at: float
    detail: str
    since: float = 0.0
    answered: bool = False

    @property
    def well(self) -> bool:
        """Return whether the last result was good, whatever is believed."""
        return (self.up is True) == (self.streak == 0) and self.up is not None


@dataclass(frozen=True, slots=True)
class Belief:
    """A verdict and what is needed to change it: earlier falls, when the hold ends, where the ramp started.

    `ramp` is the one by evidence alone; the verdict's may be less, by what live traffic says. `share` is what part of
    the endpoints was up when that was last settled: a score below it is rising.
    """

    verdict: Verdict
    falls: int = 0
    fell_at: float = 0.0
    hold_until: float = 0.0
    moved_at: float = 0.0
    ramp: float = 1.0
    share: float = 1.0

    @property
    def rising(self) -> bool:
        """Return whether the score follows a share that has grown."""
        return self.verdict.score < self.share


@dataclass(frozen=True, slots=True)
class Standing:
    """What part of its share a region has earned, 0..1, and why less than all.

    `hopeless`: it is down for real. `returning`: nothing speaks against it now, and its share comes back in steps.
    """

    share: float = 1.0
    reason: str = ""
    hopeless: bool = False
    returning: bool = False


FULL_STANDING = Standing()


def worse(one: Standing, other: Standing) -> Standing:
    """Return the standing that leaves less; what is hopeless leaves nothing."""
    return min(one, other, key=lambda standing: (not standing.hopeless, standing.share))


@dataclass(frozen=True, slots=True)
class Evidence:
    """A place's endpoints, summed up: how many are up of those decided, when last heard of, what the worst one said.

    `unsettled`: the last results of some endpoint speak against what we believe of it, but not yet often enough.
    `words` take the place of the count where nothing was counted, `by` says who saw it if not our own probes alone.
    `outvoted`: these say that nothing is up, and are not believed.
    """

    up: int
    decided: int
    total: int
    at: float
    detail: str
    unsettled: bool = False
    words: str = ""
    by: str = ""
    outvoted: bool = False

    @property
    def share(self) -> float:
        """Return the share of decided endpoints that are up, 0..1."""
        return self.up / self.decided if self.decided else 0.0


def next_endpoint(state: EndpointState | None, seen: Observation, check: HealthCheck, *, hasty: bool) -> EndpointState:
    """Return the endpoint's state after one result. `hasty`: nothing else is known, one result decides."""
    up = state.up if state else None
    since = state.since if state is not None and state.well == seen.healthy else seen.at
    if seen.healthy == up:
        return EndpointState(up, 0, seen.at, seen.detail, since, seen.answered)
    streak = 1 + (state.streak if state and (up is not None or not seen.healthy) else 0)
    needed = check.healthy_after if seen.healthy else check.unhealthy_after
    if up is None and (seen.healthy or hasty):
        needed = 1
    if streak >= needed:
        return EndpointState(seen.healthy, 0, seen.at, seen.detail, since, seen.answered)
    return EndpointState(up, streak, seen.at, seen.detail, since, seen.answered)


def stale_after_s(check: HealthCheck) -> float:
    """Return how old the newest evidence may be, in seconds: three missed probes and a deadline."""
    return max(5.0, (3 * check.interval_ms + check.timeout_ms) / 1000)


def report_lag_s(check: HealthCheck) -> float:
    """Return how old what an Envoy says of its probes may be, in seconds: it repeats its last result until the next."""
    return (ENVOY_JITTER * check.interval_ms + check.timeout_ms) / 1000


def hold_down_s(falls: int) -> float:
    """Return how long a region stays down after its n-th fall, in seconds: 0, 10, 20, 40 … 300."""
    return 0.0 if falls <= 1 else min(MAX_HOLD_DOWN_S, HOLD_DOWN_S * 2.0 ** min(falls - 2, 16))


def steps(since_s: float, ramp_up_s: float) -> int:
    """Return how many steps of a ramp fit into a time. One that ends just now is one, however times were rounded."""
    return max(0, int(since_s / (STEP * ramp_up_s) + 1e-6)) if ramp_up_s > 0 else int(1 / STEP)


def judge(before: Belief | None, evidence: Evidence, ramp_up_s: float, now: float) -> Belief:
    """Return the belief that fresh evidence gives: the table at the top of this file. `ramp_up_s` in seconds."""
    verdict = before.verdict if before else None
    was = None if verdict is None else (verdict.held or verdict.health)
    if evidence.up == 0:
        return _fall(before, was, evidence, now)
    if before is None or verdict is None or was is Health.UNKNOWN:
        unseen = Verdict(Health.UNKNOWN, evidence.share, "first evidence", now)
        return _settle(before or Belief(unseen), evidence, evidence.share, now)
    if was is Health.DOWN or was is Health.DRAINING:
        return _rise(before, evidence, now)
    if was is Health.RECOVERING and verdict.ramp < 1.0:
        return _climb(before, evidence, ramp_up_s, now)
    return _settle(before, evidence, _rising(before, evidence.share, ramp_up_s, now), now)


def limited(before: Belief | None, evidence: Evidence, *, standing: Standing, ramp_up_s: float, now: float) -> Belief:
    """Return the belief by the evidence of probes, limited to the share that live traffic says is earned.

    A region that is hopeless for real traffic is down whatever its health checks answer, for `LIVE_HOLD_S`, twice as
    long after each further fall: without traffic there is nothing to see it recover by, so it is then tried again, with
    a ramp. With a half-open trickle there is, and it stays down for as long as that fails.
    """
    if before is not None and standing.share == 1.0 and _at_rest(before, evidence):
        return before
    if standing.hopeless and evidence.up and (before is None or before.verdict.health is not Health.DOWN):
        fallen = judge(before, replace(evidence, up=0, detail=standing.reason), ramp_up_s, now)
        hold = min(MAX_HOLD_DOWN_S, LIVE_HOLD_S * 2.0 ** min(max(0, fallen.falls - 1), 16))
        reason = f"{_checks(evidence)}, but {standing.reason}; held down for at least {hold:.0f} s"
        verdict = replace(fallen.verdict, reason=reason, up=evidence.up)
        return replace(fallen, verdict=verdict, hold_until=now + hold, ramp=0.0)
    if standing.hopeless and evidence.up and before is not None and before.verdict.held is None:
        why = f"{_checks(evidence)}, but {standing.reason}"
        return replace(before, verdict=replace(before.verdict, reason=why, up=evidence.up, total=evidence.total))
    unlimited = replace(before, verdict=replace(before.verdict, ramp=before.ramp)) if before is not None else None
    belief = judge(unlimited, evidence, ramp_up_s, now)
    verdict = belief.verdict
    ramp = verdict.ramp
    if standing.share < verdict.ramp and verdict.serves:
        limit = Health.RECOVERING if standing.returning else Health.DEGRADED
        health = limit if verdict.health is Health.HEALTHY else verdict.health
        reason = f"{verdict.reason}; limited to {standing.share:.0%} of its share: {standing.reason}"
        verdict = replace(verdict, health=health, ramp=standing.share, reason=reason)
    if before is not None:
        verdict = replace(verdict, since=before.verdict.since if before.verdict.health is verdict.health else now)
    return replace(belief, verdict=verdict, ramp=ramp)


def marked(belief: Belief, *, outvoted: bool) -> Belief:
    """Return the belief with a note on whether our own probes say that all is down, and are not believed."""
    verdict = belief.verdict
    outvoted = outvoted and verdict.serves
    return belief if verdict.outvoted == outvoted else replace(belief, verdict=replace(verdict, outvoted=outvoted))


def _at_rest(before: Belief, evidence: Evidence) -> bool:
    """Return whether all was well and is: the rule rather than the exception, and nothing to work out."""
    verdict = before.verdict
    well = verdict.health is Health.HEALTHY and verdict.score == verdict.ramp == before.ramp == 1.0
    same = evidence.up == evidence.decided == verdict.up and evidence.total == verdict.total
    return well and same and verdict.reason == _count(evidence)


def _fall(before: Belief | None, was: Health | None, evidence: Evidence, now: float) -> Belief:
    if before is not None and was is Health.DOWN:
        if before.verdict.held is None:
            return replace(before, verdict=replace(before.verdict, up=0, total=evidence.total))
        reason = _count(evidence, evidence.detail or "probes fail")
        return replace(before, verdict=Verdict(Health.DOWN, 0.0, reason, now, ramp=0.0, total=evidence.total))
    falls = 0  # found down: it did not fall from anything
    if before is not None:
        falls = 1 + (before.falls if before.falls and now - before.fell_at < FORGET_AFTER_S else 0)
    hold = hold_down_s(falls)
    forgotten = f"each within {FORGET_AFTER_S / 60:.0f} min of the one before"
    again = f"; fall {falls}, {forgotten}: held down for at least {hold:.0f} s" if hold else ""
    reason = f"{_count(evidence, evidence.detail or 'probes fail')}{again}"
    verdict = Verdict(Health.DOWN, 0.0, reason, now, ramp=0.0, up=0, total=evidence.total)
    return Belief(verdict, falls=falls, fell_at=now, hold_until=now + hold, moved_at=now)


def _rise(before: Belief, evidence: Evidence, now: float) -> Belief:
    """Down, and some endpoint is up again: begin the ramp, unless the region is still held down."""
    if now < before.hold_until:
        held_s = before.hold_until - before.fell_at
        reason = f"{_count(evidence)}, held down for {held_s:.0f} s after fall {before.falls}"
        down = replace(before.verdict, health=Health.DOWN, held=None, reason=reason, up=evidence.up)
        return replace(before, verdict=replace(down, total=evidence.total))
    reason = f"{_count(evidence)}, share returns in steps"
    verdict = Verdict(Health.RECOVERING, evidence.share, reason, now, ramp=STEP, up=evidence.up, total=evidence.total)
    return replace(before, verdict=verdict, moved_at=now)


def _climb(before: Belief, evidence: Evidence, ramp_up_s: float, now: float) -> Belief:
    """Recovering: one step up for every `STEP` of the ramp time.

    A region that weakens stops the ramp for `PAUSE` of that time. One that grows stronger keeps the traffic it has: the
    ramp goes on from the same part of a larger whole.
    """
    verdict, share = before.verdict, evidence.share
    weaker, late = share < verdict.score, now - before.moved_at
    made = 0 if weaker or verdict.held is not None else steps(late, ramp_up_s)
    ramp = min(1.0, round(verdict.ramp * min(1.0, verdict.score / share) + made * STEP, 4))
    if ramp >= 1.0:
        return _settle(before, evidence, share, now)
    stops = ", the ramp stops: the region is weaker again" if weaker or late < 0 else ""
    reason = f"{_count(evidence)}, {ramp:.0%} of its share back{stops}"
    moved = now if made or verdict.held is not None else before.moved_at
    moved = now + PAUSE * ramp_up_s if weaker else moved
    state = replace(verdict, health=Health.RECOVERING, held=None, score=share, reason=reason, ramp=ramp)
    return replace(before, verdict=replace(state, up=evidence.up, total=evidence.total), moved_at=moved)


def _rising(before: Belief, share: float, ramp_up_s: float, now: float) -> float:
    """Return the score of a region that was partly up: down at once, up by a step for each `STEP` of the ramp time."""
    score = before.verdict.score
    if share <= score or ramp_up_s <= 0:
        return share
    if not before.rising:  # from now on
        return score
    return min(share, round(score + steps(now - before.moved_at, ramp_up_s) * STEP, 4))


def _settle(before: Belief, evidence: Evidence, score: float, now: float) -> Belief:
    health = Health.HEALTHY if evidence.up == evidence.decided else Health.DEGRADED
    verdict = before.verdict
    same = verdict.health is health and verdict.held is None
    rest = "" if score >= evidence.share else f", capacity back to {score:.0%}"
    settled = Verdict(
        health,
        score,
        f"{_count(evidence, evidence.detail)}{rest}",
        verdict.since if same else now,
        up=evidence.up,
        total=evidence.total,
    )
    begins = score < evidence.share and not before.rising
    stands = verdict.held is None and score == verdict.score and not begins
    moved = before.moved_at if stands else now
    return replace(before, verdict=settled, moved_at=moved, share=evidence.share)


def _count(evidence: Evidence, detail: str = "") -> str:
    """Return how much of a place is up, what the worst of it said, and who saw it."""
    unheard = evidence.total - evidence.decided
    rest = f", {unheard} not heard of yet" if unheard else ""
    counted = evidence.words or f"{evidence.up} of {evidence.decided} endpoints up{rest}"
    return f"{counted} ({detail}){evidence.by}" if detail else f"{counted}{evidence.by}"


def _checks(evidence: Evidence) -> str:
    """Return what speaks for a place that fails real traffic."""
    if evidence.words:
        return _count(evidence)
    return f"{evidence.up} of {evidence.decided} endpoints pass their checks{evidence.by}"


def held(verdict: Verdict, reason: str, now: float) -> Verdict:
    """Return the verdict as unknown, with the score, ramp and health it had. Held already: only the reason moves."""
    if verdict.health is Health.UNKNOWN:
        return verdict if verdict.held is None else replace(verdict, reason=_held_words(reason, verdict.held))
    if verdict.health is Health.DRAINING:
        return verdict
    words = _held_words(reason, verdict.health)
    return replace(verdict, health=Health.UNKNOWN, held=verdict.health, reason=words, since=now)


def _held_words(reason: str, was: Health) -> str:
    return f"{reason}; held as {was} until that changes"


def drained(before: Belief | None, now: float) -> Belief:
    """Return the belief of a region that the policy drains: no score, whatever the evidence."""
    if before is not None and before.verdict.health is Health.DRAINING:
        return before
    verdict = Verdict(Health.DRAINING, 0.0, "drained by the policy", now, ramp=0.0)
    return replace(before, verdict=verdict) if before is not None else Belief(verdict)


def no_address(before: Belief | None, now: float) -> Belief:
    """Return the belief of a place none of whose names resolves: down, and not a fall that counts as flapping."""
    if before is not None and before.verdict.health is Health.DOWN:
        return before
    return Belief(Verdict(Health.DOWN, 0.0, "no endpoint has an address: names do not resolve", now, ramp=0.0))
