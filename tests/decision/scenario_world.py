"""The world of a scenario: a real controller, simulated time, and how every region's endpoints answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xds_server.controller import Controller
from xds_server.histogram import bucket_of
from xds_server.model import (
    TOTAL_WEIGHT,
    AccessSummary,
    LoadReport,
    Observation,
    ServiceDecision,
    Table,
    Target,
)
from xds_server.policy.types import HealthCheck
from xds_server.step import Inputs

PROBE_EVERY_S = 1.0
TICK_S = 0.25


class World:
    """What a scenario's commands change (scenario.py says what each means), and what came of it: `told`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.controller = Controller()
        self.targets: dict[Target, HealthCheck] = {}
        self.told: list[str] = []
        self.answers: dict[str, str] = {}
        self.signals: set[str] = set()
        self.links: dict[str, str] = {}
        self.heard = {"*"}
        self.errors: dict[str, float] = {}
        self.slow: dict[str, float] = {}
        self.demand = 1.0
        self.behind = 0

    def step(self, inputs: Inputs) -> None:
        """Let the controller take this now."""
        outcome = self.controller.step(replace(inputs, behind=self.behind), self.now)
        if outcome.targets is not None:
            self.targets = dict(outcome.targets)
        for answer in outcome.answers:
            words = f": {'; '.join(answer.words)}" if answer.words else ""
            self.told.append(f"{answer.result} {answer.id} (version {answer.version}){words}")
        self.told += [f"{e.at:6.2f}s {e.severity:7} {e.kind}: {e.message}" for e in outcome.events]

    def live(self, seconds: float) -> None:
        """Let time pass, and everybody say what they see."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = round(self.now + TICK_S, 3)
            if self.now % PROBE_EVERY_S:
                self.step(Inputs())
                continue
            seen = [*self._probe(), *(self._probe_from_views() if "hds" in self.signals else ())]
            loads, accesses = self._traffic() if "live" in self.signals else ([], [])
            self.step(
                Inputs(
                    observations=tuple(one for one in seen if self._hears(one.view or "controlplane")),
                    loads=tuple(one for one in loads if self._hears(one.view)),
                    accesses=tuple(one for one in accesses if self._hears(one.view)),
                )
            )

    def _hears(self, who: str) -> bool:
        return who in self.heard or "*" in self.heard

    def _probe(self) -> Iterator[Observation]:
        counted: dict[tuple[str, str], int] = {}
        for target in sorted(self.targets):
            nth = counted[target[:2]] = counted.get(target[:2], 0) + 1
            how = self._how(target.region)
            if how != "silent":
                up = how == "up" or ("/" in how and nth <= int(how.split("/")[0]))
                why = "" if up else "HTTP 503" if how == "unwell" else "connection refused"
                yield Observation("controlplane", target, up, self.now, 1.0, why, answered=how == "unwell")

    def _how(self, region: str) -> str:
        return self.answers.get(region, self.answers.get("*", "up"))

    def _alive(self, view: str, region: str) -> bool:
        """Whether requests from a view are answered in a region: `monitor` only fools the control plane's probes."""
        if self.links.get(f"{view}>{region}", "up") == "down":
            return False
        return "monitor" in self.signals or self._how(region) != "down"

    def _probe_from_views(self) -> Iterator[Observation]:
        policy = self.controller.policy
        assert policy is not None
        for view in policy.regions:
            for target in sorted(target for target in self.targets if target.region != view):
                up = self._alive(view, target.region) and self._half(target) and self._how(target.region) != "unwell"
                detail = "" if up else "no answer in 500 ms"
                yield Observation(f"envoy-{view}", target, up, self.now, 1.0, detail, view)

    def _half(self, target: Target) -> bool:
        """Return whether an endpoint is among those that are up where some are."""
        how = self._how(target.region)
        if "/" not in how or "monitor" in self.signals:
            return True
        beside = sorted(other for other in self.targets if other[:2] == target[:2])
        return beside.index(target) < int(how.split("/")[0])

    def _traffic(self) -> tuple[list[LoadReport], list[AccessSummary]]:
        """What all Envoys report of one second: attempts where the weights send them, retries elsewhere."""
        decision = self.controller.decision
        policy = self.controller.policy
        if decision is None or policy is None:
            return [], []
        tried: dict[tuple[str, str, str], list[float]] = {}
        for s in decision.services:
            for v, (view, row) in enumerate(zip(s.regions, s.half_open or s.weights, strict=True)):
                rate = policy.services[s.service].demand_rps.get(view, 100.0) * self.demand
                rate *= 1 - (shed.percent / 100 if s.shed and (shed := s.shed[v]) else 0.0)
                for r, (region, weight) in enumerate(zip(s.regions, row, strict=True)):
                    if not weight:
                        continue
                    self._send(tried, s, view, region, rate * weight / TOTAL_WEIGHT, s.reflex[r])
        loads, accesses = [], []
        for (service, view, region), counts in sorted(tried.items()):
            good, bad = (round(count) for count in counts)
            loads.append(LoadReport(view, view, service, region, good + bad, good, bad, 0, 1.0, self.now))
            ms = policy.latency_ms[view, region] + 20 * self.slow.get(region, 1.0)
            logged = ((bucket_of(ms), good),) if good else ()
            accesses.append(
                AccessSummary(
                    view, view, service, region, good, bad, ms, ms, 1.0, self.now, samples=good, latencies=logged
                )
            )
        return loads, accesses

    def _send(
        self,
        tried: dict[tuple[str, str, str], list[float]],
        s: ServiceDecision,
        view: str,
        region: str,
        rate: float,
        reflex: Table,
    ) -> None:
        failing = self.errors.get(region, 0.0) if self._alive(view, region) else 1.0
        counts = tried.setdefault((s.service, view, region), [0.0, 0.0])
        counts[0] += rate * (1 - failing)
        counts[1] += rate * failing
        for other, weight in zip(s.regions, reflex[s.regions.index(view)], strict=True):
            if weight and failing and self._alive(view, other):
                again = tried.setdefault((s.service, view, other), [0.0, 0.0])
                again[0] += rate * failing * weight / TOTAL_WEIGHT
