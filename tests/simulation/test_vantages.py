"""No partition of those who look makes a healthy region be left, or a dead one stay.

`pytest tests/simulation/test_vantages.py --seeds 10000` lives ten thousand; docs/signals.md has what came of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.simulation.vantages import Life, false_evacuations, held, missed
from xds_server.model import LoadReport, Observation

LIVES = 150
DETECTED_S = 6.0
"""Two failed probes with their deadline, and the time that words are waited for (decision/witnesses.py)."""


@pytest.fixture
def lives(request: pytest.FixtureRequest) -> range:
    return range(request.config.getoption("--seeds") or LIVES)


def test_no_partition_evacuates_a_region_that_is_well_or_hides_one_that_is_dead(lives: range) -> None:
    took: list[float] = []
    alarms = deaths = 0
    for seed in lives:
        life = Life(seed)
        life.run()
        broken = life.broken
        assert not false_evacuations(life), f"seed {seed}: {broken}: {false_evacuations(life)}"
        assert not missed(life), f"seed {seed}: {broken}: still sent to {broken.dead}: {missed(life)}"
        alarms += held(life)
        deaths += bool(broken.dead)
        took += [
            left.at - broken.dies_at
            for left in life.left.values()
            if left.region == broken.dead
            and left.view not in broken.silent
            and broken.reaches(left.view, left.region, broken.dies_at - 0.01)
        ]
    took.sort()
    assert max(took) <= DETECTED_S
    assert took[len(took) // 2] <= 3.0
    assert alarms <= 0.1 * deaths
    print(f"{len(lives)} lives, {deaths} deaths, {alarms} held with an alarm; left after {took[len(took) // 2]:.1f} s")
    print(f"in the median, {took[int(0.99 * len(took))]:.1f} s for 99 %, {took[-1]:.1f} s at most")


class MonitorAlone(Life):
    """Nobody but the control plane has a word."""

    def hear(self, said: Observation | LoadReport) -> None:
        if isinstance(said, Observation) and not said.view:
            super().hear(said)


class Deaf(Life):
    """Nobody has."""

    def hear(self, said: Observation | LoadReport) -> None:
        del said


@pytest.mark.parametrize(("kind", "finds"), [(MonitorAlone, false_evacuations), (Deaf, missed)])
def test_the_check_finds_a_health_book_that_does_not_listen(
    kind: type[Life], finds: Callable[[Life], Sequence[object]]
) -> None:
    found = 0
    for seed in range(12):
        life = kind(seed)
        life.run()
        found += bool(finds(life))
    assert found
