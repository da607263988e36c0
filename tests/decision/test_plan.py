"""The reflex and N-1 plans: DESIGN's check as a property, an LP solver for the optimum, and cases one can read."""

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.decision.oracle import least_cost
from xds_server.decision.allocation import FITS, FORBIDDEN, allocate
from xds_server.decision.apportion import apportion
from xds_server.decision.plan import Reflex, n_minus_1, present, reflex
from xds_server.model import TOTAL_WEIGHT

Flows = tuple[tuple[int, ...], ...]


class Case(NamedTuple):
    demand: tuple[int, ...]
    capacity: tuple[int, ...]
    cost: tuple[tuple[int, ...], ...]
    flows: Flows
    gone: int

    def plan(self) -> Reflex:
        return reflex(self.capacity, self.cost, present(self.flows, self.cost), self.gone)

    def outcome(self, plan: Reflex) -> Flows:
        """The flows after Envoy has executed the plan: x_vs + x_vr·p_vs."""
        return tuple(
            tuple(flow * (r != self.gone) + extra * (row[self.gone] > 0) for r, (flow, extra) in enumerate(pairs))
            for row, pairs in ((row, list(zip(row, p, strict=True))) for row, p in self.rows(plan))
        )

    def rows(self, plan: Reflex) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return list(zip(self.flows, plan.flows, strict=True))

    def serving(self) -> list[int]:
        return [r for r, limit in enumerate(self.capacity) if limit and r != self.gone]


def loads(flows: Flows) -> list[int]:
    return [sum(column) for column in zip(*flows, strict=True)]


def total_cost(flows: Sequence[Sequence[int]], cost: Sequence[Sequence[int]]) -> int:
    return sum(f * c for rows in zip(flows, cost, strict=True) for f, c in zip(*rows, strict=True) if f)


def random_case(seed: int) -> Case:
    """A service in a few regions, some not serving, with the optimum in force, or weights that an operator chose."""
    rnd = random.Random(seed)
    views, regions = rnd.randint(1, 6), rnd.randint(1, 6)
    unit = rnd.choice((1, 10**6))
    demand = tuple(rnd.randint(1, 60) * unit for _ in range(views))
    ease = rnd.choice((0.8, 1.2, 2.0, 4.0)) * sum(demand) / regions
    capacity = tuple(0 if rnd.random() < 0.15 else 1 + int(rnd.uniform(0.5, 1.5) * ease) for _ in range(regions))
    dearest = rnd.choice((3, 320_000))
    cost = tuple(tuple(rnd.randint(0, dearest) for _ in range(regions)) for _ in range(views))
    flows = allocate(demand, capacity, cost).flows
    if rnd.random() < 0.4:
        tables = [apportion([rnd.randint(0, 5) for _ in capacity]) for _ in demand]
        flows = tuple(apportion(table, d) for table, d in zip(tables, demand, strict=True))
    return Case(demand, capacity, cost, flows, rnd.randrange(regions))


cases = st.integers(0, 2**32).map(random_case)


@given(cases)
def test_the_reflex_moves_only_what_the_lost_region_had(case: Case) -> None:
    plan = case.plan()
    outcome = case.outcome(plan)
    if not case.serving():
        assert not any(map(any, plan.flows))
        return
    assert [sum(row) for row in outcome] == [sum(row) for row in case.flows]
    for before, after in zip(case.flows, outcome, strict=True):
        assert after[case.gone] == 0
        assert all(a >= b for r, (b, a) in enumerate(zip(before, after, strict=True)) if r != case.gone)


@given(cases)
def test_the_reflex_exceeds_a_capacity_only_when_it_must_and_then_all_alike(case: Case) -> None:
    plan = case.plan()
    before, after = loads(case.flows), loads(case.outcome(plan))
    taking = [r for r in case.serving() if after[r] > before[r]]
    if plan.ratio == FITS:
        assert all(after[r] <= case.capacity[r] for r in taking)
        return
    factor = Fraction(*plan.ratio)
    assert factor > 1
    for r in case.serving():
        level = -(-factor.numerator * case.capacity[r] // factor.denominator)
        assert after[r] <= max(level, before[r])
        assert after[r] > level - len(case.capacity)


@given(cases)
def test_the_reflex_is_the_cheapest_placing_of_what_is_displaced(case: Case) -> None:
    plan = case.plan()
    displaced = [row[case.gone] for row in case.flows]
    if plan.ratio != FITS or not case.serving():
        return
    room = [max(0, c - load) for c, load in zip(case.capacity, loads(case.flows), strict=True)]
    room[case.gone] = 0
    placed = [row for row, d in zip(plan.flows, displaced, strict=True) if d]
    cost = [row for row, d in zip(case.cost, displaced, strict=True) if d]
    best = least_cost([d for d in displaced if d], room, cost)
    assert total_cost(placed, cost) == pytest.approx(best, rel=1e-9, abs=1e-6)


@given(cases)
def test_every_view_has_a_plan_while_any_region_serves(case: Case) -> None:
    plan = case.plan()
    for row in plan.flows:
        assert any(row) == bool(case.serving())
        assert all(not flow or r in case.serving() for r, flow in enumerate(row))


@given(cases)
def test_in_integer_weights_the_outcome_is_the_plan_within_rounding(case: Case) -> None:
    """What Envoy does with w and p: the share of s becomes w_s + w_r·p_s, whole shares being TOTAL_WEIGHT squared."""
    if not case.serving():
        return
    plan = case.plan()
    for (row, planned), after in zip(case.rows(plan), case.outcome(plan), strict=True):
        if not any(row):
            continue
        w, p = apportion(row), apportion(planned)
        shares = [w[s] * TOTAL_WEIGHT * (s != case.gone) + w[case.gone] * p[s] for s in range(len(w))]
        assert sum(shares) == TOTAL_WEIGHT**2
        for share, flow in zip(shares, after, strict=True):
            assert abs(Fraction(share, TOTAL_WEIGHT**2) - Fraction(flow, sum(after))) <= Fraction(3, TOTAL_WEIGHT)


@given(cases)
def test_the_optimum_without_a_region_is_never_worse_than_the_reflex(case: Case) -> None:
    plan, best = (
        case.plan(),
        n_minus_1(case.demand, case.capacity, case.cost, present(case.flows, case.cost), case.gone),
    )
    outcome = case.outcome(plan)
    if not case.serving() or any(not any(row) for row in case.flows):
        return
    assert [sum(row) for row in best.flows] == list(case.demand)
    assert best.loads[case.gone] == 0
    hottest = max(Fraction(load, c) for load, c in zip(loads(outcome), case.capacity, strict=True) if c)
    if hottest <= 1 and not any(load for load, c in zip(loads(outcome), case.capacity, strict=True) if not c):
        assert best.ratio == FITS
        assert total_cost(best.flows, case.cost) <= total_cost(outcome, case.cost)
    added = total_cost(best.flows, case.cost) - total_cost(case.flows, case.cost)
    assert best.added_cost == pytest.approx(added / sum(case.demand), rel=1e-9, abs=1e-6)


@given(cases)
def test_losing_a_region_that_carries_nothing_changes_nothing(case: Case) -> None:
    today = allocate(case.demand, case.capacity, case.cost)
    for gone, load in enumerate(today.loads):
        if load == 0 and any(today.loads) and today.ratio == FITS:
            best = n_minus_1(case.demand, case.capacity, case.cost, present(today.flows, case.cost), gone)
            assert (best.flows, best.ratio, best.added_cost) == (today.flows, FITS, 0.0)
            plan = reflex(case.capacity, case.cost, present(today.flows, case.cost), gone)
            assert plan.ratio == FITS
            assert all(sum(row) == 1 for row in plan.flows)


US, EU, AP, SA = range(4)
HOME = ((1, 80, 220, 120), (80, 1, 160, 190), (220, 160, 1, 320), (120, 190, 320, 1))
AT_HOME = ((60, 0, 0, 0), (0, 60, 0, 0), (0, 0, 60, 0), (0, 0, 0, 60))


def test_a_lost_region_overflows_to_the_nearest_and_then_the_next() -> None:
    plan = reflex((100, 100, 100, 100), HOME, present(AT_HOME, HOME), US)
    assert plan.flows[US] == (0, 40, 0, 20)
    assert plan.overload == 1.0


def test_views_with_nothing_there_get_the_nearest_region_with_room() -> None:
    """A stale route may still lead to the cluster. Europe is full after the plan, so its own view passes it by."""
    plan = reflex((100, 100, 100, 100), HOME, present(AT_HOME, HOME), US)
    assert plan.flows[EU] == (0, 0, 1, 0)
    assert plan.flows[SA] == (0, 0, 0, 1)


def test_displaced_views_share_what_room_there_is() -> None:
    """Both views want Europe's 30 units of room; the one for which Asia is farther gets them."""
    cost = ((1, 80, 220), (1, 80, 120))
    plan = reflex((100, 30, 100), cost, present(((30, 0, 0), (30, 0, 0)), cost), 0)
    assert plan.flows == ((0, 30, 0), (0, 0, 30))


def test_what_does_not_fit_heats_all_alike_and_lowers_nothing() -> None:
    """240 on three times 70: each region ends at 80, eight sevenths of what it should carry."""
    plan = reflex((70, 70, 70, 70), HOME, present(AT_HOME, HOME), AP)
    assert plan.flows[AP] == (20, 20, 0, 20)
    assert plan.ratio == (8, 7)


def test_full_regions_still_get_the_plan() -> None:
    plan = reflex((60, 60, 60, 60), HOME, present(AT_HOME, HOME), AP)
    assert plan.flows[AP] == (20, 20, 0, 20)
    assert plan.ratio == (4, 3)


def test_a_view_cut_off_from_every_other_region_tries_them_all() -> None:
    cost = ((1, FORBIDDEN, FORBIDDEN, FORBIDDEN), *HOME[1:])
    plan = reflex((100, 100, 0, 100), cost, present(AT_HOME, cost), US)
    assert plan.flows[US] == (0, 1, 0, 1)
    assert plan.overload == 1.0


def test_the_last_region_has_no_plan() -> None:
    cost = ((1, 80), (80, 1))
    now = present(((50, 0), (50, 0)), cost)
    plan = reflex((100, 0), cost, now, 0)
    assert plan.flows == ((0, 0), (0, 0))
    best = n_minus_1((50, 50), (100, 0), cost, now, 0)
    assert best.flows == ((0, 0), (0, 0))
    assert best.added_cost == 0.0


def test_the_optimum_moves_others_out_of_the_way_which_the_reflex_cannot() -> None:
    """America's traffic wants Europe, which is full of a view that could as well go to Asia."""
    cost = ((1, 80, 300), (80, 1, 2), (300, 160, 1))
    in_force = ((60, 0, 0), (0, 60, 0), (0, 0, 10))
    capacity = (60, 60, 100)
    assert reflex(capacity, cost, present(in_force, cost), 0).flows[0] == (0, 0, 60)
    best = n_minus_1((60, 60, 10), capacity, cost, present(in_force, cost), 0)
    assert best.flows == ((0, 60, 0), (0, 0, 60), (0, 0, 10))
    assert best.loads == (0, 60, 70)
    assert best.added_cost == pytest.approx((60 * 79 + 60 * 1) / 130)


def test_unknown_costs_are_left_out_of_the_mean() -> None:
    """A flow in force over a path now believed cut has no known latency."""
    cost = ((FORBIDDEN, 80), (10, 1))
    best = n_minus_1((10, 10), (50, 50), cost, present(((10, 0), (10, 0)), cost), 0)
    assert best.flows == ((0, 10), (0, 10))
    assert best.added_cost == pytest.approx((80 + 1) / 2 - 10)
