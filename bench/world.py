"""Made-up policies of any size, and a controller that lives through a lost region without a clock or a network.

Capacities and demands are drawn with a fixed seed, in whole numbers: uneven regions, demand at half of the capacity (as
the product assumes where nothing is stated), and not where the capacity is, so that a good part of the services has
views whose nearest region is full. Easier worlds, in which everyone stays at home, say little about an allocation.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xds_server.controller import Controller
from xds_server.model import Observation, Target, ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import HealthCheck, Policy
from xds_server.rollout.news import Joined
from xds_server.snapshot.resource import Snapshot
from xds_server.step import Inputs, Outcome

FOUR = ("ap-southeast-1", "eu-west-1", "sa-east-1", "us-east-1")
EIGHT = ("ap-northeast-1", "ap-south-1", "ap-southeast-1", "eu-central-1", "eu-west-1", "sa-east-1", "us-east-1", "us-west-2")  # fmt: skip  # noqa: E501
ENDPOINTS_PER_REGION = 2
UTILISATION = 0.5
_SEED = 7


def policy_text(
    services: int,
    regions: Sequence[str],
    *,
    ports: Sequence[int] = (),
    listen: str = "127.0.0.1:10000",
    utilisation: float = UTILISATION,
) -> str:
    """Return a policy as YAML. With `ports`, endpoints share these on 127.0.0.1, dealt to the regions in turn.

    Their probes are then patient: a machine that is busy must not look like a region that is down.
    """
    chance = random.Random(_SEED)
    lines = ["version: 1", "regions:"]
    for i, region in enumerate(regions):
        trips = ", ".join(f"{other}: {chance.randrange(40, 320, 10)}ms" for other in regions[i + 1 :])
        lines.append(f"  {region}: {{latency: {{{trips}}}}}" if trips else f"  {region}: {{}}")
    lines += ["defaults: {health: {timeout: 900ms, unhealthy_after: 20}}"] if ports else []
    lines += [f'fleets: {{default: {{listen: "{listen}"}}}}', "services:"]
    for number in range(services):
        lines += _service(number, regions, ports, chance, utilisation)
    return "\n".join(lines) + "\n"


def _service(
    number: int, regions: Sequence[str], ports: Sequence[int], chance: random.Random, utilisation: float
) -> list[str]:
    capacity = [chance.randrange(2_000, 10_000, 500) for _ in regions]
    pull = [chance.randrange(20, 100) for _ in regions]
    demand = [round(utilisation * sum(capacity) * p / sum(pull)) for p in pull]
    wanted = ", ".join(f"{region}: {rps}" for region, rps in zip(regions, demand, strict=True))
    lines = [f"  service-{number:04}:", f"    demand: {{{wanted}}}", "    deployments:"]
    for r, region in enumerate(regions):
        endpoints = ", ".join(f'"{_endpoint(number, r, e, ports)}"' for e in range(ENDPOINTS_PER_REGION))
        lines.append(f"      {region}: {{endpoints: [{endpoints}], capacity: {capacity[r]}}}")
    return lines


def _endpoint(number: int, region: int, endpoint: int, ports: Sequence[int]) -> str:
    if ports:
        return f"127.0.0.1:{ports[region * ENDPOINTS_PER_REGION + endpoint]}"
    return f"10.{region}.{number // 200}.{number % 200 + 1}:{8080 + endpoint}"


def policy(services: int, regions: Sequence[str]) -> Policy:
    """Return a policy of that size."""
    return parse(policy_text(services, regions), "bench").policy


@dataclass
class Incident:
    """A controller and the time; every endpoint of the service is probed once a second."""

    controller: Controller = field(default_factory=Controller)
    now: float = 0.0
    targets: dict[Target, HealthCheck] = field(default_factory=dict)
    snapshots: dict[ViewKey, Snapshot] = field(default_factory=dict)

    def begin(self, policy: Policy, views: Iterable[ViewKey] = ()) -> None:
        """Take the policy, with an Envoy in these views or in every one, and find everything well."""
        views = tuple(views) or [ViewKey(fleet, region) for fleet in policy.fleets for region in policy.regions]
        joined = tuple(Joined(number, view.region, view) for number, view in enumerate(views))
        self._take(self.controller.step(Inputs(policy=policy, clients=joined), self.now))
        self._take(self.controller.step(self.seen(), self.now))
        assert self.controller.decision is not None

    def seen(self, dead: str = "") -> Inputs:
        """Return what the next round of probes finds, with one region dead; time moves on by a second."""
        self.now += 1.0
        return Inputs(
            observations=tuple(
                Observation("controlplane", t, t.region != dead, self.now, 1.0, "connection refused")
                for t in self.targets
            )
        )

    def step(self, inputs: Inputs) -> Outcome:
        """Let the controller take it in."""
        return self._take(self.controller.step(inputs, self.now))

    def _take(self, outcome: Outcome) -> Outcome:
        self.targets = dict(outcome.targets) if outcome.targets is not None else self.targets
        self.snapshots |= outcome.snapshots
        return outcome
