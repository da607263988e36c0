"""A controller under a seeded life: probes that lie and fall silent, edits, clients that join, leave and refuse."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from xds_server.controller import Controller
from xds_server.model import AccessSummary, AgentReport, LoadReport, Observation, Resolution, Target, ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.record.capture import capture
from xds_server.record.fingerprint import Fingerprints
from xds_server.record.segment import SegmentReader, SegmentWriter, Start, Step
from xds_server.rollout.news import ClientNews, Joined, Left, Refused, Settled
from xds_server.step import Inputs, Outcome
from xds_server.store.record_files import registry

REGISTRY = registry()
REGIONS = ("east", "west", "south")


def policy(*, east: int = 1000, hosts: str = "shop.demo", drain: str = "false", mode: str = "spread") -> Policy:
    text = f"""
version: 1
regions:
  east: {{latency: {{west: 80ms, south: 120ms}}}}
  west: {{latency: {{south: 50ms}}, drain: {drain}}}
  south: {{}}
defaults: {{ramp_up: 10s}}
rollout: {{canary: 50%, timeout: 5s}}
services:
  shop:
    hosts: [{hosts}]
    overload: {{mode: {mode}}}
    demand: {{east: 700, west: 300, south: 100}}
    deployments:
      east: {{capacity: {east}, endpoints: ["10.0.0.1:80", "shop.east:80"]}}
      west: {{capacity: 1000, endpoints: ["10.0.1.1:80", "10.0.1.2:80"]}}
      south: {{capacity: 600, endpoints: ["10.0.2.1:80"]}}
"""
    return parse(text, "policy.yaml").policy


@dataclass
class Life:
    """Steps a controller at random. `between` is called with the number of steps made, before each."""

    seed: int
    controller: Controller = field(default_factory=Controller)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.targets: tuple[Target, ...] = ()
        self.how = dict.fromkeys(REGIONS, "up")
        self.streams: list[int] = []
        self.next_stream = 1

    def steps(self, count: int) -> Iterator[tuple[Inputs, float, Outcome]]:
        """Make steps; yield what went in, when, and what came out."""
        yield self._step(Inputs(policy=policy()))
        for _ in range(count - 1):
            self.now += self.random.choice((0.25, 0.5, 1.0, 3.0))
            yield self._step(self._inputs())

    def _step(self, inputs: Inputs) -> tuple[Inputs, float, Outcome]:
        outcome = self.controller.step(inputs, self.now)
        if outcome.targets is not None:
            self.targets = tuple(sorted(outcome.targets))
        return inputs, self.now, outcome

    def _inputs(self) -> Inputs:
        dice = self.random
        if dice.random() < 0.1:
            self.how[dice.choice(REGIONS)] = dice.choice(("up", "up", "down", "half", "silent"))
        edit = policy(east=dice.choice((600, 1000)), drain=dice.choice(("true", "false")))
        return Inputs(
            policy=edit if dice.random() < 0.03 else None,
            observations=tuple(self._probes()),
            resolutions=(Resolution("shop.east", ("10.0.0.2",), self.now),) if dice.random() < 0.2 else (),
            clients=tuple(self._clients()),
            loads=tuple(self._loads()),
            accesses=tuple(self._accesses()),
            agents=tuple(self._agents()),
            retry=dice.random() < 0.02,
        )

    def _probes(self) -> Iterator[Observation]:
        for target in self.targets:
            how = self.how[target.region]
            if how != "silent":
                up = how == "up" or (how == "half" and self.random.random() < 0.5)
                detail = "" if up else "refused"
                yield Observation("controlplane", target, up, self.now, self.random.random(), detail)
                if self.random.random() < 0.2:
                    view = self.random.choice(REGIONS)
                    yield Observation(f"envoy-{view}", target, up, self.now, None, detail, view)

    def _loads(self) -> Iterator[LoadReport]:
        for view in self.random.sample(REGIONS, 2):
            region = self.random.choice(REGIONS)
            good, bad = self.random.choice(((500, 0), (480, 20), (200, 300), (0, 0)))
            yield LoadReport("lrs", view, "shop", region, good + bad, good, bad, 1, 1.0, self.now)

    def _accesses(self) -> Iterator[AccessSummary]:
        for view in self.random.sample(REGIONS, 1):
            region, ms = self.random.choice(REGIONS), self.random.choice((20.0, 25.0, 200.0))
            yield AccessSummary("als", view, "shop", region, 100, 1, ms, 2 * ms, 1.0, self.now)

    def _agents(self) -> Iterator[AgentReport]:
        if self.random.random() < 0.1:
            used, region = self.random.random(), self.random.choice(REGIONS)
            yield AgentReport("agent", region, "", None, used, None, "busy", 10.0, self.now)

    def _clients(self) -> Iterator[ClientNews]:
        dice = self.random.random()
        if dice < 0.1:
            self.streams.append(self.next_stream)
            self.next_stream += 1
            yield Joined(self.streams[-1], f"envoy-{self.streams[-1]}", self._view())
        elif self.streams and dice < 0.14:
            yield Left(self.streams.pop())
        elif self.streams and dice < 0.4:
            yield Settled(self.random.choice(self.streams))
        elif self.streams and dice < 0.45 and self.controller.decision is not None:
            yield Refused(self.random.choice(self.streams), (), "bad \u2028 config")

    def _view(self) -> ViewKey:
        return ViewKey("default", self.random.choice(REGIONS), self.random.choice(("envoy", "envoy", "grpc")))


class Tape:
    """A record kept in memory: one segment's bytes after the other."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.segments: list[bytes] = []

    def begin(self, now: float, *, lost: int = 0) -> None:
        """Begin another segment, before the step at `now`."""
        self.writer = SegmentWriter(REGISTRY)
        self.fingerprints = Fingerprints()
        number = len(self.segments) + 1
        self.writer.start(Start("1", "process", number, now, now + 1e9, lost, None), capture(self.controller))
        self.segments.append(self.writer.frame(first=True))

    def took(self, inputs: Inputs, now: float, outcome: Outcome) -> None:
        """Record a step, in a frame of its own."""
        self.writer.step(Step(now, inputs, self.fingerprints.of(outcome)))
        self.segments[-1] += self.writer.frame(first=False)

    def entries(self) -> list[Start | Step]:
        """Read everything back."""
        return [entry for segment in self.segments for entry in SegmentReader(segment, REGISTRY).read()]


def record(seed: int, steps: int, *, every: int, lost: int = 0) -> Tape:
    """Record a life; a new segment begins every so many steps."""
    life = Life(seed)
    tape = Tape(life.controller)
    tape.begin(life.now)
    for count, step in enumerate(life.steps(steps), 1):
        tape.took(*step)
        if count % every == 0:
            tape.begin(life.now, lost=lost)
    return tape
