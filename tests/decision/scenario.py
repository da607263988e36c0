"""Runs scenario files: commands to a real controller in simulated time, and the outcome as an operator would read it.

A file is blocks separated by an empty line; each is a command, `----`, and what it printed. Lines that start with `#`
are prose. `pytest tests/decision --rewrite` writes the outcomes anew: read the diff before you commit it.

    policy                      the following lines are the policy's YAML
    probes REGION=HOW …         from now on the endpoints there answer HOW: up, down, silent (no probe arrives), unwell
                                (health checks are answered with 503, requests are served), or 1/2 (that many of them
                                up); `*` is every region
    signals KIND …              what there is besides probes: `hds` (every view's Envoys probe the other regions), `live`
                                (load reports and access logs of the traffic that the weights send);
                                `monitor` says that `probes` below fools the control plane only, all else is well
    heard NAME …                only these are heard from now on: views, or `controlplane`; `*` is everybody
    link VIEW>REGION=HOW …      whether a view reaches a region: up or down
    errors REGION=SHARE …       the share of live requests that fail there
    slow REGION=FACTOR …        how many times slower than normal it answers
    agent NAME REGION KEY=VALUE … an agent's report: `health=up` or `down`, `utilisation`, `capacity`, `view`, `lasts`
    demand FACTOR               live demand as a multiple of the policy's
    run DURATION                let time pass, with a probe of every endpoint each second; prints the events
    show                        prints verdicts, weights and their reasons, and the plans
    weights                     prints the verdicts and weights alone
    verdicts                    prints the verdicts with their reasons
    restart                     a new controller with the memory of the old one as it is kept, and its orders
    order KIND KEY=VALUE …      an operator's order, by anna; `share.REGION=PART` for weights; prints the answer
    end ID [version=N]          ends it
    orders                      prints the orders in force and those that are over
    behind N                    so many clients have not acknowledged what they were last sent
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from xds_server.controller import Controller
from xds_server.histogram import bucket_of
from xds_server.model import (
    TOTAL_WEIGHT,
    AccessSummary,
    AgentReport,
    Decision,
    LoadReport,
    Observation,
    ServiceDecision,
    Table,
    Target,
)
from xds_server.orders.codec import from_json, to_json
from xds_server.orders.types import EndOrder, Kind, Order, Orders, PlaceOrder
from xds_server.orders.words import what
from xds_server.policy.parse import parse
from xds_server.policy.types import HealthCheck, OnHarm
from xds_server.step import Inputs, Outcome
from xds_server.store.codec import from_json as memory_from_json
from xds_server.store.codec import to_json as memory_to_json

PROBE_EVERY_S = 1.0
TICK_S = 0.25


@dataclass
class Block:
    """One command with its arguments (the lines up to `----`) and the outcome that is on file."""

    prose: list[str]
    command: str
    body: list[str]
    outcome: list[str]


def read(text: str) -> Iterator[Block]:
    """Yield the blocks of a scenario file."""
    for chunk in re.split(r"\n\s*\n(?!\s)", text.strip() + "\n"):
        lines = chunk.splitlines()
        prose = [line for line in lines if line.startswith("#")]
        rest = [line for line in lines if not line.startswith("#")]
        if rest:
            cut = rest.index("----")
            yield Block(prose, rest[0], rest[1:cut], rest[cut + 1 :])
        else:
            yield Block(prose, "", [], [])


def play(text: str) -> str:
    """Run a scenario; return the file as it should be."""
    world = World()
    chunks = []
    for block in read(text):
        if not block.command:
            chunks.append("\n".join(block.prose))
            continue
        outcome = world.run(block.command, block.body)
        chunks.append("\n".join([*block.prose, block.command, *block.body, "----", *outcome]))
    return "\n\n".join(chunks) + "\n"


class World:
    """A controller, simulated time and how every region's endpoints answer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.controller = Controller()
        self.targets: dict[Target, HealthCheck] = {}
        self.answers: dict[str, str] = {}
        self.told: list[str] = []
        self.signals: set[str] = set()
        self.links: dict[str, str] = {}
        self.heard = {"*"}
        self.errors: dict[str, float] = {}
        self.slow: dict[str, float] = {}
        self.demand = 1.0
        self.behind = 0
        self.numbers = count(1)

    def run(self, command: str, body: list[str]) -> list[str]:
        """Carry out one command; return what it prints."""
        verb, *args = command.split()
        self.told = []
        if verb == "policy":
            self._step(Inputs(policy=parse("\n".join(body), "policy.yaml").policy))
        elif verb == "probes":
            said = dict(arg.split("=") for arg in args)
            self.answers = said if "*" in said else self.answers | said
        elif verb in {"errors", "slow"}:
            wanted = self.errors if verb == "errors" else self.slow
            wanted |= {name: float(number) for name, number in (arg.split("=") for arg in args)}
        elif verb == "link":
            self.links |= dict(arg.split("=") for arg in args)
        elif verb == "heard":
            self.heard = set(args)
        elif verb == "signals":
            self.signals = set(args)
        elif verb == "demand":
            self.demand = float(args[0])
        elif verb == "run":
            self._run(float(args[0].removesuffix("s")))
        elif verb == "restart":
            policy, memory = self.controller.policy, self.controller.memory()
            orders = from_json(json.loads(json.dumps(to_json(self.controller.orders, 1e9))), 1e9)
            read = memory_from_json(json.loads(json.dumps(memory_to_json(memory, self.now))), self.now)
            self.controller = Controller(read, orders)
            self._step(Inputs(policy=policy))
        elif verb in {"order", "end", "agent"}:
            self._step(Inputs(agents=(_report(self.now, *args),)) if verb == "agent" else self._asked(verb, args))
        elif verb == "behind":
            self.behind = int(args[0])
        else:
            return self._print(verb)
        return self.told or ["(nothing)"]

    def _print(self, verb: str) -> list[str]:
        if verb == "orders":
            return list(_orders(self.controller.orders))
        if verb == "weights":
            return [line for s in (self.controller.decision or Decision((), ())).services for line in _weights(s)]
        if verb == "verdicts":
            return [line for s in (self.controller.decision or Decision((), ())).services for line in _verdicts(s)]
        if verb == "show":
            return self._show()
        raise ValueError(f"unknown command {verb!r}")

    def _run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = round(self.now + TICK_S, 3)
            if self.now % PROBE_EVERY_S:
                self._step(Inputs())
                continue
            seen = [*self._probe(), *(self._probe_from_views() if "hds" in self.signals else ())]
            loads, accesses = self._traffic() if "live" in self.signals else ([], [])
            self._step(
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

    def _step(self, inputs: Inputs) -> Outcome:
        outcome: Outcome = self.controller.step(replace(inputs, behind=self.behind), self.now)
        if outcome.targets is not None:
            self.targets = dict(outcome.targets)
        for answer in outcome.answers:
            words = f": {'; '.join(answer.words)}" if answer.words else ""
            self.told.append(f"{answer.result} {answer.id} (version {answer.version}){words}")
        self.told += [f"{e.at:6.2f}s {e.severity:7} {e.kind}: {e.message}" for e in outcome.events]
        return outcome

    def _request(self, verb: str, args: list[str]) -> PlaceOrder | EndOrder:
        said = dict(arg.split("=", 1) for arg in args[1:])
        version = int(said.pop("version")) if "version" in said else None
        number = next(self.numbers)
        if verb == "end":
            return EndOrder(number, args[0], "anna", said.get("reason", "done"), version)
        shares = {key: said.pop(key) for key in sorted(said) if key.startswith("share.")}
        order = Order(
            id=f"o{number}",
            kind=Kind(args[0]),
            author=said.pop("author", "anna"),
            reason=said.pop("reason", "test"),
            at=self.now,
            ends=self.now + float(said.pop("lasts", "3600")),
            weights=tuple((key.removeprefix("share."), float(part)) for key, part in shares.items()),
            capacity_rps=float(said.pop("capacity", "0")),
            over_s=float(said.pop("over", "10")),
            on_harm=OnHarm(said.pop("harm", "stop")),
            forced="forced" in said,
            region=said.get("region", ""),
            service=said.get("service", ""),
            view=said.get("view", ""),
        )
        return PlaceOrder(number, order, float(said.get("wall", "1750000000")) - self.now, version)

    def _asked(self, verb: str, args: list[str]) -> Inputs:
        return Inputs(orders=(self._request(verb, args),))

    def _show(self) -> list[str]:
        decision = self.controller.decision
        if decision is None:
            return ["no decision yet"]
        return [line for service in decision.services for line in _service(service)]


def _report(now: float, reporter: str, region: str, *args: str) -> AgentReport:
    said = dict(arg.split("=", 1) for arg in args)
    health = said.get("health")
    return AgentReport(
        reporter=reporter,
        region=region,
        service="",
        healthy=None if health is None else health == "up",
        utilisation=float(said["utilisation"]) if "utilisation" in said else None,
        capacity_rps=float(said["capacity"]) if "capacity" in said else None,
        detail="",
        ttl_s=float(said.get("lasts", "30")),
        at=now,
        view=said.get("view", ""),
    )


def _verdicts(s: ServiceDecision) -> Iterator[str]:
    for region, verdict in zip(s.regions, s.verdicts, strict=True):
        if verdict is not None:
            yield f"{s.service} in {region}: {verdict.health}, {verdict.reason}"


def _service(s: ServiceDecision) -> Iterator[str]:
    yield f"{s.service}, overload {s.overload:.3g}"
    for region, verdict, capacity, load in zip(s.regions, s.verdicts, s.capacity_rps, s.load_rps, strict=True):
        belief = f"{verdict.health}, score {verdict.score:.2f}" if verdict else "not deployed"
        yield f"  {region:15} {belief:28} serves {load:7,.0f} of {capacity:7,.0f} req/s"
    for view, row, why in zip(s.regions, s.weights, s.reasons, strict=True):
        yield f"  from {view}:"
        for region, weight, reason in zip(s.regions, row, why, strict=True):
            yield f"    {100 * weight / TOTAL_WEIGHT:6.2f} % {region:15} {reason}"
    for view, shed in zip(s.regions, s.shed, strict=False):
        if shed is not None:
            classes = ", ".join(f"{percent} % of {name or 'the rest'}" for name, percent in shed.classes)
            yield f"  {view} refuses {shed.percent} %" + (f" ({classes})" if classes else "") + f": {shed.reason}"
    for view, row in zip(s.regions, s.half_open, strict=False):
        yield f"  reads from {view}: {_row(s.regions, row)}"
    for gone, tables, factor in zip(s.regions, s.reflex, s.reflex_overload, strict=True):
        rows = "; ".join(f"{v} → {_row(s.regions, row)}" for v, row in zip(s.regions, tables, strict=True))
        yield f"  reflex without {gone}: {rows}" + (f" (overload {factor:.3g})" if factor > 1 else "")
    for plan in s.n_minus_1:
        loads = ", ".join(f"{r} {load:,.0f}" for r, load in zip(s.regions, plan.load_rps, strict=True) if load)
        fits = "fits" if plan.overload <= 1 else f"overload {plan.overload:.3g}"
        yield f"  N-1 without {plan.without}: {loads} req/s; {fits}; {plan.added_latency_ms:+.1f} ms"


def _weights(s: ServiceDecision) -> Iterator[str]:
    beliefs = zip(s.regions, s.verdicts, strict=True)
    yield f"{s.service}: " + ", ".join(f"{region} {verdict.health}" for region, verdict in beliefs if verdict)
    for view, row in zip(s.regions, s.weights, strict=True):
        yield f"  from {view}: {_row(s.regions, row)}"


def _orders(orders: Orders) -> Iterator[str]:
    yield f"version {orders.version}"
    for one in orders.standing:
        detail = f"; {one.detail}" if one.detail else ""
        yield f"  {one.order.id} {what(one.order)}: {one.phase}, {one.moved:.0%} moved{detail}"
    for ended in orders.ended:
        yield f"  over: {ended.standing.order.id} {what(ended.standing.order)}: {ended.why} at {ended.at:g}s"


def _row(regions: tuple[str, ...], row: tuple[int, ...]) -> str:
    return " ".join(f"{region} {100 * w / TOTAL_WEIGHT:.4g}" for region, w in zip(regions, row, strict=True) if w)


FILES = sorted((Path(__file__).parent / "testdata").glob("*.txt"))
