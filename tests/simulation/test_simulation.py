"""Every named scenario, lives made up from seeds, and a day, each checked at every tick.

More seeds: `pytest tests/simulation --seeds 1000`. A seed that fails prints its faults and what happened last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.checks import Checker, Violation, live
from tests.simulation.faults import FOREVER, LONG, SCENARIOS, Fault, Scenario, made_up
from tests.simulation.fleet import Truth
from tests.simulation.picture import Film, svg
from tests.simulation.world import DEMAND, Moment, World
from xds_server.model import TOTAL_WEIGHT, ServiceDecision

LOST = {
    "region-dies": 1e-5,
    "region-hangs": 1e-4,
    "probes-only": 1e-5,
    "half-a-region": 1e-5,
    "flapping": 1e-5,
    "errors": 2e-3,
    "all-errors": 2e-3,
    "slow-region": 1e-4,
    "link-cut": 1e-4,
    "monitor-cut": 0.0,
    "all-stale": 0.0,
    "two-die": 0.02,
    "overload": 0.06,
    "restart-in-incident": 1e-4,
    "policy-edit": 0.0,
}
"""The largest share of requests that clients may lose. In two-die and overload demand is above the capacity left."""


def filmed(scenario: Scenario, seed: int = 0) -> Film:
    film = Film(scenario)
    for moment in live(scenario, seed):
        film.add(moment)
    return film


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.length_s < 3600], ids=lambda s: s.name)
def test_scenario(scenario: Scenario) -> None:
    film = filmed(scenario)
    assert film.lost_total <= LOST[scenario.name] * film.demand_total
    assert svg(film).count("<polygon") == len(DEMAND)


def test_made_up_life(seed: int) -> None:
    filmed(made_up(seed), seed)


def test_an_hour_of_noise_moves_less_than_a_hundredth() -> None:
    """With little capacity in sa-east-1: a fourth of its traffic goes elsewhere, so any change of demand moves some."""
    noise = next(s for s in SCENARIOS if s.name == "noise")
    world = World(replace(noise, faults=(Fault("edit", 0, FOREVER, "sa-east-1", arg=0.6),)))
    checker, moments = Checker(world), 0
    for moment in world.run():
        checker.see(moment)
        moments += moment.decision is not None
    assert moments >= 3590
    assert checker.before is not None
    assert any(0 < weight < TOTAL_WEIGHT for weight in checker.before.weights[2])
    assert checker.moved_rps <= 0.01 * sum(DEMAND.values())


def test_a_day_passes_in_seconds() -> None:
    film = filmed(replace(LONG, length_s=86_400, faults=tuple(f for f in LONG.faults if f.until < 80_000)))
    assert film.lost_total <= 1e-4 * film.demand_total
    assert film.changes < 200


def test_a_life_is_the_same_again_from_the_same_seed() -> None:
    def log() -> list[str]:
        world = World(replace(made_up(3), length_s=300.0), 3)
        assert sum(1 for _ in world.run()) == 300
        return world.log

    assert log() == log()
    assert len(log()) > 5


def turned(moment: Moment, d: ServiceDecision) -> ServiceDecision:
    """A fiftieth of each view's traffic goes to another region in every other second."""
    by = 200 * (int(moment.now) % 2)
    return replace(d, weights=tuple(_shifted(row, by) for row in d.weights))


def _shifted(row: tuple[int, ...], by: int) -> tuple[int, ...]:
    most = row.index(max(row))
    to = (most + 1) % len(row)
    return tuple(weight - by * (r == most) + by * (r == to) for r, weight in enumerate(row))


Breaks = Callable[[Moment, ServiceDecision], ServiceDecision]


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda _, d: replace(d, weights=((1, 2, 3, 4),) * 4), "do not sum"),
        (lambda _, d: replace(d, overload=1.5), r"overload 1\.500 although [0-9,]+ fit"),
        (turned, r"turned [0-9]+ times in ten minutes"),
    ],
)
def test_a_checker_finds_a_decision_that_is_wrong(breaks: Breaks, words: str) -> None:
    """A rule that nothing can break checks nothing."""
    world = World(Scenario("broken", "", 200.0, (Fault("slow", 5, 6, "us-east-1", arg=1.0),)))

    def broken(moment: Moment) -> Moment:
        late = moment.now > 100 and moment.decision is not None
        return replace(moment, decision=breaks(moment, moment.decision)) if late and moment.decision else moment

    with pytest.raises(Violation, match=words) as found:
        see_all(world, broken)
    assert "slow us-east-1" in str(found.value)


def test_a_checker_finds_weights_that_do_not_come_to_rest() -> None:
    """One move of a fiftieth, long after the only thing that happened."""
    world = World(Scenario("restless", "", 400.0, (Fault("slow", 5, 6, "us-east-1", arg=1.0),)))

    def late(moment: Moment) -> Moment:
        d = moment.decision
        if moment.now < 300 or d is None:
            return moment
        rows = (tuple(sorted(d.weights[0])), *d.weights[1:])
        return replace(moment, decision=replace(d, weights=rows))

    with pytest.raises(Violation, match="weights still move, 294 s after anything happened"):
        see_all(world, late)


def test_a_checker_finds_traffic_that_moves_to_and_fro() -> None:
    world = World(Scenario("to and fro", "", 200.0, (Fault("slow", 5, 6, "us-east-1", arg=1.0),)))

    def twice(moment: Moment) -> Moment:
        d = moment.decision
        if d is None or moment.now < 100:
            return moment
        by = min(int(moment.now) - 100, 3)
        return replace(moment, decision=replace(d, weights=tuple(row[by:] + row[:by] for row in d.weights)))

    with pytest.raises(Violation, match=r"req/s moved since 6 s, when something last happened"):
        see_all(world, twice)


def test_a_checker_finds_a_controller_that_does_not_react() -> None:
    world = World(Scenario("deaf", "", 120.0, (Fault("dead", 30, 120, "us-east-1"),)))
    kept: list[ServiceDecision] = []

    def frozen(moment: Moment) -> Moment:
        kept.extend([moment.decision] if moment.decision and not kept else [])
        return replace(moment, decision=kept[0] if kept else None)

    with pytest.raises(Violation, match="us-east-1 is dead since 30 s and still has weight"):
        see_all(world, frozen)


def test_a_checker_finds_a_false_alarm() -> None:
    world = World(Scenario("credulous", "", 120.0, (Fault("dead", 30, 120, "us-east-1"),)))

    def well(moment: Moment) -> Moment:
        return replace(moment, truth=Truth(demand=moment.truth.demand, capacity=moment.truth.capacity))

    with pytest.raises(Violation, match="us-east-1 is declared down and is not"):
        see_all(world, well)


def see_all(world: World, through: Callable[[Moment], Moment]) -> None:
    checker = Checker(world)
    for moment in world.run():
        checker.see(through(moment))


def test_the_page_shows_every_scenario() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulation" / "README.md").read_text()
    for scenario in (*SCENARIOS, LONG):
        assert f"## {scenario.name}\n\n{scenario.about}\n\n![{scenario.name}]({scenario.name}.svg)" in page
        assert (Path(__file__).parents[2] / "docs" / "simulation" / f"{scenario.name}.svg").exists()
