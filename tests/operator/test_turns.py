"""Counting the weights that turn."""

from __future__ import annotations

from dataclasses import replace

from tests.operator.world import decision, swung
from xds_server.model import TOTAL_WEIGHT
from xds_server.operator.turns import FORGET_S, Turns

ALL = TOTAL_WEIGHT


def counted(*steps: tuple[int, float]) -> int:
    turns = Turns()
    return sum(sum(turns.count(swung(home), at).values()) for home, at in steps)


def test_a_ramp_has_no_turns() -> None:
    assert counted(*((step * 500, float(step)) for step in range(20))) == 0


def test_down_and_up_again_turns_both_weights_once() -> None:
    assert counted((ALL, 0.0), (0, 1.0), (ALL // 2, 20.0), (ALL, 21.0)) == 2


def test_rounding_has_no_direction_and_old_moves_are_forgotten() -> None:
    assert counted((ALL, 0.0), (ALL - 50, 1.0), (ALL, 2.0), (ALL - 50, 3.0)) == 0
    assert counted((ALL, 0.0), (0, 1.0), (ALL, 2.0 + FORGET_S)) == 0


def test_a_service_that_left_and_came_back_has_no_past() -> None:
    turns, empty = Turns(), replace(decision(), services=())
    turns.count(swung(ALL), 0.0)
    turns.count(swung(0), 1.0)
    turns.count(empty, 2.0)
    assert turns.count(swung(ALL), 3.0) == {}
    assert turns.count(swung(0), 4.0) == {}
