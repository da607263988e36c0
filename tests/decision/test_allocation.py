"""Allocation against an LP solver over thousands of random cases, and the properties an operator relies on.

More cases: `pytest tests/decision/test_allocation.py --cases 100000`, five minutes.
"""

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.decision.oracle import least_cost, smallest_factor
from xds_server.decision.allocation import FITS, FORBIDDEN, Allocation, allocate

CASES = 3_200


class Case(NamedTuple):
    demand: tuple[int, ...]
    capacity: tuple[int, ...]
    cost: tuple[tuple[int, ...], ...]
    background: tuple[int, ...]
    previous: tuple[tuple[int, ...], ...] | None
    window: int

    def solve(self) -> Allocation:
        return allocate(
            self.demand,
            self.capacity,
            self.cost,
            background=self.background,
            previous=self.previous,
            window=self.window,
        )

    def allowed(self, v: int) -> list[int]:
        return [r for r, limit in enumerate(self.capacity) if limit and self.cost[v][r] < FORBIDDEN]

    def served(self) -> tuple[int, ...]:
        """The demand of the views that have a region they may use."""
        return tuple(d if self.allowed(v) else 0 for v, d in enumerate(self.demand))

    def price(self, flows: Sequence[Sequence[int]]) -> int:
        """What the flows cost, with the surcharge for what is above `previous`."""
        total = 0
        for v, row in enumerate(flows):
            for r, flow in enumerate(row):
                if flow:
                    was = self.previous[v][r] if self.previous else flow
                    total += flow * self.cost[v][r] + max(0, flow - was) * self.window
        return total


def random_case(rnd: random.Random) -> Case:
    """Small and large, roomy and overloaded, with ties, holes, background and history."""
    views, regions = rnd.randint(1, 8), rnd.randint(1, 8)
    unit = rnd.choice((1, 1, 10**6))
    demand = tuple(rnd.randint(0, 60) * unit for _ in range(views))
    ease = rnd.choice((0.7, 1.0, 1.3, 2.5)) * sum(demand) / regions + 1
    holes = rnd.choice((0.0, 0.0, 0.2))
    capacity = tuple(0 if rnd.random() < holes else int(rnd.uniform(0.2, 1.8) * ease) + 1 for _ in range(regions))
    dearest = rnd.choice((2, 9, 320_000))
    cuts = rnd.choice((0.0, 0.0, 0.3, 0.6))
    cost = tuple(
        tuple(FORBIDDEN if rnd.random() < cuts else rnd.randint(0, dearest) for _ in range(regions))
        for _ in range(views)
    )
    background = (0,) * regions
    if rnd.random() < 0.3:
        background = tuple(int(rnd.choice((0.0, 0.5, 1.4)) * limit) for limit in capacity)
    previous = None
    if rnd.random() < 0.5:
        previous = tuple(tuple(rnd.choice((0, 0, rnd.randint(0, 40))) * unit for _ in range(regions)) for _ in demand)
    return Case(demand, capacity, cost, background, previous, rnd.choice((0, 1, dearest // 4)) if previous else 0)


def check(case: Case) -> Allocation:
    """Assert what must hold of every answer, then that it is the optimum."""
    answer = case.solve()
    loads = [sum(column) for column in zip(*answer.flows, strict=True)]
    assert [sum(row) for row in answer.flows] == list(case.served())
    assert all(flow >= 0 for row in answer.flows for flow in row)
    assert all(not flow or r in case.allowed(v) for v, row in enumerate(answer.flows) for r, flow in enumerate(row))
    assert loads == list(answer.loads)
    assert answer.stranded == tuple(v for v, d in enumerate(case.demand) if d != case.served()[v])
    room = [max(0, limit - used) for limit, used in zip(case.capacity, case.background, strict=True)]
    if answer.ratio == FITS:
        assert all(load <= free for load, free in zip(loads, room, strict=True))
    else:
        check_heat(case, answer)
    rooms = [max(pair) for pair in zip(loads, room, strict=True)]
    best = least_cost(case.served(), rooms, case.cost, case.previous, case.window)
    assert case.price(answer.flows) == pytest.approx(best, rel=1e-9, abs=1e-6)
    return answer


def rounding(case: Case) -> float:
    """How far rounding scaled capacities up to whole units can move the factor."""
    return len(case.capacity) / min((limit for limit in case.capacity if limit), default=1)


def check_heat(case: Case, answer: Allocation) -> None:
    """Assert that no region is hotter than the factor, and that no view could use a cooler one.

    Up to the rounding of scaled capacities: a unit a region.
    """
    factor = Fraction(*answer.ratio)
    assert factor > 1
    heat = [
        Fraction(used + load, limit) if limit else Fraction(0)
        for used, load, limit in zip(case.background, answer.loads, case.capacity, strict=True)
    ]
    unit = [Fraction(len(case.capacity), limit or 1) for limit in case.capacity]
    if sum(map(bool, case.background)) <= 3:
        least = smallest_factor(case.served(), case.capacity, case.cost, case.background)
        assert least * (1 - 1e-9) - rounding(case) <= float(factor) <= least * (1 + 1e-9)
    for v, row in enumerate(answer.flows):
        for r in (r for r, flow in enumerate(row) if flow > len(row)):
            assert heat[r] < factor + unit[r]
            if heat[r] > 1 + unit[r]:
                assert all(heat[s] + unit[s] >= heat[r] - unit[r] for s in case.allowed(v))


def test_equals_the_optimum_of_an_lp_solver(request: pytest.FixtureRequest) -> None:
    cases = request.config.getoption("--cases") or CASES
    overloaded = 0
    for seed in range(cases):
        case = random_case(random.Random(seed))
        try:
            overloaded += check(case).ratio != FITS
        except AssertionError as found:
            raise AssertionError(f"seed {seed}: {case}") from found
    assert 0.3 < overloaded / cases < 0.6


cases = st.integers(0, 2**32).map(lambda seed: random_case(random.Random(seed)))


def rearranged(case: Case, views: Sequence[int], regions: Sequence[int]) -> Case:
    """The same case with its views and regions in another order."""

    def shuffled(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(rows[v][r] for r in regions) for v in views)

    return Case(
        demand=tuple(case.demand[v] for v in views),
        capacity=tuple(case.capacity[r] for r in regions),
        cost=shuffled(case.cost),
        background=tuple(case.background[r] for r in regions),
        previous=shuffled(case.previous) if case.previous else None,
        window=case.window,
    )


@given(cases, st.randoms(use_true_random=False))
def test_cost_and_overload_do_not_depend_on_the_order(case: Case, rnd: random.Random) -> None:
    views = rnd.sample(range(len(case.demand)), len(case.demand))
    regions = rnd.sample(range(len(case.capacity)), len(case.capacity))
    other = rearranged(case, views, regions)
    answer, mirrored = case.solve(), other.solve()
    assert abs(mirrored.overload - answer.overload) <= rounding(case)
    if answer.ratio == FITS:
        assert other.price(mirrored.flows) == case.price(answer.flows)


@given(cases, st.sampled_from((0, 1, 10**6)))
def test_an_optimum_in_force_is_kept(case: Case, window: int) -> None:
    """There may be several optima. Once one is in force nothing moves, even if the canonical one is another."""
    backwards = rearranged(case._replace(previous=None), range(len(case.demand))[::-1], range(len(case.capacity))[::-1])
    in_force = tuple(row[::-1] for row in backwards.solve().flows[::-1])
    answer = case._replace(previous=in_force, window=window).solve()
    if answer.ratio == FITS:
        assert answer.flows == in_force


def test_of_all_optima_the_one_that_moves_least_is_taken() -> None:
    """With many equal costs there are many. A unit of cost outweighs any movement, so the LP can mind both."""
    moved = 0
    for seed in range(600):
        case = random_case(random.Random(seed))
        few = sum(case.demand) < 500 and all(c % FORBIDDEN <= 9 for row in case.cost for c in row)
        if case.previous is None or case.window or not few:
            continue
        answer = case.solve()
        above = sum(
            max(0, flow - was)
            for pair in zip(answer.flows, case.previous, strict=True)
            for flow, was in zip(*pair, strict=True)
        )
        room = [max(0, limit - used) for limit, used in zip(case.capacity, case.background, strict=True)]
        rooms = [max(pair) for pair in zip(answer.loads, room, strict=True)]
        dear = tuple(tuple(c if c >= FORBIDDEN else 1000 * c for c in row) for row in case.cost)
        best = least_cost(case.served(), rooms, dear, case.previous, 1)
        assert 1000 * case.price(answer.flows) + above == pytest.approx(best, rel=1e-9, abs=1e-4)
        moved += bool(above)
    assert moved > 20


def test_a_tie_moves_no_more_than_it_must() -> None:
    """All regions cost the same to all views: only the excess of the region that shrank moves."""
    cost = ((5, 5, 5, 5),) * 3
    in_force = ((0, 40, 0, 0), (0, 0, 40, 0), (0, 0, 0, 40))
    answer = allocate((40, 40, 40), (50, 50, 30, 50), cost, previous=in_force)
    assert answer.flows == ((0, 40, 0, 0), (10, 0, 30, 0), (0, 0, 0, 40))


@given(cases)
def test_without_forbidden_pairs_the_factor_is_a_water_level(case: Case) -> None:
    """Demand over capacity, exactly, and every region is that hot."""
    open_to_all = case._replace(
        cost=tuple(tuple(c % FORBIDDEN for c in row) for row in case.cost), background=(0,) * len(case.capacity)
    )
    answer = open_to_all.solve()
    demand, capacity = sum(case.demand), sum(case.capacity)
    if not capacity:
        assert answer.stranded == tuple(v for v, d in enumerate(case.demand) if d)
        return
    assert Fraction(*answer.ratio) == max(Fraction(1), Fraction(demand, capacity))
    if answer.ratio != FITS:
        exact = (Fraction(demand * limit, capacity) for limit in case.capacity)
        assert all(abs(load - e) < len(case.capacity) for load, e in zip(answer.loads, exact, strict=True))


def test_every_view_stays_at_home_while_it_fits() -> None:
    answer = allocate((50, 30), (60, 60), ((1, 80), (80, 1)))
    assert answer == Allocation(((50, 0), (0, 30)), (50, 30))
    assert answer.overload == 1.0


def test_excess_goes_where_it_costs_least_even_through_another_view() -> None:
    """View 0 overflows into its neighbour 1, whose own view gives way to region 2: 10·(5 + 5) beats 10·30."""
    cost = ((0, 5, 30), (5, 0, 5), (30, 5, 0))
    answer = allocate((70, 60, 10), (60, 60, 60), cost)
    assert answer.flows == ((60, 10, 0), (0, 50, 10), (0, 0, 10))


def test_overload_heats_only_the_regions_the_excess_can_reach() -> None:
    """View 0 is cut off from regions 1 and 2; they stay at their capacity while region 0 exceeds its own."""
    cost = ((1, FORBIDDEN, FORBIDDEN), (9, 1, 5), (9, 5, 1))
    answer = allocate((150, 120, 10), (100, 100, 100), cost)
    assert answer.flows == ((150, 0, 0), (0, 100, 20), (0, 0, 10))
    assert answer.ratio == (3, 2)


def test_a_region_that_its_background_fills_takes_nothing_and_the_others_share_the_heat() -> None:
    answer = allocate((20, 20), (100, 100, 100), ((1, 2, 3), (1, 2, 3)), background=(90, 75, 300))
    assert answer.ratio == (41, 40)
    assert answer.loads == (13, 27, 0)


def test_a_region_without_capacity_gets_nothing_however_hot_the_others_are() -> None:
    answer = allocate((100, 100), (0, 40), ((1, 9), (1, 9)), previous=((100, 0), (100, 0)))
    assert answer.flows == ((0, 100), (0, 100))
    assert answer.overload == 5.0


def test_a_view_without_a_region_is_reported_and_harms_no_other() -> None:
    answer = allocate((7, 5), (10, 10), ((FORBIDDEN, FORBIDDEN), (1, 2)))
    assert answer.flows == ((0, 0), (5, 0))
    assert answer.stranded == (0,)
    assert answer.ratio == FITS


@pytest.mark.parametrize(("gain", "moved"), [(9, False), (10, False), (11, True)])
def test_flow_moves_only_for_more_than_the_window(gain: int, moved: bool) -> None:
    answer = allocate((8,), (10, 10), ((50, 50 + gain),), previous=((0, 8),), window=10)
    assert answer.flows == (((8, 0),) if moved else ((0, 8),))


def test_of_two_views_the_one_that_gains_more_keeps_the_place() -> None:
    """Region 0 shrinks: the view for which region 1 is nearer leaves it, and only by the excess."""
    answer = allocate((50, 50), (60, 100), ((1, 40), (1, 30)), previous=((50, 0), (50, 0)), window=5)
    assert answer.flows == ((50, 0), (10, 40))


def test_large_numbers_stay_exact() -> None:
    """A hundred million requests per second in millionths: one unit over is one unit moved."""
    big = 10**14
    answer = allocate((big + 1, big), (big, 3 * big), ((1, 320_000), (320_000, 1)))
    assert answer.flows == ((big, 1), (0, big))
