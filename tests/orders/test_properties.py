"""Whatever operators order, in whatever order, while regions come and go: what holds of every decision."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.controller import Controller
from xds_server.model import TOTAL_WEIGHT, Observation, Target
from xds_server.orders.types import EndOrder, Kind, Order, Phase, PlaceOrder, Request
from xds_server.policy.parse import parse
from xds_server.policy.types import OnHarm
from xds_server.step import Inputs, Outcome

REGIONS = ("ap", "eu", "us")
POLICY = """
version: 1
regions: {us: {latency: {eu: 80ms, ap: 220ms}}, eu: {latency: {ap: 160ms}}, ap: {}}
defaults: {ramp_up: 5s}
services:
  a:
    demand: {us: 50, eu: 30, ap: 20}
    deployments:
      us: {endpoints: ["10.0.1.1:80"], capacity: 100}
      eu: {endpoints: ["10.0.2.1:80"], capacity: 60}
      ap: {endpoints: ["10.0.3.1:80"], capacity: 50}
  b:
    deployments:
      us: {endpoints: ["10.0.1.2:80"], capacity: 10}
      eu: {endpoints: ["10.0.2.2:80"], capacity: 10}
"""

orders = st.builds(
    lambda kind, region, service, view, parts, capacity, over, lasts, forced, harm: Order(
        id="",
        kind=kind,
        author="anna",
        reason="test",
        at=0.0,
        ends=lasts,
        region=region if kind in {Kind.EVACUATE, Kind.DRILL, Kind.CAPACITY} else "",
        service=service,
        view=view if kind in {Kind.WEIGHT, Kind.HOLD} else "",
        weights=tuple(zip(("eu", "us"), parts, strict=True)) if kind is Kind.WEIGHT else (),
        capacity_rps=capacity if kind is Kind.CAPACITY else 0.0,
        over_s=over,
        on_harm=harm,
        forced=forced,
    ),
    st.sampled_from(Kind),
    st.sampled_from(REGIONS),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", *REGIONS]),
    st.tuples(st.floats(0, 10), st.floats(0, 10)),
    st.floats(1, 200),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.floats(1, 30),
    st.booleans(),
    st.sampled_from(OnHarm),
)
place = st.tuples(st.just("place"), orders)
end = st.tuples(st.just("end"), st.integers(0, 5))
health = st.tuples(st.just("health"), st.sampled_from(REGIONS), st.booleans())
wait = st.tuples(st.just("wait"), st.integers(1, 40), st.integers(0, 2))


class World:
    """A controller, its time and the health of the regions."""

    def __init__(self) -> None:
        self.now = 0.0
        self.number = 0
        self.controller = Controller()
        self.up = dict.fromkeys(REGIONS, True)
        self.targets: tuple[Target, ...] = ()
        self.step(Inputs(policy=parse(POLICY, "p").policy))
        self.wait(4, 0)

    def step(self, inputs: Inputs) -> Outcome:
        before = self.controller.orders.version
        outcome = self.controller.step(inputs, self.now)
        self.targets = tuple(outcome.targets) if outcome.targets is not None else self.targets
        assert self.controller.orders.version >= before
        return outcome

    def wait(self, ticks: int, behind: int) -> None:
        for _ in range(ticks):
            self.now += 0.5
            seen = tuple(Observation("controlplane", t, self.up[t.region], self.now) for t in self.targets)
            self.step(Inputs(observations=seen, behind=behind))
            self.check()

    def ask(self, request: Request) -> None:
        outcome = self.step(Inputs(orders=(request,)))
        assert [answer.number for answer in outcome.answers] == [request.number]
        self.check()

    def check(self) -> None:
        decision = self.controller.decision
        assert decision is not None
        standing = self.controller.orders.standing
        assert len({one.order.id for one in standing}) == len(standing)
        assert len({one.order.place for one in standing}) == len(standing)
        assert all(one.order.ends > self.now or one.phase is Phase.RETURNING for one in standing)
        for service in decision.services:
            serving = [v is not None and v.serves for v in service.verdicts]
            gone = {o.order.region for o in standing if o.order.kind is Kind.EVACUATE and o.moved >= 1.0
                    and o.order.concerns(service.service)}  # fmt: skip
            for view, row in zip(service.regions, service.weights, strict=True):
                assert sum(row) == TOTAL_WEIGHT
                fixed = any(o.order.kind in {Kind.WEIGHT, Kind.HOLD} and o.order.concerns(service.service)
                            and o.order.view in {"", view} for o in standing)  # fmt: skip
                for r, weight in enumerate(row):
                    if service.verdicts[r] is None:
                        assert not weight
                    elif any(serving) and (service.regions[r] in gone or not (serving[r] or fixed)):
                        assert not weight, (service.service, view, service.regions[r])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(place, end, health, wait), max_size=12))
def test_every_decision_keeps_to_the_orders(actions: list[tuple[object, ...]]) -> None:
    world = World()
    for action in actions:
        match action:
            case ("place", Order() as wanted):
                world.number += 1
                given_now = _now(wanted, f"o{world.number}", world.now)
                world.ask(PlaceOrder(world.number, given_now, 1e9, world.controller.orders.version))
            case ("end", int(nth)):
                world.number += 1
                standing = world.controller.orders.standing
                identity = standing[nth % len(standing)].order.id if standing else "none"
                world.ask(EndOrder(world.number, identity, "bo", "done", world.controller.orders.version))
            case ("health", str(region), bool(up)):
                world.up[region] = up
                world.wait(6, 0)
            case ("wait", int(ticks), int(behind)):
                world.wait(ticks, behind)


def _now(order: Order, identity: str, now: float) -> Order:
    return Order(
        **{f: getattr(order, f) for f in Order.__slots__} | {"id": identity, "at": now, "ends": now + order.ends}
    )
