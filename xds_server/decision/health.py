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

There may be more than one monitor. Envoys probe from their own regions, and report what their traffic meets; then the
vantages vote (votes.py), a view may be cut off from a region that is fine for others (`cuts`), and live traffic limits
the share of a region that fails or slows down (traffic.py). Failing at once is then believed if live traffic or several
views bear it out.

All state is in `HealthBook`, owned by the controller; time comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xds_server.decision.agents import AgentBook
from xds_server.decision.evidence import MONITOR, EndpointBook
from xds_server.decision.health_words import link_event, verdict_event
from xds_server.decision.measured import NOTHING_MEASURED, Measured
from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import (
    STEP,
    Belief,
    Evidence,
    Place,
    disputed,
    drained,
    held,
    limited,
    no_address,
    worse,
)
from xds_server.decision.votes import Fused, fuse
from xds_server.model import (
    AccessSummary,
    AgentReport,
    Event,
    Health,
    LoadReport,
    Observation,
    Target,
    Verdict,
)
from xds_server.policy.types import HealthCheck, Policy, Service

MOST_AT_ONCE = 0.5
"""More than this share of a service's capacity failing at once is not believed from probes alone."""

LATENCY_MATTERS_MS = 5.0
CAPACITY_MATTERS = 0.05

CUT_DWELL_S = 10.0
"""A link that was cut is used again this long after it works, at the earliest."""


class HealthBook:
    """All evidence and beliefs. Give it the policy and targets, then what is seen, then ask for verdicts and cuts."""

    def __init__(self) -> None:
        self.traffic = TrafficBook()
        self.unresolvable: frozenset[Place] = frozenset()
        self._endpoints = EndpointBook()
        self._agents = AgentBook()
        self._services: Mapping[str, Service] = {}
        self._views: tuple[str, ...] = ()
        self._drained: frozenset[str] = frozenset()
        self._places: frozenset[Place] = frozenset()
        self._beliefs: dict[Place, Belief] = {}
        self._cuts: dict[Place, dict[str, float]] = {}
        self._measured: dict[str, Measured] = {}
        self._touched: set[Place] = set()
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
        checks = {Place(n, region): s.health for n, s in policy.services.items() for region in s.deployments}
        self._endpoints.configure(checks, targets)
        self.traffic.forget_except(checks)
        self._services = policy.services
        self._views = tuple(sorted(policy.regions))
        self._drained = frozenset(name for name, region in policy.regions.items() if region.drain)
        self._places = frozenset(checks)
        self._beliefs = {p: b for p, b in self._beliefs.items() if p in checks}
        self._cuts = {p: cuts for p, cuts in self._cuts.items() if p in checks}
        self._measured = {name: found for name, found in self._measured.items() if name in policy.services}
        self._moving &= self._beliefs.keys()
        self.unresolvable = unresolvable
        self._touched = set(checks)

    def learn(self, seen: Observation) -> None:
        """Take one observation."""
        place = Place(seen.target.service, seen.target.region)
        belief = self._beliefs.get(place)
        news = self._endpoints.learn(seen, hasty=belief is None)
        if place in self._places and (news or belief is None or belief.verdict.health is Health.UNKNOWN):
            self._touched.add(place)

    def learn_load(self, report: LoadReport) -> None:
        """Take one load report."""
        if Place(report.service, report.region) in self._places:
            self._touched.add(self.traffic.learn(report))

    def learn_access(self, summary: AccessSummary) -> None:
        """Take one summary of access logs."""
        if Place(summary.service, summary.region) in self._places:
            self._touched.add(self.traffic.learn_access(summary))

    def learn_agent(self, report: AgentReport) -> None:
        """Take one agent's report; an empty service means all of that region."""
        self._agents.learn(report)
        self._touched |= {p for p in self._places if p.region == report.region and report.service in {"", p.service}}

    def verdict(self, place: Place) -> Verdict:
        """Return the verdict in force; unknown with a full score where nothing has ever been seen."""
        belief = self._beliefs.get(place)
        return belief.verdict if belief else Verdict(Health.UNKNOWN, 1.0, "no evidence yet", 0.0)

    def cuts(self, place: Place) -> frozenset[str]:
        """Return the views that cannot reach a place although others can."""
        return frozenset(self._cuts.get(place, ()))

    def measured(self, service: str) -> Measured:
        """Return what is measured of a service's demand and latencies, and the links that are cut."""
        return self._measured.get(service, NOTHING_MEASURED)

    def undecided(self) -> tuple[Place, ...]:
        """Return the places of which nothing is known at all: a first decision waits for these."""
        return tuple(sorted(place for place in self._places if place not in self._beliefs))

    def unhealthy(self) -> frozenset[Target]:
        """Return the endpoints that are down in places that are otherwise up: EDS marks these."""
        return self._endpoints.unhealthy()

    def assess(self, now: float) -> tuple[frozenset[str], tuple[Event, ...]]:
        """Judge every place that may have changed. Returns the services whose verdicts did, and the events."""
        due = sorted(self._touched | self._by_time(now))
        self._touched = set()
        votes = {place: self._vote(place, now) for place in due}
        proposed = {place: self._judge(place, votes[place], now) for place in due}
        for service in sorted({place.service for place in due}):
            self._doubt(service, proposed, now)
        events: list[Event] = []
        for place in due:
            self._cut(place, votes[place], now, events)
        changed = {service for service in {place.service for place in due} if self._measure(service, now)}
        for place, belief in sorted(proposed.items()):
            before = self._beliefs.get(place)
            if belief is None or belief == before:
                continue
            self._believe(place, belief)
            if before is None or before.verdict != belief.verdict:
                changed.add(place.service)
                events.extend(verdict_event(place, before.verdict if before else None, belief.verdict, now))
        return frozenset(changed), tuple(events)

    def next_change(self, now: float) -> float | None:
        """Return when time alone may next change a verdict (a ramp step, the end of a hold); None if nothing waits."""
        times = [t for place in self._moving if (t := self._wakes(place, self._beliefs[place], now)) is not None]
        return min(times, default=None)

    def _believe(self, place: Place, belief: Belief) -> None:
        self._beliefs[place] = belief
        verdict = belief.verdict
        if verdict.health is Health.HEALTHY and verdict.score >= 1.0 and verdict.ramp >= 1.0:
            self._moving.discard(place)
        else:
            self._moving.add(place)

    def _wakes(self, place: Place, belief: Belief, now: float) -> float | None:
        verdict = belief.verdict
        if verdict.health is Health.DOWN and belief.hold_until > now:
            return belief.hold_until
        evidence = self._endpoints.evidence(place)
        if verdict.health is Health.RECOVERING or evidence.share > verdict.score > 0:
            return now + STEP * self._services[place.service].ramp_up_ms / 1000
        return None

    def _by_time(self, now: float) -> set[Place]:
        """Return the places whose verdict may change without new evidence: moving ones, each second stale ones."""
        due = {p for p in self._moving if self._beliefs[p].verdict.health is not Health.UNKNOWN or self._fresh(p, now)}
        if now - self._swept_at >= 1.0:
            self._swept_at = now
            due |= {p for p in self._beliefs if p not in self._moving and not self._fresh(p, now)}
            due |= self._cuts.keys() | self._agents.places(self._places)
        return due

    def _fresh(self, place: Place, now: float) -> bool:
        return bool(self._endpoints.fresh(place, now)) or any(
            self.traffic.reach(view, place, now) is not None for view in self.traffic.views(place)
        )

    def _vote(self, place: Place, now: float) -> tuple[Fused, Evidence | None]:
        """Count the votes on a place; with the evidence that its score rests on, None without any fresh."""
        fresh = self._endpoints.fresh(place, now)
        seen = {view: evidence.up > 0 for view, evidence in fresh.items() if view != MONITOR}
        reached = self._reached(place, now)
        live = {
            view: r
            for view in self.traffic.views(place)
            if (r := self.traffic.reach(view, place, now)) is not None and (r or view not in reached)
        }
        monitor = fresh.get(MONITOR)
        fused = fuse(monitor.up > 0 if monitor else None, seen | live, self._views)
        if fused.down is None:
            return fused, None
        return fused, _basis(fused, monitor, [fresh[view] for view in sorted(seen) if seen[view] is not fused.down])

    def _reached(self, place: Place, now: float) -> frozenset[str]:
        """Return the views whose path to a place is known to work, whatever becomes of their requests there.

        Load reports do not tell an answer of 503 from none. A view whose own probes are answered is not cut off, nor is
        a region from itself while the monitor reaches it: what fails there is the service, not the path.
        """
        fresh = self._endpoints.fresh(place, now)
        return frozenset(place.region if view == MONITOR else view for view, e in fresh.items() if e.up)

    def _judge(self, place: Place, votes: tuple[Fused, Evidence | None], now: float) -> Belief | None:
        """Return what to believe of a place now, before doubting the monitor; None while nothing is known."""
        before = self._beliefs.get(place)
        if place.region in self._drained:
            return drained(before, now)
        if place in self.unresolvable:
            return no_address(before, now)
        fused, evidence = votes
        if fused.monitor_wrong and evidence is not None and before is not None and before.verdict.serves:
            evidence = disputed(before.verdict, evidence)
        if evidence is None:
            if before is None or not self._endpoints.evidence(place).decided:
                return before
            return replace(before, verdict=held(before.verdict, "no fresh evidence", now))
        if before is not None and before.verdict.held is not None and evidence.unsettled:
            return before
        ramp_up_s = self._services[place.service].ramp_up_ms / 1000
        standing = worse(
            self.traffic.standing(place, now, self._reached(place, now)), self._agents.standing(place, now)
        )
        return limited(before, evidence, standing=standing, ramp_up_s=ramp_up_s, now=now)

    def _measure(self, service: str, now: float) -> bool:
        """Bring what is measured of a service up to date; True if it changed."""
        before = self.measured(service)
        regions = sorted(self._services[service].deployments)
        demand = {view: rps for view in self._views if (rps := self.traffic.demand_rps(service, view, now)) is not None}
        latency = {
            (view, region): _steady(before.latency_ms.get((view, region)), ms)
            for region in regions
            for view in self.traffic.views(Place(service, region))
            if (ms := self.traffic.latency_ms(view, Place(service, region), now)) is not None
        }
        cuts = frozenset((view, region) for region in regions for view in self.cuts(Place(service, region)))
        after = Measured(demand, {**before.latency_ms, **latency}, cuts, self._capacity(service, now))
        if after == before:
            return False
        self._measured[service] = after
        return True

    def _capacity(self, service: str, now: float) -> Mapping[str, float]:
        """Return the capacity in req/s of the regions of which agents report it."""
        found = {}
        for region, deployment in self._services[service].deployments.items():
            place, stated = Place(service, region), deployment.capacity_rps
            capacity = self._agents.capacity_rps(place, stated, self.traffic.load_rps(place, now), now)
            if capacity is not None:
                found[region] = _coarse(self.measured(service).capacity_rps.get(region), capacity)
        return found

    def _cut(self, place: Place, votes: tuple[Fused, Evidence | None], now: float, events: list[Event]) -> None:
        """Bring the cut links of a place up to date."""
        fused, _ = votes
        before = self._cuts.get(place, {})
        if fused.down is None or place.region in self._drained:
            return
        lost = frozenset(view for view in fused.cut if not self._blind(view, place.service, now))
        after = {view: since for view, since in before.items() if view in lost or now - since < CUT_DWELL_S}
        after |= dict.fromkeys(lost, now)
        if after:
            self._cuts[place] = after
        else:
            self._cuts.pop(place, None)
        events += [link_event(place, view, "cut", "warning", now) for view in sorted(after.keys() - before.keys())]
        if not fused.down:  # or nobody reaches it any more, which is no news of a link
            events += [
                link_event(place, view, "restored", "info", now) for view in sorted(before.keys() - after.keys())
            ]

    def _blind(self, view: str, service: str, now: float) -> bool:
        """Return whether a view sees every region of a service down: then its own network is what is gone."""
        seen = [
            fresh[view].up > 0
            for region in self._services[service].deployments
            if view in (fresh := self._endpoints.fresh(Place(service, region), now))
        ]
        return len(seen) > 1 and not any(seen)

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
        if all(self._borne_out(place, now) for place in failing):
            return
        share = round(100 * lost / (lost + serving))
        why = (
            f"{len(failing)} of {len(places)} regions ({share} % of {service}'s capacity) fail at once: monitor suspect"
        )
        for place in failing:
            proposed[place] = self._disbelieve(place, why, now)

    def _borne_out(self, place: Place, now: float) -> bool:
        """Return whether more than our own probes says that a place is down: live traffic, or two other views."""
        if any(self.traffic.reach(view, place, now) is False for view in self.traffic.views(place)):
            return True
        fresh = self._endpoints.fresh(place, now)
        return sum(evidence.up == 0 for view, evidence in fresh.items() if view != MONITOR) >= 2

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


def _basis(fused: Fused, monitor: Evidence | None, views: list[Evidence]) -> Evidence:
    """Return the evidence that a place's score rests on: the monitor's if it agrees with the votes, else the views'."""
    if monitor is not None and (monitor.up == 0) == fused.down:
        return monitor
    agreeing = [evidence for evidence in views if (evidence.up == 0) == fused.down]
    if agreeing:
        return max(agreeing, key=lambda e: e.at)
    total = monitor.total if monitor is not None else 1
    up = 0 if fused.down else total
    return Evidence(up, total, total, monitor.at if monitor else 0.0, "live traffic fails" if fused.down else "")


def _coarse(before: float | None, rps: float) -> float:
    """Return a capacity that moves only when the difference matters."""
    return before if before is not None and abs(rps - before) <= CAPACITY_MATTERS * before else rps


def _steady(before: float | None, ms: float) -> float:
    """Return a latency that moves only when the difference matters, in whole milliseconds."""
    return (
        before if before is not None and abs(ms - before) <= max(LATENCY_MATTERS_MS, 0.1 * before) else float(round(ms))
    )


def _fell(belief: Belief, since: float) -> bool:
    return belief.verdict.health is Health.DOWN and belief.falls > 0 and belief.fell_at >= since
