"""Apportioning, exhaustively over small spaces and by property over large ones."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from xds_server.decision.apportion import apportion
from xds_server.model import TOTAL_WEIGHT

flows = st.lists(st.integers(0, 10**12), min_size=1, max_size=10).filter(any)


def shares(row: Sequence[int], total: int) -> list[Fraction]:
    return [Fraction(flow * total, sum(row)) for flow in row]


def within_quota(row: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
    """Every table that sums to `total` with each weight its share rounded up or down."""
    choices = [{int(share), -int(-share // 1)} for share in shares(row, total)]
    return (table for table in product(*choices) if sum(table) == total)


def change(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def error(row: Sequence[int], table: Sequence[int]) -> Fraction:
    return sum((abs(w - s) for w, s in zip(table, shares(row, sum(table)), strict=True)), Fraction(0))


def test_every_small_table_is_the_nearest_one() -> None:
    for size, total in product(range(1, 5), (1, 2, 5, 10)):
        for row in product(range(5), repeat=size):
            table = apportion(row, total)
            if not any(row):
                assert table == (0,) * size
                continue
            assert table in within_quota(row, total)
            assert error(row, table) == min(error(row, other) for other in within_quota(row, total))


def test_every_small_table_changes_the_least_it_can() -> None:
    for row in product(range(4), repeat=3):
        if not any(row):
            continue
        tables = list(within_quota(row, 7))
        for previous in product(range(8), repeat=3):
            table = apportion(row, 7, previous)
            assert table in tables
            least = min(change(other, previous) for other in tables)
            assert change(table, previous) == least
            nearest = min(error(row, other) for other in tables if change(other, previous) == least)
            assert error(row, table) == nearest


@given(flows, st.integers(1, 2 * TOTAL_WEIGHT))
def test_quota_and_sum_and_zero(row: list[int], total: int) -> None:
    table = apportion(row, total)
    assert sum(table) == total
    assert all(abs(weight - share) < 1 for weight, share in zip(table, shares(row, total), strict=True))
    assert all(weight == 0 for weight, flow in zip(table, row, strict=True) if flow == 0)


@given(flows)
def test_more_flow_never_gets_less_weight(row: list[int]) -> None:
    ordered = [weight for _, _, weight in sorted(zip(row, range(0, -len(row), -1), apportion(row), strict=True))]
    assert ordered == sorted(ordered)


@given(flows)
def test_a_table_within_the_quota_rule_is_kept(row: list[int]) -> None:
    """Nudge every flow by less than a weight's worth: the table stays, however its remainders turn out."""
    before = apportion(row)
    assert apportion(row, previous=before) == before
    whole = sum(row)
    nudged = [flow + (i % 3 - 1) * min(flow, whole // (4 * TOTAL_WEIGHT)) for i, flow in enumerate(row)]
    after = apportion(nudged, previous=before)
    if all(abs(w - s) < 1 for w, s in zip(before, shares(nudged, TOTAL_WEIGHT), strict=True)):
        assert after == before


@given(flows, flows)
def test_previous_never_breaks_the_rules(row: list[int], other: list[int]) -> None:
    previous = (other * len(row))[: len(row)]
    table = apportion(row, previous=previous)
    assert sum(table) == TOTAL_WEIGHT
    assert all(abs(weight - share) < 1 for weight, share in zip(table, shares(row, TOTAL_WEIGHT), strict=True))


@given(flows, st.integers(0, 10**12))
def test_splits_a_flow_by_weights(row: list[int], flow: int) -> None:
    """Weights to flows and back is the same table, if the flow is large enough to tell weights apart."""
    weights = apportion(row)
    split = apportion(weights, flow)
    assert sum(split) == flow
    if flow >= 2 * TOTAL_WEIGHT:
        assert apportion(split, previous=weights) == weights


def test_a_drained_region_gets_nothing_and_no_table_is_emptied() -> None:
    assert apportion((1, 1, 1, 0)) == (3334, 3333, 3333, 0)
    many = apportion((1,) * 101)
    assert sum(many) == TOTAL_WEIGHT
    assert set(many) == {99, 100}


def test_a_residue_does_not_become_traffic() -> None:
    assert apportion((20_000_000_000, 1, 0)) == (10_000, 0, 0)
