"""What-if answers against the production decision: what they say is what happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import decisions
from xds_server.controller import Controller
from xds_server.decision.what_if import Case, Loss, losses
from xds_server.model import Observation
from xds_server.operator.order_json import effects_json
from xds_server.orders.preview import preview
from xds_server.orders.types import Kind, Order
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.screens.order_table import effects_table
from xds_server.step import Inputs


def policy(west: int = 1000, east: int = 1000, extra: str = "") -> Policy:
    text = f"""
version: 1
regions:
  east: {{latency: {{west: 80ms, south: 120ms}}}}
  west: {{latency: {{south: 50ms}}}}
  south: {{}}
services:
  shop:
    hosts: [shop.demo]
    demand: {{east: 600, west: 300, south: 100}}
    deployments:
      east: {{capacity: {east}, endpoints: ["10.0.0.1:80"]}}
      west: {{capacity: {west}, endpoints: ["10.0.1.1:80"]}}
{extra}
"""
    return parse(text, "policy.yaml").policy


SOUTH = '      south: {capacity: 500, endpoints: ["10.0.2.1:80"]}'


class Site:
    """A controller that has seen every endpoint healthy."""

    def __init__(self, of: Policy) -> None:
        self.controller, self.policy = Controller(), of
        self.targets = self.controller.step(Inputs(policy=of), 0.0).targets or {}
        self.now = 0.0
        self.probe()

    def probe(self, *down: str) -> None:
        self.now += 1.0
        seen = (Observation("controlplane", t, t.region not in down, self.now) for t in self.targets)
        self.controller.step(Inputs(observations=tuple(seen)), self.now)

    def case(self) -> Case:
        (case,) = self.controller.cases()
        return case

    def loss(self, without: str, demand: float = 1.0) -> Loss:
        return next(loss for loss in losses(self.case(), demand) if loss.without == without)


def test_the_n_minus_1_plan_is_what_is_decided_when_the_region_dies() -> None:
    site = Site(policy(extra=SOUTH))
    said = site.loss("east").n_minus_1
    site.probe("east")
    site.probe("east")
    decided = site.case().decision
    assert decided.load_rps == pytest.approx(said.load_rps, abs=0.5)
    assert said.fits


def test_asking_changes_nothing() -> None:
    site = Site(policy(extra=SOUTH))
    before = site.controller.decision
    site.loss("east", 2.0)
    assert site.controller.decision is before


def test_more_demand_is_decided_as_if_it_were_measured() -> None:
    site = Site(policy(extra=SOUTH))
    twice = site.loss("west", 2.0)
    assert sum(twice.before_rps) == pytest.approx(2000, abs=0.01)
    assert not twice.fits
    assert twice.n_minus_1.excess_rps == pytest.approx(500, abs=2)
    assert site.loss("west").fits


def test_a_loss_that_leaves_nobody_does_not_fit() -> None:
    only = decisions.service("lonely", {"us-east-1": decisions.made_up("lonely", 0)})
    (case,) = Site(decisions.policy([only])).controller.cases()
    (loss,) = losses(case)
    assert not loss.fits
    assert loss.n_minus_1.unserved_rps == pytest.approx(sum(case.decision.demand_rps))
    assert loss.headroom == 0.0


def test_a_region_that_is_down_already_has_nothing_to_lose() -> None:
    site = Site(policy(extra=SOUTH))
    site.probe("south")
    site.probe("south")
    loss = site.loss("south")
    assert loss.before_rps[loss.regions.index("south")] == 0.0
    assert loss.reflex.load_rps == pytest.approx(loss.before_rps)
    assert loss.fits


def test_headroom_is_what_the_tightest_other_region_can_take_alone() -> None:
    loss = Site(policy(east=1000, west=750)).loss("east")
    west = 750 - loss.before_rps[loss.regions.index("west")]
    assert loss.headroom == pytest.approx(west / loss.before_rps[loss.regions.index("east")])


def test_reflex_adds_the_latency_of_the_displaced_alone() -> None:
    loss = Site(policy(west=5000)).loss("east")
    moved = loss.before_rps[loss.regions.index("east")]
    assert moved == pytest.approx(600, abs=0.1)
    assert loss.reflex.added_ms == pytest.approx(600 * 79 / 1000, abs=0.1)


SHED = """
    overload:
      mode: shed
      classes: [{name: batch, headers: {x-class: batch}, share: 30%}]
"""


def test_what_is_refused_without_a_region_is_what_is_refused_when_it_dies() -> None:
    site = Site(policy(east=700, west=400, extra=SOUTH + SHED))
    said = site.loss("east")
    assert not said.fits
    site.probe("east")
    site.probe("east")
    decided = site.case().decision
    assert said.shed == decided.shed
    assert any(view is not None and view.classes == (("batch", 34),) for view in said.shed)
    parts = zip(decided.demand_rps, decided.shed, strict=True)
    assert said.shed_rps == pytest.approx(sum(rps * view.percent / 100 for rps, view in parts if view))


def test_nothing_is_refused_where_the_loss_fits_or_the_policy_spreads() -> None:
    assert Site(policy(extra=SOUTH + SHED)).loss("east").shed == ()
    assert Site(policy(east=700, west=400, extra=SOUTH)).loss("east").shed == ()


def test_an_order_shows_what_would_be_refused_for_it() -> None:
    site = Site(policy(east=700, west=400, extra=SOUTH + SHED))
    order = Order("o1", Kind.EVACUATE, "anna", "test", at=site.now, ends=site.now + 60, region="east")
    (effect,) = preview(site.controller.cases(), site.policy, (), order)
    assert effect.refused_rps == pytest.approx(site.loss("east").shed_rps)
    title, *_ = effects_table({"plan": effects_json([effect]), "refusals": []}).splitlines()
    assert title.startswith("shop: DOES NOT FIT, 100 req/s too many, 107 req/s are refused so that regions hold; ")
    (free,) = preview(site.controller.cases(), site.policy, (), replace(order, region="south"))
    assert free.refused_rps == 0.0
