"""What is shed is enough and hardly more, in the policy's order; and it finds its level when shares are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import decisions as made
from xds_server.decision.decide import decide_service, place
from xds_server.decision.demand import DemandBook
from xds_server.decision.frame import Prior, frame
from xds_server.decision.measured import Measured
from xds_server.decision.shedding import MOST_PERCENT, NOTHING_SHED, SETTLE_S, Shedding, in_force, offered, sheds
from xds_server.model import Health, ServiceDecision, Shed, ShedClass, Verdict
from xds_server.policy.types import Overload, OverloadMode, TrafficClass

UNIT = 1_000_000
BATCH = TrafficClass("batch", (("x-class", "batch"),), 0.3)
BOTS = TrafficClass("bots", (("x-class", "bot"),), 0.1)
SHED = Overload(OverloadMode.SHED, classes=(BATCH, BOTS))
PLACES = ("a", "b", "c")
Flows = list[list[int]]

flows = st.lists(st.lists(st.integers(0, 2_000), min_size=3, max_size=3), min_size=3, max_size=3)
capacities = st.lists(st.integers(0, 3_000), min_size=3, max_size=3)


def units(numbers: Sequence[int]) -> list[int]:
    return [n * UNIT for n in numbers]


def shed_of(percent: int, classes: Sequence[TrafficClass] = (BATCH, BOTS)) -> Shed:
    """What a view sheds that is to shed so much."""
    overload = replace(SHED, classes=tuple(classes))
    (found,) = sheds(overload, ("a",), [[100]], [100 - percent])
    assert found is not None
    return found


@given(flows, capacities)
def test_regions_hold_and_little_more_is_shed_than_the_hottest_needs(of: Flows, full: list[int]) -> None:
    found = sheds(SHED, PLACES, [units(row) for row in of], units(full)) or (None,) * 3
    load = [sum(column) for column in zip(*of, strict=True)]
    for r, capacity in enumerate(full):
        left = sum(row[r] * (1 - (shed.percent / 100 if shed else 0)) for row, shed in zip(of, found, strict=True))
        if capacity and capacity >= 0.05 * load[r]:
            assert left <= capacity + 1e-6
    for row, shed in zip(of, found, strict=True):
        need = max((1 - c / have for sent, c, have in zip(row, full, load, strict=True) if sent and c), default=0.0)
        assert (shed.percent if shed else 0) <= min(MOST_PERCENT, max(0.0, 100 * need + 1))


def test_the_first_class_goes_before_the_next_and_the_rest_comes_last() -> None:
    assert shed_of(15).classes == (ShedClass("batch", 50),)
    assert shed_of(30).classes == (ShedClass("batch", 100),)
    assert shed_of(34).classes == (ShedClass("batch", 100), ShedClass("bots", 40))
    assert shed_of(70).classes == (ShedClass("batch", 100), ShedClass("bots", 100), ShedClass("", 50))
    assert shed_of(20, ()).classes == ()


@given(st.integers(1, MOST_PERCENT))
def test_classes_make_up_the_whole_share_and_a_percent_of_one_class_more_at_most(percent: int) -> None:
    parts = {"batch": 30, "bots": 10, "": 60}
    taken = sum(parts[name] * part for name, part in shed_of(percent).classes) / 100
    assert percent <= taken < percent + max(parts.values()) / 100


def test_nothing_is_shed_where_it_fits_where_it_is_spread_and_towards_what_is_down() -> None:
    assert sheds(SHED, ("a", "b"), [units([9, 1]), units([0, 5])], units([9, 6])) == ()
    assert sheds(Overload(), ("a", "b"), [units([9, 1]), units([0, 5])], units([1, 1])) == ()
    assert sheds(SHED, ("a", "b"), [units([9, 1]), units([0, 5])], units([0, 6])) == ()


def test_a_view_sheds_only_for_regions_that_it_sends_to() -> None:
    found = sheds(SHED, ("a", "b"), [units([20, 0]), units([0, 5])], units([10, 6]))
    assert [shed and shed.percent for shed in found] == [50, None]
    assert found[0] is not None
    assert found[0].reason == "a would get 20 req/s and can serve 10"


def test_a_share_that_is_enough_and_hardly_too_large_stays() -> None:
    before = Shedding((shed_of(40),))
    for need, kept in ((38, 40), (40, 40), (41, 41), (37, 37)):
        (found,) = sheds(SHED, ("a",), [[100]], [100 - need], before=before)
        assert found is not None
        assert found.percent == kept


# Measured demand is what was let through.


STEP_S = 6


class Loop:
    """One service in three equal regions, of which one serves. Its measured demand is followed as ever (demand.py)."""

    def __init__(self, capacity: float, really: dict[str, float]) -> None:
        self.base = frame(POLICY, POLICY.services["checkout"])
        self.really = really
        self.capacity = capacity
        self.shedding = NOTHING_SHED
        self.prior: Prior | None = None
        self.now = 0.0
        self.through = 0.0
        self.book = DemandBook()
        self.shares: list[int] = []

    def run(self, seconds: int, offered_rps: float) -> None:
        for _ in range(seconds // STEP_S):
            self.now += STEP_S
            if self.now > STEP_S:
                self.book.follow("checkout", HOME, self.through, offered_rps, self.now)
            self._decide(self.book.in_force("checkout", HOME) or offered_rps)
            self.through = offered_rps * (1 - self._refused())

    def hear_nothing(self, seconds: int) -> None:
        for _ in range(seconds // STEP_S):
            self.now += STEP_S
            self.book.hold("checkout", HOME, self.now)
            self._decide(self.book.in_force("checkout", HOME) or 0.0)

    def _decide(self, demand_rps: float) -> None:
        measured = Measured({HOME: demand_rps}, {}, frozenset(), {HOME: self.capacity})
        placed = place(self.base, VERDICTS, self.prior, measured=measured, now=self.now)
        decided: ServiceDecision = placed.decision
        self.shedding = in_force(decided, self.shedding, self.now)
        self.prior = Prior(decided.weights, VERDICTS, shedding=self.shedding)
        shed = decided.shed[V] if decided.shed else None
        self.book.through = {("checkout", HOME): 1 - shed.percent / 100} if shed else {}
        self.shares.append(decided.shed[V].percent if decided.shed and decided.shed[V] else 0)  # type: ignore[union-attr]

    def _refused(self) -> float:
        """The share of the real requests that is refused, by what the classes really are."""
        shed = self.shedding.sheds[V] if self.shedding.sheds else None
        rest = 1 - sum(self.really.values())
        parts = dict(shed.classes) if shed else {}
        return sum(parts.get(name, 0) / 100 * share for name, share in {**self.really, "": rest}.items())


HOME = "us-east-1"
V = made.REGIONS.index(HOME)
SERVICE = replace(made.service(), overload=SHED, demand_rps=dict.fromkeys(made.REGIONS, 0.0), reserve=0.0)
POLICY = made.policy([SERVICE])
VERDICTS = tuple(
    Verdict(Health.HEALTHY, 1.0, "", 0.0) if r == HOME else Verdict(Health.DOWN, 0.0, "", 0.0) for r in made.REGIONS
)


@pytest.mark.parametrize("really", [{"batch": 0.3, "bots": 0.1}, {"batch": 0.1, "bots": 0.0}], ids=str)
def test_regions_end_full_and_not_above_and_shares_stop_moving(really: dict[str, float]) -> None:
    loop = Loop(1_000.0, really)
    loop.run(1_200, 1_250.0)
    settled = len(loop.shares)
    loop.run(600, 1_250.0)
    assert len(set(loop.shares[settled:])) == 1, loop.shares[settled:]
    assert loop.through <= 1_030.0
    assert loop.through >= 850.0
    loop.run(1_200, 700.0)
    assert loop.shares[-1] == 0
    assert loop.through == 700.0


@pytest.mark.parametrize("offered_rps", [1_050.0, 1_080.0, 1_150.0, 1_600.0])
def test_what_is_refused_is_what_is_too_much_and_stays_so(offered_rps: float) -> None:
    """Also where it is less than what otherwise matters of a change of demand."""
    loop = Loop(1_000.0, {"batch": 0.3, "bots": 0.1})
    loop.run(1_800, offered_rps)
    assert 950.0 <= loop.through <= 1_000.0
    assert len(set(loop.shares[-200:])) == 1


def test_no_more_is_refused_of_a_view_that_fell_silent_than_was_too_much_of_it() -> None:
    loop = Loop(1_000.0, {"batch": 0.3, "bots": 0.1})
    loop.run(1_200, 1_250.0)
    loop.hear_nothing(60)
    loop.capacity = 500.0
    loop.hear_nothing(1_200)
    assert 60 <= max(loop.shares) <= 62, "1,250 req/s and half of the capacity that there was"
    assert set(loop.shares[-100:]) == {loop.shares[-1]}


def test_a_silent_view_of_which_something_is_refused_goes_back_to_what_is_stated() -> None:
    book = DemandBook()
    book.through = {("checkout", HOME): 0.5}
    for now in range(0, 300, 5):
        book.follow("checkout", HOME, 100.0, 600.0, float(now))
    assert book.in_force("checkout", HOME) == pytest.approx(100.0, rel=0.03)
    for now in range(300, 900, 5):
        book.fade("checkout", HOME, 600.0, float(now))
    assert book.in_force("checkout", HOME) == pytest.approx(300.0, rel=0.03), "half of it would be let through"
    book.through = {}
    for now in range(900, 1_500, 5):
        book.fade("checkout", HOME, 600.0, float(now))
    assert book.in_force("checkout", HOME) is None


def test_a_class_much_larger_than_stated_moves_around_its_level_slowly() -> None:
    loop = Loop(1_000.0, {"batch": 0.7, "bots": 0.1})
    loop.run(1_200, 1_250.0)
    let_through = []
    for _ in range(20):
        loop.run(30, 1_250.0)
        let_through.append(loop.through)
    assert 880.0 < min(let_through) <= max(let_through) < 1_120.0
    last = loop.shares[-600 // STEP_S :]
    assert 2 <= sum(a != b for a, b in pairwise(last)) <= 2 * 600 / SETTLE_S


def test_a_share_does_not_chase_reports_that_lag() -> None:
    loop = Loop(1_000.0, {"batch": 0.3, "bots": 0.1})
    loop.run(600, 1_250.0)
    assert max(loop.shares) <= 22, "25 % too much is a fifth of it"


def test_what_is_offered_is_held_first_and_then_scaled_up() -> None:
    before = Shedding((shed_of(20), None), (125.0, 50.0), (), 10.0)
    measured = Measured({"a": 110.0, "b": 60.0})
    assert offered(measured, ("a", "b"), before, 11.0).demand_rps == {"a": 125.0, "b": 60.0}
    after = Measured({"a": 100.0, "b": 60.0})
    assert offered(after, ("a", "b"), before, 10.0 + SETTLE_S).demand_rps == {"a": 125.0, "b": 60.0}
    assert offered(after, ("a", "b"), NOTHING_SHED, 11.0) is after


def test_what_if_asks_of_demand_as_it_is_given() -> None:
    prior = Prior(((0, 0, 0, 10_000),) * 4, VERDICTS, shedding=Shedding((shed_of(50),) * 4, (99.0,) * 4, (), 0.0))
    measured = Measured({HOME: 500.0}, {}, frozenset(), {HOME: 1_000.0})
    decided = decide_service(frame(POLICY, SERVICE), VERDICTS, prior, measured=measured, forced=True)
    assert decided.demand_rps[V] == 500.0
