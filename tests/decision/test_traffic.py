"""What live traffic says: demand, reach, standing."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import Place
from xds_server.model import AccessSummary, LoadReport

US, EU = Place("shop", "us"), Place("shop", "eu")


class Live:
    """Feeds one report a second for each path."""

    def __init__(self) -> None:
        self.book = TrafficBook()
        self.now = 0.0
        self.reached: set[str] = set()

    def run(self, seconds: int, **paths: tuple[int, int]) -> None:
        """`us_eu=(good, bad)`: what view us does in region eu each second."""
        for _ in range(seconds):
            self.now += 1.0
            for path, (good, bad) in paths.items():
                view, region = path.split("_")
                report = LoadReport(view, view, "shop", region, good + bad, good, bad, 0, 1.0, self.now)
                self.book.learn(report)
            for place in (US, EU):
                self.book.standing(place, self.now, self.reached)

    def slow(self, seconds: int, ms: float) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.book.learn(LoadReport("us", "us", "shop", "us", 100, 100, 0, 0, 1.0, self.now))
            self.book.learn_access(AccessSummary("us", "us", "shop", "us", 100, 0, ms / 2, ms, 1.0, self.now))
            self.book.standing(US, self.now)


def test_demand_counts_what_succeeded_and_not_the_retries() -> None:
    live = Live()
    live.run(15, us_us=(960, 40), us_eu=(40, 0))
    assert live.book.demand_rps("shop", "us", live.now) == pytest.approx(1000.0)


def test_demand_waits_for_a_full_window() -> None:
    live = Live()
    live.run(5, us_us=(100, 0))
    assert live.book.demand_rps("shop", "us", live.now) is None


def test_reports_that_come_again_after_a_gap_are_not_a_fall_of_demand() -> None:
    live = Live()
    live.run(15, us_us=(1000, 0), us_eu=(10, 0))
    assert live.book.demand_rps("shop", "us", live.now) == pytest.approx(1010)
    live.now += 60.0
    for _ in range(20):
        live.run(1, us_us=(1000, 0))
        assert live.book.demand_rps("shop", "us", live.now) == pytest.approx(1010, rel=0.02)


def test_demand_is_held_while_the_service_fails() -> None:
    live = Live()
    live.run(15, us_us=(1000, 0))
    before = live.book.demand_rps("shop", "us", live.now)
    live.run(30, us_us=(100, 900))
    assert live.book.demand_rps("shop", "us", live.now) == before


def test_noise_does_not_move_demand_and_a_trend_does() -> None:
    live, chance = Live(), random.Random(1)
    live.run(15, us_us=(1000, 0))
    figures = set()
    for _ in range(600):
        live.run(1, us_us=(round(1000 * chance.uniform(0.8, 1.2)), 0))
        figures.add(live.book.demand_rps("shop", "us", live.now))
    assert len(figures) == 1
    for _ in range(200):
        live.run(1, us_us=(2000, 0))
        figures.add(live.book.demand_rps("shop", "us", live.now))
    latest = live.book.demand_rps("shop", "us", live.now)
    assert latest == pytest.approx(2000, rel=0.1)


def test_reach_is_what_recent_attempts_say() -> None:
    live = Live()
    live.run(3, us_eu=(10, 0), eu_us=(0, 10), us_us=(2, 0))
    assert live.book.reach("us", EU, live.now) is True
    assert live.book.reach("eu", US, live.now) is False
    assert live.book.reach("us", US, live.now) is None
    assert live.book.reach("ap", US, live.now) is None
    assert live.book.reach("us", EU, live.now + 60) is None


def test_a_region_that_fails_more_than_others_loses_that_share_and_is_hopeless_in_time() -> None:
    live = Live()
    live.run(15, us_us=(500, 0), eu_eu=(500, 0))
    live.run(5, us_us=(300, 200), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).share == pytest.approx(0.6)
    assert not live.book.standing(US, live.now).hopeless
    live.run(12, us_us=(300, 200), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).hopeless
    assert live.book.standing(EU, live.now).share == 1.0


def test_what_fails_everywhere_is_not_a_regions_fault() -> None:
    live = Live()
    live.run(30, us_us=(250, 250), eu_eu=(250, 250))
    assert live.book.standing(US, live.now).share == 1.0


def test_one_bad_second_costs_nothing() -> None:
    live = Live()
    live.run(15, us_us=(500, 0), eu_eu=(500, 0))
    live.run(1, us_us=(0, 500), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).share == 1.0


def test_a_lost_path_is_not_a_bad_region() -> None:
    live = Live()
    live.run(15, us_eu=(100, 0), eu_eu=(500, 0), us_us=(500, 0))
    live.run(8, us_eu=(0, 100), eu_eu=(500, 0), us_us=(500, 0))
    assert live.book.standing(EU, live.now).share == 1.0
    assert live.book.reach("us", EU, live.now) is False


def test_a_slow_region_keeps_the_inverse_of_its_slowness_and_comes_back_in_steps() -> None:
    live = Live()
    live.slow(60, 100.0)
    live.slow(20, 500.0)
    assert live.book.standing(US, live.now).share == pytest.approx(0.2)
    live.slow(16, 100.0)
    assert 0.2 < live.book.standing(US, live.now).share < 1.0
    live.slow(40, 100.0)
    assert live.book.standing(US, live.now).share == 1.0


def test_latency_is_learned_slowly_and_not_from_a_slow_region() -> None:
    live = Live()
    live.slow(60, 100.0)
    before = live.book.latency_ms("us", US, live.now)
    assert before == pytest.approx(50.0)
    live.slow(30, 1000.0)
    after = live.book.latency_ms("us", US, live.now)
    assert after is not None
    assert after < 100.0


def test_what_is_slow_everywhere_is_load_and_costs_no_region_its_share() -> None:
    live = Live()
    live.slow(60, 100.0)
    for _ in range(30):
        for place in (US, EU):
            ms = 100.0 if live.now < 62 else 400.0
            live.book.learn_access(AccessSummary("us", "us", "shop", place.region, 100, 0, ms / 2, ms, 1.0, live.now))
        live.run(1, us_us=(100, 0), us_eu=(100, 0))
    assert live.book.standing(US, live.now).share == 1.0
    assert live.book.standing(EU, live.now).share == 1.0


def test_each_fall_of_a_standing_is_waited_out_longer() -> None:
    """A region that is slow whenever it gets its share back: the swings come ever less often."""
    live = Live()
    live.slow(60, 100.0)
    falls, before = [], 1.0
    for _ in range(600):
        live.slow(1, 2000.0 if before > 0.5 else 100.0)
        share = live.book.standing(US, live.now).share
        if share < before:
            falls.append(live.now)
        before = share
    waits = [later - earlier for earlier, later in pairwise(falls)]
    assert 3 <= len(falls) <= 8
    assert waits[-1] > 4 * waits[0]


def test_a_hot_region_does_not_look_farther_away() -> None:
    live = Live()
    live.slow(60, 100.0)
    before = live.book.latency_ms("us", US, live.now)
    for _ in range(30):
        live.slow(1, 160.0)
        assert live.book.latency_ms("us", US, live.now) == pytest.approx(before, rel=0.15)


def test_a_region_that_answers_probes_and_fails_everything_is_hopeless_and_not_cut_off() -> None:
    live = Live()
    live.run(15, us_us=(500, 0), eu_eu=(500, 0))
    live.run(15, us_us=(0, 500), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).share == 1.0
    live.reached = {"us"}
    live.run(15, us_us=(0, 500), eu_eu=(500, 0))
    assert live.book.standing(US, live.now, live.reached).hopeless
