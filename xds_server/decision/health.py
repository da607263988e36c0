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

There is more than one monitor. Envoys probe from their own regions, and report what their traffic meets: the vantages
vote (votes.py, jury.py), a view may be cut off from a region that is fine for others (links.py), and live traffic
limits the share of a region that fails or slows down (traffic.py). What seems to fail at once is doubted (doubt.py).

All state is in `HealthBook`, owned by the controller; time comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xds_server.decision.agenda import Agenda
from xds_server.decision.agents import AgentBook
from xds_server.decision.doubt import Case, at_once_s, doubted, fell
from xds_server.decision.evidence import MONITOR, EndpointBook
from xds_server.decision.health_words import Account, verdict_event
from xds_server.decision.jury import Hearing, Jury, Seat
from xds_server.decision.links import LinkBook, Links, Said
from xds_server.decision.measured import NOTHING_MEASURED, Measured
from xds_server.decision.survey import Survey
from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import (
    STEP,
    Belief,
    Evidence,
    Place,
    drained,
    held,
    limited,
    marked,
    no_address,
    worse,
)
from xds_server.decision.votes import Fused
from xds_server.decision.witnesses import LONG_AGO, Witnesses
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
from xds_server.policy.types import Policy, Service


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
        self._links = LinkBook()
        self._jury = Jury()
        self._measured: dict[str, Measured] = {}
        self._agenda = Agenda()

    def restore(self, beliefs: Mapping[Place, Belief], measured: Mapping[str, Measured], links: Links) -> None:
        """Start from what an earlier process believed: held as unknown until there is fresh evidence.

        What it had measured counts until it is measured again, links that are cut stay so (links.py).
        """
        self._measured = dict(measured)
        self._links.restore(links)
        for service, found in measured.items():
            self.traffic.demand.restore(service, found.demand_rps)
        for place, belief in beliefs.items():
            verdict = held(belief.verdict, "no evidence since the restart", belief.verdict.since)
            self._believe(place, replace(belief, verdict=verdict))

    def beliefs(self) -> Mapping[Place, Belief]:
        """Return every belief, to be kept for a restart."""
        return dict(self._beliefs)

    def links(self) -> Links:
        """Return the links that are cut, or were lately, to be kept for a restart."""
        return self._links.kept()

    def refused(self, let_through: Mapping[tuple[str, str], float]) -> None:
        """Note the share that is let through, of services and views of which something is refused."""
        before = self.traffic.demand.through
        changed = {key[0] for key in before.keys() | let_through.keys() if before.get(key) != let_through.get(key)}
        self.traffic.demand.through = let_through
        if changed:  # the figures of silent views change with it: no report will have them looked at
            self._agenda.touch(place for place in self._places if place.service in changed)

    def remembered(self, offered: Mapping[str, Mapping[str, float]]) -> Mapping[str, Measured]:
        """Return the demand and latencies in force of every service that has any, to be kept for a restart.

        Of views of which something is refused that is what they were `offered`, not what was let through.
        """
        demand = self.traffic.demand.figures()
        names = sorted({*demand, *self._measured})
        found = {
            name: Measured({**demand.get(name, {}), **offered.get(name, {})}, self.measured(name).latency_ms)
            for name in names
        }
        return {name: one for name, one in found.items() if one != NOTHING_MEASURED}

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
        self._links.forget_except(self._places, self._views)
        self._jury.forget_except(self._places)
        self._measured = {name: found for name, found in self._measured.items() if name in policy.services}
        self.unresolvable = unresolvable
        self._agenda.configure(self._places)

    def learn(self, seen: Observation) -> None:
        """Take one observation."""
        place = Place(seen.target.service, seen.target.region)
        belief = self._beliefs.get(place)
        news = self._endpoints.learn(seen, hasty=belief is None)
        if place in self._places and (news or belief is None or belief.verdict.health is Health.UNKNOWN):
            self._agenda.touch((place,))

    def learn_load(self, report: LoadReport) -> None:
        """Take one load report."""
        if Place(report.service, report.region) in self._places:
            self._agenda.reported(self.traffic.learn(report))

    def learn_access(self, summary: AccessSummary) -> None:
        """Take one summary of access logs."""
        if Place(summary.service, summary.region) in self._places:
            self._agenda.reported(self.traffic.learn_access(summary))

    def learn_agent(self, report: AgentReport) -> None:
        """Take one agent's report; an empty service means all of that region."""
        self._agents.learn(report)
        about = (p for p in self._places if p.region == report.region and report.service in {"", p.service})
        self._agenda.touch(about)

    def verdict(self, place: Place) -> Verdict:
        """Return the verdict in force; unknown with a full score where nothing has ever been seen."""
        belief = self._beliefs.get(place)
        return belief.verdict if belief else Verdict(Health.UNKNOWN, 1.0, "no evidence yet", 0.0)

    def cuts(self, place: Place) -> frozenset[str]:
        """Return the views that cannot reach a place although others can."""
        return self._links.cut(place)

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
        due = self._due(now)
        heard = {place: self._hear(place, now) for place in due}
        proposed = {place: self._judge(place, heard[place], now) for place in due}
        for service in sorted({place.service for place in due}):
            self._doubt(service, proposed, heard, now)
        events = [event for place in due for event in self._follow_links(place, heard[place], now)]
        changed = {service for service in {place.service for place in due} if self._measure(service, now)}
        for place, belief in sorted(proposed.items()):
            before = self._beliefs.get(place)
            if belief is None or belief == before:
                continue
            self._believe(place, belief)
            if before is None or before.verdict != belief.verdict:
                changed.add(place.service)
                events.extend(verdict_event(place, before.verdict if before else None, belief.verdict, now))
        for place in due:
            self._agenda.wake(place, self._wakes(place, now))
        return frozenset(changed), tuple(events)

    def next_change(self, now: float) -> float | None:
        """Return when time alone may next change a verdict (a ramp step, the end of a hold); None if nothing waits."""
        return self._agenda.next_change(now)

    def _believe(self, place: Place, belief: Belief) -> None:
        self._beliefs[place] = belief
        self._agenda.believed(place, belief)

    def _due(self, now: float) -> list[Place]:
        """Return the places to look at."""
        if self._agenda.sweep(self._beliefs, self._witnesses(), now):
            self._agenda.touch(self._links.places())
            self._agenda.touch(self._agents.places(self._places))
        self._agenda.touch(self._jury.waiting)
        self._agenda.touch(self._endpoints.excused)
        return self._agenda.take(self._beliefs, now)

    def _wakes(self, place: Place, now: float) -> float | None:
        """Return when time alone may change what is believed of a place now."""
        belief = self._beliefs.get(place)
        if belief is None or belief.verdict.health is Health.UNKNOWN:
            return None
        verdict = belief.verdict
        if verdict.health is Health.DOWN:
            return belief.hold_until if belief.hold_until > now else None
        if verdict.health is not Health.RECOVERING and not 0 < verdict.score < self._endpoints.evidence(place).share:
            return None
        step_s = STEP * self._services[place.service].ramp_up_ms / 1000
        return belief.moved_at + step_s if belief.moved_at + step_s > now else now + step_s

    def _hear(self, place: Place, now: float) -> Hearing:
        service = self._services[place.service]
        others = tuple(Place(place.service, region) for region in service.deployments if region != place.region)
        before = self._beliefs.get(place)
        down = before is not None and not before.verdict.serves
        return self._jury.hear(self._witnesses(), Seat(place, service.health, self._views, others, down), now)

    def _witnesses(self) -> Witnesses:
        return Witnesses(self._endpoints, self.traffic)

    def _judge(self, place: Place, heard: Hearing, now: float) -> Belief | None:
        """Return what to believe of a place now, before doubting the monitor; None while nothing is known."""
        before = self._beliefs.get(place)
        if place.region in self._drained:
            return drained(before, now)
        if place in self.unresolvable:
            return no_address(before, now)
        fused = heard.fused
        if fused.pending and before is not None:
            return before
        evidence = self._basis(place, fused, now)
        if evidence is None:
            return self._unheard(place, before, now)
        if before is not None and before.verdict.held is not None and evidence.unsettled:
            return before
        ramp_up_s = self._services[place.service].ramp_up_ms / 1000
        lost = heard.lost | self._links.cut(place)
        standing = worse(self.traffic.standing(place, now, lost), self._agents.standing(place, now))
        belief = limited(before, evidence, standing=standing, ramp_up_s=ramp_up_s, now=now)
        return marked(belief, outvoted=evidence.outvoted)

    def _unheard(self, place: Place, before: Belief | None, now: float) -> Belief | None:
        if before is None or not self._endpoints.evidence(place).decided:
            return before
        return replace(before, verdict=held(before.verdict, "no fresh evidence", now))

    def _basis(self, place: Place, fused: Fused, now: float) -> Evidence | None:
        """Return the evidence that a place's score rests on; None without any word.

        It is the monitor's if that agrees with the votes, else a view's.
        """
        if fused.down is None:
            return None
        fresh = self._endpoints.fresh(place, now)
        monitor = fresh.pop(MONITOR, None)
        if monitor is not None and (monitor.up == 0) == fused.down:
            return monitor
        ours = "" if monitor is None else f"; our own probes {'pass' if monitor.up else 'fail'}"
        agreeing = [evidence for evidence in fresh.values() if (evidence.up == 0) == fused.down]
        if agreeing:
            newest = max(agreeing, key=lambda e: e.at)
            return replace(newest, by=f" by Envoys' probes{ours}", outvoted=fused.monitor_wrong)
        total = monitor.total if monitor is not None else 1
        up, words = (0, "live traffic fails") if fused.down else (total, "live traffic is answered")
        at = monitor.at if monitor else 0.0
        return Evidence(up, total, total, at, "", words=words, by=ours, outvoted=fused.monitor_wrong)

    def _measure(self, service: str, now: float) -> bool:
        """Bring what is measured of a service up to date; True if it changed."""
        before = self.measured(service)
        survey = Survey(self._views, self.traffic, self._links, self._agents, self._jury.undecided)
        after = survey.of(self._services[service], before, now)
        if after == before:
            return False
        self._measured[service] = after
        return True

    def _follow_links(self, place: Place, heard: Hearing, now: float) -> list[Event]:
        """Bring the cut links of a place up to date; return what is news."""
        fused = heard.fused
        cut, halved = self._agents.links(place, now)
        lost = fused.cut | cut
        if fused.pending or place.region in self._drained or (fused.down is None and not (lost or halved)):
            return []
        if fused.down:
            self._links.end(place, now)
            return []
        if not (lost or halved) and place not in self._links.places():
            return []
        words = self._witnesses().words(place, LONG_AGO, now)
        account = Account.of(heard.monitor, heard.seen, self._views)
        said = Said(lost, words, self._endpoints.vantages(place), account, agents=cut, halved=halved)
        return self._links.follow(place, said, self._services[place.service].ramp_up_ms / 1000, now)

    def _doubt(
        self, service: str, proposed: dict[Place, Belief | None], heard: Mapping[Place, Hearing], now: float
    ) -> None:
        """Doubt what is proposed for one service's regions together (doubt.py); some may have to wait for words."""
        spec = self._services[service]
        places = [Place(service, region) for region in spec.deployments]
        after = {p: b for p in places if (b := proposed.get(p, self._beliefs.get(p))) is not None}
        witnesses = self._witnesses()
        wait_s = max(witnesses.wait_s(place, spec.health) for place in places)
        since = now - at_once_s(spec.health, wait_s)
        if not any(fell(belief, since) for belief in after.values()):
            return
        told = {p: heard[p] for p in places if p in heard}
        told |= {p: self._hear(p, now) for p in after if p not in told and fell(after[p], since)}
        case = Case(
            service=spec,
            before=self._beliefs,
            after=after,
            borne_out=frozenset(p for p, said in told.items() if said.borne_out),
            waiting=frozenset(p for p, said in told.items() if said.waiting),
            pending=frozenset(p for p, said in told.items() if said.fused.pending),
        )
        instead = doubted(case, since, now)
        proposed |= instead
        self._agenda.touch(case.waiting | case.pending | instead.keys())
