"""One simulated life: the real controller, the fleet, the truth, and what the one sees of the other.

Each tick: faults set the truth; probes and reports of the last tick arrive at the controller (if it lives, and they get
through); what it decides reaches the Envoys one tick later; the Envoys send. The controller's own state goes through
the state file's codec when it is restarted, as in a process.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.faults import REGIONS, Fault, Scenario
from tests.simulation.fleet import Fleet, Second, Truth
from xds_server.controller import Controller
from xds_server.histogram import bucket_of
from xds_server.model import AccessSummary, Event, LoadReport, Observation, ServiceDecision, Target, ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import ClientNews, Joined, Settled
from xds_server.step import Inputs
from xds_server.store.codec import from_json, to_json

DEMAND = {"us-east-1": 16_000.0, "eu-west-1": 14_000.0, "ap-southeast-1": 12_000.0, "sa-east-1": 8_000.0}
CAPACITY = {"us-east-1": 30_000.0, "eu-west-1": 26_000.0, "ap-southeast-1": 22_000.0, "sa-east-1": 12_000.0}
ENVOYS = 1_000
"""Of each view: they matter as numbers in reports, and as clients that a policy edit is tried on."""

SERVICE = "checkout"


def policy(tick_s: float = 1.0, scale: tuple[str, float] = ("", 1.0)) -> Policy:
    """Return the policy; `scale` multiplies one region's capacity."""
    places = "\n".join(
        f"      {region}: {{capacity: {CAPACITY[region] * (scale[1] if region == scale[0] else 1):g}, "
        f'endpoints: ["10.0.{r}.1:80", "10.0.{r}.2:80"]}}'
        for r, region in enumerate(REGIONS)
    )
    text = f"""
version: 1
regions:
  us-east-1: {{latency: {{eu-west-1: 80ms, ap-southeast-1: 220ms, sa-east-1: 120ms}}}}
  eu-west-1: {{latency: {{ap-southeast-1: 160ms, sa-east-1: 190ms}}}}
  ap-southeast-1: {{latency: {{sa-east-1: 320ms}}}}
  sa-east-1: {{}}
defaults:
  health: {{interval: {tick_s:g}s, timeout: 500ms, unhealthy_after: 2, healthy_after: 3}}
  reserve: 20%
  ramp_up: 60s
services:
  {SERVICE}:
    hosts: [checkout.demo]
    demand: {{{", ".join(f"{view}: {rps:g}" for view, rps in DEMAND.items())}}}
    deployments:
{places}
"""
    return parse(text, "policy.yaml").policy


@dataclass
class Moment:
    """Everything about one tick that checkers and pictures want."""

    now: float
    truth: Truth
    decision: ServiceDecision | None
    second: Second
    events: tuple[Event, ...]
    heard: bool
    alive: bool


@dataclass
class World:
    """A life under way. `log` is what happened, in words."""

    scenario: Scenario
    seed: int = 0
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.policy = policy(self.scenario.tick_s)
        self.fleet = Fleet(self.policy.latency_ms)
        self.controller = Controller()
        self.targets: tuple[Target, ...] = ()
        self.kept: str | None = None
        self.holding: set[Fault] = set()
        self.due: list[ClientNews] = []
        self.last = Second()
        self.wanted: Policy | None = self.policy

    def run(self) -> Iterator[Moment]:
        """Live; yield every tick."""
        tick, now = self.scenario.tick_s, 0.0
        self.due = [
            Joined(1 + 10_000 * v + i, f"{view}-{i}", ViewKey("default", view))
            for v, view in enumerate(REGIONS)
            for i in range(ENVOYS // 100)
        ]
        while now < self.scenario.length_s:
            now += tick
            yield self._tick(now, tick)

    def _tick(self, now: float, tick: float) -> Moment:
        self._announce(now)
        truth = self._truth(now)
        kinds = {fault.kind for fault in self.holding}
        alive, heard = self._process("down" not in kinds, now), "blind" not in kinds
        events: tuple[Event, ...] = ()
        before = self._decision()
        if alive:
            events = self._step(truth, kinds, now, heard=heard)
        self.last = self.fleet.tick(truth, now, tick)
        decision = self._decision() or before
        self.fleet.has = decision or self.fleet.has
        return Moment(now, truth, decision, self.last, events, heard, alive)

    def _decision(self) -> ServiceDecision | None:
        return self.controller.decision.services[0] if self.controller.decision is not None else None

    def _announce(self, now: float) -> None:
        holding = {fault for fault in self.scenario.faults if fault.holds(now)}
        self.log += [f"{now:7.0f} s  fault    {fault}" for fault in sorted(holding - self.holding, key=str)]
        self.log += [f"{now:7.0f} s  ends     {fault}" for fault in sorted(self.holding - holding, key=str)]
        edits = {f for f in self.holding ^ holding if f.kind == "edit"}
        self.holding = holding
        if edits:
            active = next(((f.region, f.arg) for f in holding if f.kind == "edit"), ("", 1.0))
            self.policy = self.wanted = policy(self.scenario.tick_s, active)

    def _truth(self, now: float) -> Truth:
        truth = Truth(capacity={r: d.capacity_rps for r, d in self.policy.services[SERVICE].deployments.items()})
        for v, view in enumerate(REGIONS):
            wave = 1.0 + 0.3 * math.sin(2 * math.pi * (now / 86_400 + v / 4)) if self.scenario.day else 1.0
            truth.demand[view] = (
                DEMAND[view] * wave * self.dice.uniform(1 - self.scenario.noise, 1 + self.scenario.noise)
            )
        for fault in self.holding:
            _apply(fault, truth)
        return truth

    def _process(self, wanted: bool, now: float) -> bool:
        """Kill or start the control plane; return whether it lives."""
        if not wanted and self.kept is None:
            self.kept = json.dumps(to_json(self.controller.memory(), now))
        elif wanted and self.kept is not None:
            self.controller = Controller(from_json(json.loads(self.kept), now))
            self.kept, self.wanted = None, self.policy
        return wanted

    def _step(self, truth: Truth, kinds: set[str], now: float, *, heard: bool) -> tuple[Event, ...]:
        wanted, self.wanted = self.wanted, None
        clients, self.due = tuple(self.due), []
        loads, accesses = self._reports(now) if heard and self.scenario.reports else ((), ())
        seen = tuple(self._probes(truth, kinds, now)) if heard else ()
        outcome = self.controller.step(Inputs(wanted, seen, (), clients, loads, accesses), now)
        if outcome.targets is not None:
            self.targets = tuple(sorted(outcome.targets))
        if outcome.trial is not None:
            self.due = [Settled(stream) for stream in sorted(outcome.trial.members)]
        self.log += [f"{now:7.0f} s  {event.severity:7}  {event.message}" for event in outcome.events]
        return outcome.events

    def _probes(self, truth: Truth, kinds: set[str], now: float) -> Iterator[Observation]:
        liar = {fault.region for fault in self.holding if fault.kind == "liar"}
        for target in self.targets:
            second_host = target.address.ip.endswith(".2")
            up = truth.up[target.region] > (0.5 if second_host else 0.0)
            seen = up and "monitor" not in kinds and target.region not in liar
            yield Observation("controlplane", target, seen, now, 1.0, "" if seen else "connection refused")
            if self.scenario.views_probe:
                for view in REGIONS:
                    reached = up and (view, target.region) not in truth.cut
                    yield Observation(f"envoy-{view}", target, reached, now, 1.0, "" if reached else "timeout", view)

    def _reports(self, now: float) -> tuple[tuple[LoadReport, ...], tuple[AccessSummary, ...]]:
        loads, accesses, tick = [], [], self.scenario.tick_s
        for (view, region), a in sorted(self.last.attempts.items()):
            good, bad = round(a.good * tick), round(a.bad * tick)
            loads.append(
                LoadReport(
                    "lrs", view, SERVICE, region, good + bad, good, bad, 0, tick, now, round(a.reflex * tick), 0, ENVOYS
                )
            )
            ms = self.last.latency_ms.get((view, region))
            if ms is not None and good:
                accesses.append(_logged(view, region, ms, good, bad, tick, now))
        return tuple(loads), tuple(accesses)


SAMPLED = 0.05
"""Of requests are logged, as a fleet's `access_logs` says if it says nothing."""


def _logged(view: str, region: str, ms: float, good: int, bad: int, tick: float, now: float) -> AccessSummary:
    """Return what a sample of a tick's requests says: nine in ten take the usual time, one 1.3 times as long."""
    samples = math.ceil(SAMPLED * good)
    late = samples // 10
    counts = {bucket_of(ms): samples - late}
    if late:
        counts[bucket_of(1.3 * ms)] = counts.get(bucket_of(1.3 * ms), 0) + late
    logged = tuple(sorted(counts.items()))
    return AccessSummary(
        "als", view, SERVICE, region, good, bad, ms, 1.3 * ms, tick, now, samples=samples, latencies=logged
    )


def _apply(fault: Fault, truth: Truth) -> None:
    region = fault.region
    if fault.kind in {"dead", "hang", "flap"}:
        truth.up[region] = 0.0
    if fault.kind == "half":
        truth.up[region] = min(0.5, truth.up[region])
    if fault.kind == "hang":
        truth.hangs.add(region)
    if fault.kind == "errors":
        truth.errors[region] = fault.arg
    if fault.kind == "slow":
        truth.slow[region] = fault.arg
    if fault.kind == "cut":
        truth.cut.add((fault.view, region))
    if fault.kind == "cuts":
        truth.cut |= {(view, region) for view in REGIONS if view != region}
    if fault.kind == "surge":
        truth.demand |= {v: d * fault.arg for v, d in truth.demand.items() if fault.view in {"", v}}
