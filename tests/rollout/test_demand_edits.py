"""An edit of `demand`: measured demand is what counts where there is any, on trial and in force alike."""

from __future__ import annotations

import pytest

from xds_server.controller import Controller
from xds_server.model import LoadReport, Observation, ServiceDecision, ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import Joined, Settled
from xds_server.step import Inputs, Outcome

VIEW = ViewKey("default", "east")


def policy(east: int) -> Policy:
    text = f"""
version: 1
regions:
  east: {{latency: {{west: 80ms}}}}
  west: {{}}
services:
  shop:
    demand: {{east: {east}, west: 300}}
    deployments:
      east: {{capacity: 1000, endpoints: ["10.0.0.1:80"]}}
      west: {{capacity: 3000, endpoints: ["10.0.1.1:80"]}}
"""
    return parse(text, "policy.yaml").policy


class Site:
    """A controller with an Envoy in `east`, whose traffic is reported each second."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.now = 0.0
        self.targets = self.step(policy=policy(700), clients=(Joined(1, "envoy-1", VIEW),)).targets or {}

    def step(self, **inputs: object) -> Outcome:
        self.now += 0.1
        return self.controller.step(Inputs(**inputs), self.now)  # type: ignore[arg-type]

    def run(self, seconds: int, rps: int = 0) -> list[ServiceDecision]:
        """Let time pass in which east sends so much; return what was decided on the way."""
        found = []
        for _ in range(seconds):
            self.now += 0.9
            seen = tuple(Observation("controlplane", target, healthy=True, at=self.now) for target in self.targets)
            sent = LoadReport("lrs", "east", "shop", "east", rps, rps, 0, 0, 1.0, self.now)
            self.step(observations=seen, loads=(sent,) if rps else ())
            found.append(self.decision)
        return found

    @property
    def decision(self) -> ServiceDecision:
        assert self.controller.decision is not None
        return self.controller.decision.service("shop")


@pytest.mark.parametrize("rps", [680, 400])
def test_where_demand_is_measured_an_edit_of_it_moves_nothing(rps: int) -> None:
    """Also where the figure in force is still the stated one, because what is measured hardly differs."""
    site = Site()
    site.run(200, rps)
    before = site.decision
    outcome = site.step(policy=policy(2000))
    assert outcome.promoted == policy(2000), "nothing to try: it changes nothing for anybody"
    assert {d.weights for d in site.run(60, rps)} == {before.weights}
    assert site.decision.demand_rps[0] == pytest.approx(before.demand_rps[0], rel=0.05)


def test_where_demand_is_not_measured_an_edit_is_tried_and_stays() -> None:
    site = Site()
    site.run(20)
    before = site.decision.weights
    assert before[0] == (10_000, 0)
    outcome = site.step(policy=policy(2000))
    assert outcome.trial is not None
    assert site.decision.weights == before, "only the cohort follows it"
    assert site.step(clients=(Settled(1),)).promoted is not None
    assert site.decision.demand_rps[0] == 2000.0
    assert site.decision.weights[0][0] < 10_000
    after = site.decision.weights
    assert {d.weights for d in site.run(20)} == {after}
