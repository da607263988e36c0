"""From evidence to verdicts: what we believe of every service in every region, and why.

Two levels. An *endpoint* flips only after `unhealthy_after` bad or `healthy_after` good results in a row. A *region*
(one service there) is judged by the share of its endpoints that are up:

    evidence                  verdict      effect
    none yet, none restored   unknown      full score: a first start must serve before it knows
    all up                    healthy      score 1
    some up                   degraded     score = share up; falls at once, rises over `ramp_up`
    none up                   down         score 0, at once
    some up again after down  recovering   `ramp` rises 0 → 1 over `ramp_up`, in steps; stands still while it weakens
    stale                     unknown      holds the score, the ramp and the health it had: no evidence moves nothing
    policy says drain         draining     score 0, whatever the evidence

Going down again soon is held longer each time (`HOLD_DOWN`), so a flapping region cannot saw at the weights.

One monitor can lie. If the regions of a service that fail at once held more than half of its capacity, and nothing but
our own probes says so, then the likelier story is that *we* are cut off: all of them keep what they had (`unknown`,
with an alarm) until the evidence changes or an operator speaks. Envoy's reflex still leaves what is really dead. "At
once" is the time in which a cut of our own network shows in every probe: two intervals and a deadline. Two regions that
die ten seconds apart are two incidents, and both are left. Rejected: holding only the last region over the limit, which
would move all traffic to the others on the word of a monitor we no longer believe.

All state is in `HealthBook`, owned by the controller; time comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xds_server.decision.verdicts import (
    STEP,
    Belief,
    EndpointState,
    Evidence,
    Place,
    drained,
    held,
    judge,
    next_endpoint,
    no_address,
    stale_after_s,
)
from xds_server.model import Event, Health, Observation, Severity, Target, Verdict
from xds_server.policy.types import HealthCheck, Policy, Service

MOST_AT_ONCE = 0.5
"""More than this share of a service's capacity failing at once is not believed from probes alone."""


class HealthBook:
    """All endpoint states and beliefs. Give it the policy and targets, then observations, then ask for verdicts."""

    def __init__(self) -> None:
        self._services: Mapping[str, Service] = {}
        self._drained: frozenset[str] = frozenset()
        self._targets: dict[Place, tuple[Target, ...]] = {}
        self._endpoints: dict[Target, EndpointState] = {}
        self._beliefs: dict[Place, Belief] = {}
        self._touched: set[Place] = set()
        self.unresolvable: frozenset[Place] = frozenset()
        self._moving: set[Place] = set()
        self._swept_at = float("-inf")

    def restore(self, beliefs: Mapping[Place, Belief]) -> None:
        """Start from what an earlier process believed: held as unknown until there is fresh evidence."""
        for place, belief in beliefs.items():
            self._believe(place, replace(belief, verdict=held(belief.verdict, "no evidence since the restart", 0.0)))

    def beliefs(self) -> Mapping[Place, Belief]:
        """Return every belief, to be kept for a restart."""
        return dict(self._beliefs)

    def configure(
        self, policy: Policy, targets: Iterable[Target], unresolvable: frozenset[Place] = frozenset()
    ) -> None:
        """Follow the policy and the addresses: what is gone from them is forgotten, what stays keeps its state.

        `unresolvable` are the places of which every name was looked up in vain: down, not merely unseen.
        """
        grouped: dict[Place, list[Target]] = {
            Place(name, region): [] for name, service in policy.services.items() for region in service.deployments
        }
        for target in targets:
            grouped[Place(target.service, target.region)].append(target)
        self._services = policy.services
        self._drained = frozenset(name for name, region in policy.regions.items() if region.drain)
        self._targets = {place: tuple(sorted(found)) for place, found in grouped.items()}
        known = {target for found in self._targets.values() for target in found}
        self._endpoints = {t: s for t, s in self._endpoints.items() if t in known}
        self._beliefs = {p: b for p, b in self._beliefs.items() if p in self._targets}
        self._moving &= self._beliefs.keys()
        self.unresolvable = unresolvable
        self._touched = set(self._targets)

    def learn(self, seen: Observation) -> None:
        """Take one observation. One of a target that is no longer watched is ignored: it was on its way."""
        place = Place(seen.target.service, seen.target.region)
        if seen.target not in self._targets.get(place, ()):
            return
        before = self._endpoints.get(seen.target)
        if before is not None and seen.at < before.at:
            return
        check = self._services[place.service].health
        after = next_endpoint(before, seen, check, hasty=place not in self._beliefs)
        self._endpoints[seen.target] = after
        belief = self._beliefs.get(place)
        if before is None or before.up != after.up or belief is None or belief.verdict.health is Health.UNKNOWN:
            self._touched.add(place)

    def verdict(self, place: Place) -> Verdict:
        """Return the verdict in force; unknown with a full score where nothing has ever been seen."""
        belief = self._beliefs.get(place)
        return belief.verdict if belief else Verdict(Health.UNKNOWN, 1.0, "no evidence yet", 0.0)

    def undecided(self) -> tuple[Place, ...]:
        """Return the places of which nothing is known at all: a first decision waits for these."""
        return tuple(sorted(place for place in self._targets if place not in self._beliefs))

    def unhealthy(self) -> frozenset[Target]:
        """Return the endpoints that are down in places that are otherwise up: EDS marks these.

        Where a whole place is down nothing is marked, so that Envoy still has hosts to try if we are wrong.
        """
        down = [target for target, state in self._endpoints.items() if state.up is False]
        partly = {place for t in down if self._evidence(place := Place(t.service, t.region)).up}
        return frozenset(t for t in down if Place(t.service, t.region) in partly)

    def assess(self, now: float) -> tuple[frozenset[str], tuple[Event, ...]]:
        """Judge every place that may have changed. Returns the services whose verdicts did, and the events."""
        due = sorted(self._touched | self._by_time(now))
        self._touched = set()
        proposed = {place: self._judge(place, now) for place in due}
        for service in sorted({place.service for place in due}):
            self._doubt(service, proposed, now)
        events = []
        changed = set()
        for place, belief in sorted(proposed.items()):
            before = self._beliefs.get(place)
            if belief is None or belief == before:
                continue
            self._believe(place, belief)
            if before is None or before.verdict != belief.verdict:
                changed.add(place.service)
                events.extend(_event(place, before.verdict if before else None, belief.verdict, now))
        return frozenset(changed), tuple(events)

    def next_change(self, now: float) -> float | None:
        """Return when time alone may next change a verdict (a ramp step, the end of a hold); None if nothing waits."""
        times = [t for place in self._moving if (t := self._wakes(place, self._beliefs[place], now)) is not None]
        return min(times, default=None)

    def _believe(self, place: Place, belief: Belief) -> None:
        self._beliefs[place] = belief
        if belief.verdict.health is Health.HEALTHY and belief.verdict.score >= 1.0:
            self._moving.discard(place)
        else:
            self._moving.add(place)

    def _wakes(self, place: Place, belief: Belief, now: float) -> float | None:
        verdict = belief.verdict
        if verdict.health is Health.DOWN and belief.hold_until > now:
            return belief.hold_until
        evidence = self._evidence(place)
        if verdict.health is Health.RECOVERING or evidence.share > verdict.score > 0:
            return now + STEP * self._services[place.service].ramp_up_ms / 1000
        return None

    def _by_time(self, now: float) -> set[Place]:
        """Return the places whose verdict may change without new evidence: moving ones, each second stale ones."""
        due = {p for p in self._moving if self._beliefs[p].verdict.health is not Health.UNKNOWN or self._fresh(p, now)}
        if now - self._swept_at >= 1.0:
            self._swept_at = now
            due |= {p for p in self._beliefs if p not in self._moving and not self._fresh(p, now)}
        return due

    def _fresh(self, place: Place, now: float) -> bool:
        newest = max((s.at for t in self._targets[place] if (s := self._endpoints.get(t))), default=None)
        return newest is not None and now - newest <= stale_after_s(self._services[place.service].health)

    def _evidence(self, place: Place) -> Evidence:
        states = [s for t in self._targets[place] if (s := self._endpoints.get(t)) is not None]
        decided = [s for s in states if s.up is not None]
        worst = [s for s in decided if not s.up]
        return Evidence(
            up=len(decided) - len(worst),
            decided=len(decided),
            total=len(self._targets[place]),
            at=max((s.at for s in states), default=0.0),
            detail=worst[0].detail if worst else "",
            unsettled=any(s.streak for s in states),
        )

    def _judge(self, place: Place, now: float) -> Belief | None:
        """Return what to believe of a place now, before doubting the monitor; None while nothing is known."""
        before = self._beliefs.get(place)
        if place.region in self._drained:
            return drained(before, now)
        if place in self.unresolvable:
            return no_address(before, now)
        evidence = self._evidence(place)
        if evidence.decided == 0:
            return before
        if not self._fresh(place, now):
            return before and replace(before, verdict=held(before.verdict, "no fresh evidence", now))
        if before is not None and before.verdict.held is not None and evidence.unsettled:
            return before
        return judge(before, evidence, self._services[place.service].ramp_up_ms / 1000, now)

    def _doubt(self, service: str, proposed: dict[Place, Belief | None], now: float) -> None:
        """Hold every region of a service that fails at once with too many others (see the theory above)."""
        deployments = self._services[service].deployments
        places = [Place(service, region) for region in deployments]
        after = {place: proposed.get(place, self._beliefs.get(place)) for place in places}
        since = now - at_once_s(self._services[service].health)
        failing = [p for p in places if (b := after[p]) and _fell(b, since) and self._was_serving(p, since)]
        lost = sum(deployments[p.region].capacity_rps for p in failing)
        serving = sum(deployments[p.region].capacity_rps for p in places if (b := after[p]) is None or b.verdict.serves)
        if not failing or lost <= MOST_AT_ONCE * (lost + serving):
            return
        share = round(100 * lost / (lost + serving))
        why = (
            f"{len(failing)} of {len(places)} regions ({share} % of {service}'s capacity) fail at once: monitor suspect"
        )
        for place in failing:
            proposed[place] = self._disbelieve(place, why, now)

    def _was_serving(self, place: Place, since: float) -> bool:
        before = self._beliefs.get(place)
        return before is not None and (before.verdict.serves or _fell(before, since))

    def _disbelieve(self, place: Place, why: str, now: float) -> Belief:
        before = self._beliefs[place]
        if before.verdict.health is Health.DOWN:
            full = replace(before.verdict, health=Health.HEALTHY, score=1.0, ramp=1.0)
            return replace(before, verdict=held(full, why, now), falls=max(0, before.falls - 1))
        return replace(before, verdict=held(before.verdict, why, now))


def at_once_s(check: HealthCheck) -> float:
    """Return within how many seconds one cause shows in the probes of all regions: two intervals and a deadline."""
    return (2 * check.interval_ms + check.timeout_ms) / 1000


def _fell(belief: Belief, since: float) -> bool:
    return belief.verdict.health is Health.DOWN and belief.falls > 0 and belief.fell_at >= since


_KINDS: Mapping[Health, tuple[str, Severity]] = {
    Health.HEALTHY: ("region.up", "info"),
    Health.DEGRADED: ("region.degraded", "warning"),
    Health.DOWN: ("region.down", "alarm"),
    Health.RECOVERING: ("region.recovering", "info"),
    Health.DRAINING: ("region.draining", "info"),
    Health.UNKNOWN: ("region.unknown", "alarm"),
}


def _event(place: Place, before: Verdict | None, after: Verdict, now: float) -> list[Event]:
    """Return the event of a change of health; a first sight of a healthy region and each ramp step are not news."""
    if before is not None and before.health is after.health and before.held is after.held:
        return []
    if before is None and after.health is Health.HEALTHY:
        return []
    kind, severity = _KINDS[after.health]
    was = "unseen" if before is None else str(before.health)
    fields = (("service", place.service), ("region", place.region), ("was", was), ("score", f"{after.score:.2f}"))
    message = f"{place.service} in {place.region} is {after.health}: {after.reason}"
    return [Event(kind, now, message, severity, fields)]
