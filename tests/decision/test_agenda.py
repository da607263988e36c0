"""Which places a step looks at: what changed, at its time or each second, and nothing else."""

from __future__ import annotations

from xds_server.decision.agenda import MOST_ROUTINE, Agenda
from xds_server.decision.evidence import EndpointBook
from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import Belief, Place
from xds_server.decision.witnesses import Witnesses
from xds_server.model import Address, Health, LoadReport, Observation, Target, Verdict
from xds_server.policy.types import HealthCheck

WELL = Belief(Verdict(Health.HEALTHY, 1.0, "", 0.0, up=1, total=1))
DOWN = Belief(Verdict(Health.DOWN, 0.0, "", 0.0, ramp=0.0, total=1))
FAILS = Belief(Verdict(Health.DOWN, 0.0, "", 0.0, ramp=0.0, up=1, total=1))
HALF = Belief(Verdict(Health.DEGRADED, 0.5, "", 0.0, up=1, total=2))
HELD = Belief(Verdict(Health.UNKNOWN, 1.0, "", 0.0, held=Health.HEALTHY))


class Watch:
    """An agenda over two services in two regions, and what is seen of them."""

    def __init__(self, **beliefs: Belief) -> None:
        """`shop_eu=DOWN`: what is believed."""
        places = [Place(service, region) for service in ("shop", "till") for region in ("eu", "us")]
        self.targets = {place: Target(*place, Address("10.0.0.1", 80 + n)) for n, place in enumerate(places)}
        self.endpoints, self.traffic = EndpointBook(), TrafficBook()
        self.endpoints.configure(dict.fromkeys(places, HealthCheck()), self.targets.values())
        self.agenda, self.now = Agenda(), 0.0
        self.agenda.configure(frozenset(places))
        self.beliefs = {place: beliefs.get("_".join(place), WELL) for place in places}
        for place, belief in self.beliefs.items():
            self.agenda.believed(place, belief)
        self.silent: set[Place] = set()
        assert self.step(1.0) == places
        self.step(1.0)

    def step(self, seconds: float) -> list[Place]:
        """Let time pass, with a probe of every endpoint; return what is looked at."""
        self.now += seconds
        for place, target in self.targets.items():
            if place not in self.silent:
                self.endpoints.learn(Observation("", target, self.beliefs[place] is not DOWN, self.now), hasty=True)
        self.agenda.sweep(self.beliefs, Witnesses(self.endpoints, self.traffic), self.now)
        return self.agenda.take(self.beliefs, self.now)

    def steps(self, count: int) -> list[Place]:
        """Let so many quarters of a second pass; return all that is looked at meanwhile."""
        return [place for _ in range(count) for place in self.step(0.25)]


def test_what_is_well_and_what_is_down_is_not_looked_at_while_nothing_changes() -> None:
    assert Watch(shop_eu=DOWN, till_eu=DOWN).steps(400) == []


def test_what_is_neither_is_looked_at_each_second() -> None:
    watch = Watch(shop_eu=HALF, shop_us=FAILS)
    assert watch.steps(40) == [Place("shop", "eu"), Place("shop", "us")] * 10


def test_what_nobody_has_a_word_on_any_more_is_looked_at() -> None:
    watch = Watch(shop_eu=DOWN)
    watch.silent = {Place("shop", "eu"), Place("till", "us")}
    assert set(watch.steps(40)) == watch.silent


def test_what_is_down_is_looked_at_when_somebody_begins_or_ceases_to_speak_of_it() -> None:
    watch, place = Watch(shop_eu=DOWN), Place("shop", "eu")
    watch.traffic.learn(LoadReport("us", "us", "shop", "eu", 50, 50, 0, 0, 1.0, watch.now))
    assert watch.steps(4) == [place]
    assert watch.steps(40) == [place], "once, when the report is too old to say anything"


def test_what_is_held_is_looked_at_with_the_others_of_its_service() -> None:
    watch = Watch(shop_eu=HELD, till_eu=HELD)
    assert set(watch.steps(4)) == {Place("shop", "eu"), Place("till", "eu")}, "each second, since somebody is heard"
    watch.agenda.touch([Place("shop", "us")])
    assert watch.step(0.25) == [Place("shop", "eu"), Place("shop", "us")]


def test_the_end_of_a_hold_and_the_step_of_a_ramp_have_their_time() -> None:
    watch, place = Watch(shop_eu=DOWN), Place("shop", "eu")
    watch.agenda.wake(place, watch.now + 1.5)
    assert watch.agenda.next_change(watch.now) == watch.now + 1.5
    assert watch.steps(5) == []
    assert watch.steps(1) == [place]
    watch.agenda.wake(place, None)
    assert watch.agenda.next_change(watch.now) is None


def test_what_was_reported_on_has_its_turn() -> None:
    agenda = Agenda()
    places = [Place(f"{n:04}", "eu") for n in range(MOST_ROUTINE + 10)]
    for place in reversed(places):
        agenda.reported(place)
    agenda.reported(places[-1])
    assert agenda.next_change(7.0) == 7.0
    assert agenda.take({}, 7.0) == places[10:]
    assert agenda.take({}, 7.0) == places[:10]
    assert agenda.next_change(7.0) is None
