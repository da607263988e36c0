"""A policy that changes one service decides and builds that service anew, and takes over the rest as it stands."""

from __future__ import annotations

from xds_server.controller import Controller
from xds_server.model import Observation, ServiceDecision, ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import Joined, Settled
from xds_server.snapshot.resource import Resource
from xds_server.step import Inputs, Outcome

VIEW = ViewKey("default", "east")


def policy(shop: int = 1000, trip: int = 80, cart: str = "cart.demo") -> Policy:
    return parse(
        f"""
version: 1
regions:
  east: {{latency: {{west: {trip}ms}}}}
  west: {{}}
services:
  cart:
    hosts: [{cart}]
    demand: {{east: 500, west: 300}}
    deployments:
      east: {{capacity: 800, endpoints: ["10.0.0.2:80"]}}
      west: {{capacity: 800, endpoints: ["10.0.1.2:80"]}}
  shop:
    demand: {{east: 900, west: 300}}
    deployments:
      east: {{capacity: {shop}, endpoints: ["10.0.0.1:80"]}}
      west: {{capacity: 1000, endpoints: ["10.0.1.1:80"]}}
""",
        "policy.yaml",
    ).policy


class Site:
    """A controller with one Envoy."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.now = 0.0
        self.targets = self.step(policy=policy(), clients=(Joined(1, "envoy-1", VIEW),)).targets or {}
        self.before = self.step(
            observations=tuple(Observation("controlplane", t, healthy=True, at=0.1) for t in self.targets)
        )

    def step(self, **inputs: object) -> Outcome:
        self.now += 0.1
        return self.controller.step(Inputs(**inputs), self.now)  # type: ignore[arg-type]

    def tries(self, edit: Policy) -> Outcome:
        outcome = self.step(policy=edit)
        assert outcome.trial is not None
        return outcome


def resources(outcome: Outcome, *, trial: bool = False) -> dict[str, Resource]:
    assert outcome.trial is not None or not trial
    snapshot = outcome.trial.snapshots[VIEW] if trial and outcome.trial else outcome.snapshots[VIEW]
    return {f"{url} {name}": r for url, by_name in snapshot.resources.items() for name, r in by_name.items()}


def decided(site: Site, name: str) -> ServiceDecision:
    assert site.controller.decision is not None
    return next(s for s in site.controller.decision.services if s.service == name)


def test_what_is_the_same_is_neither_decided_nor_built_again() -> None:
    site = Site()
    before, cart = resources(site.before), decided(site, "cart")
    tried = resources(site.tries(policy(shop=700)), trial=True)
    rebuilt = {name.rpartition("/")[2] for name in tried if tried[name] is not before.get(name)}
    assert any("shop@" in name for name in rebuilt)
    assert not any("cart@" in name for name in rebuilt)
    outcome = site.step(clients=(Settled(1),))
    assert outcome.promoted is not None
    assert decided(site, "cart") is cart
    assert decided(site, "shop").capacity_rps[0] == 700.0
    assert resources(outcome) == tried


def test_another_round_trip_decides_everything_anew() -> None:
    site = Site()
    cart = decided(site, "cart")
    site.tries(policy(trip=10))
    site.step(clients=(Settled(1),))
    assert decided(site, "cart") != cart


def test_what_moves_during_the_trial_moves_under_both() -> None:
    site = Site()
    site.tries(policy(shop=700))
    outcome = site.step()
    while not outcome.snapshots:
        assert site.now < 30.0
        site.now += 1.0
        seen = (Observation("controlplane", t, t.region != "west", site.now) for t in site.targets)
        outcome = site.step(observations=tuple(seen))
    standing, tried = resources(outcome), resources(outcome, trial=True)
    gone = [name for name in tried if "cart@" in name]
    assert gone
    assert all(tried[name] == standing[name] for name in gone)
    site.step(clients=(Settled(1),))
    assert decided(site, "cart").weights[0] == (10_000, 0)


def test_back_to_a_policy_that_was_rolled_back_decides_what_differs() -> None:
    site = Site()
    site.tries(policy(shop=700))
    site.step(policy=policy())
    outcome = site.tries(policy(cart="basket.demo"))
    shop = next(r for name, r in resources(outcome, trial=True).items() if name.endswith(" shop@east"))
    assert shop is resources(site.before)[next(n for n in resources(site.before) if n.endswith(" shop@east"))]
