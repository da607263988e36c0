"""Demand: what is stated or assumed, and how what is measured takes its place."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from tests.support.decisions import service
from xds_server.decision.demand import DemandBook, demand_rps
from xds_server.decision.measured import Measured
from xds_server.decision.traffic import TrafficBook
from xds_server.model import LoadReport
from xds_server.step import Memory
from xds_server.store.codec import CorruptError, from_json, to_json


class View:
    """View us of a service, whose policy states 1,000 req/s, and what is believed of its demand."""

    def __init__(self, stated: float = 1000.0) -> None:
        self.book = TrafficBook()
        self.stated = stated
        self.now = 0.0
        self.figures = [stated]

    @property
    def figure(self) -> float:
        return self.figures[-1]

    def run(self, seconds: int, good: float | Callable[[], float], bad: int = 0, elsewhere: int = 0) -> None:
        """Let it report so many requests a second; a figure is noted for each."""
        for _ in range(seconds):
            self.now += 1.0
            rate = round(good() if callable(good) else good)
            for region, ended, failed in (("us", rate, bad), ("eu", elsewhere, 0)):
                report = LoadReport("us", "us", "shop", region, ended + failed, ended, failed, 0, 1.0, self.now)
                self.book.learn(report)
            found = self.book.demand_rps("shop", "us", self.stated, self.now)
            self.figures.append(self.stated if found is None else found)


def test_what_succeeded_counts_and_not_the_retries() -> None:
    view = View()
    view.run(200, 960, bad=74, elsewhere=540)
    assert view.figure == pytest.approx(1500.0, rel=0.025)


@pytest.mark.parametrize("measured", [100, 1000, 1080, 2000, 50_000])
def test_the_first_window_is_no_more_of_a_jump_than_any_later_one(measured: int) -> None:
    """A tenth of what is stated, twice it, fifty times it: the first figure that differs is a small part of the way."""
    view = View()
    view.run(200, measured)
    assert view.figures[:10] == [1000.0] * 10, "a window that is not full says nothing"
    moves = [abs(after - before) for before, after in zip(view.figures, view.figures[1:], strict=False)]
    assert max(moves) <= 0.2 * abs(measured - 1000)


@pytest.mark.parametrize(("measured", "most_s"), [(500, 75), (2000, 60), (5000, 45), (250, 90)])
def test_a_stated_figure_that_is_far_off_is_put_right_in_about_a_minute(measured: int, most_s: int) -> None:
    view = View()
    view.run(most_s, measured)
    assert view.figure == pytest.approx(measured, rel=0.15)
    view.run(180, measured)
    assert view.figure == pytest.approx(measured, rel=0.025), "and nothing is left of the difference in the end"


def test_what_is_stated_stays_until_it_is_wrong_by_a_tenth() -> None:
    view = View()
    view.run(300, 1080)
    assert set(view.figures) == {1000.0}
    view.run(300, 1130)
    assert view.figure == pytest.approx(1130, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_nothing_whether_what_is_stated_is_exact_or_nearly(seed: int) -> None:
    for mean in (970, 1000, 1030):
        view, dice = View(), random.Random(seed)
        view.run(3600, lambda dice=dice, mean=mean: mean * dice.uniform(0.8, 1.2))  # type: ignore[misc]
        assert set(view.figures) == {1000.0}


def test_after_a_gap_a_window_begins_anew_and_time_without_reports_does_not_count() -> None:
    view = View()
    view.run(15, 1000, elsewhere=10)
    view.now += 600.0
    view.run(10, 2000)
    assert view.figure == 1000.0
    view.run(2, 2000)
    assert 1000.0 < view.figure <= 1200.0


def test_a_pause_of_this_process_says_nothing_of_demand() -> None:
    """What Envoys reported meanwhile is read as one report over all of it; of what there was, it may hold a part."""
    view = View()
    view.run(100, 1000)
    view.now += 12.0
    view.book.learn(LoadReport("us", "us", "shop", "us", 3000, 3000, 0, 0, 12.0, view.now))
    view.run(60, 1000)
    assert set(view.figures) == {1000.0}


def test_demand_is_held_while_the_service_fails_and_that_time_does_not_count() -> None:
    view = View()
    view.run(15, 1000)
    view.run(300, 100, bad=900)
    assert view.figure == 1000.0
    view.run(12, 500)
    assert view.figure == pytest.approx(1000.0, rel=0.15)


def test_a_view_that_sends_nothing_goes_back_to_what_is_stated() -> None:
    view = View()
    view.run(200, 500)
    before = view.figure
    view.run(11, 0)
    assert view.figure == pytest.approx(before, rel=0.1), "not all at once"
    view.run(200, 0)
    assert view.figure == 1000.0
    assert view.book.demand.figures() == {"shop": {}}


def test_an_edit_of_what_is_stated_moves_nothing_that_is_measured() -> None:
    view = View()
    view.run(60, 1030)
    view.stated = 3000.0
    view.run(60, 1030)
    assert view.figure == 1000.0


def test_a_restart_goes_on_from_the_figures_in_force() -> None:
    before = View()
    before.run(200, 400)
    kept = Memory(measured={"shop": Measured(before.book.demand.figures()["shop"], {("us", "eu"): 80.0})})
    read = from_json(json.loads(json.dumps(to_json(kept, 5.0))), 9.0)
    assert read.measured == kept.measured
    after = View()
    after.book.demand.restore("shop", read.measured["shop"].demand_rps)
    after.run(60, 400)
    assert set(after.figures[1:]) == {before.figure}


@pytest.mark.parametrize("bad", [{"demand": {"us": -1.0}, "latency": []}, {"demand": {}, "latency": [["us", 1.0]]}, 3])
def test_a_memory_that_no_process_wrote_is_refused(bad: object) -> None:
    kept = to_json(Memory(), 5.0)
    older = {key: value for key, value in kept.items() if key != "measured"}
    assert from_json(older, 9.0).measured == {}
    with pytest.raises(CorruptError):
        from_json({**kept, "measured": {"shop": bad}}, 9.0)


def test_what_is_known_of_services_that_are_gone_is_forgotten() -> None:
    book = DemandBook()
    book.restore("shop", {"us": 5.0})
    book.restore("gone", {"us": 5.0})
    book.forget_except({"shop"})
    assert book.figures() == {"shop": {"us": 5.0}}


def test_views_that_the_policy_does_not_name_share_what_is_left_of_half_the_capacity() -> None:
    shop = service()
    whole = sum(deployment.capacity_rps for deployment in shop.deployments.values())
    assert demand_rps(shop, ("a", "b")) == (whole / 4, whole / 4)
