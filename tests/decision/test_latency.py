"""What access logs say of latency: distance, slowness, and what chance does not."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from tests.decision.test_traffic import EU, US, Live
from xds_server.decision.confidence import at_least, at_most, quantile_at_least, quantile_at_most
from xds_server.decision.latency import LatencyBook
from xds_server.histogram import SMALLEST_MS, bucket_of, middle_of
from xds_server.model import AccessSummary


def test_a_slow_region_keeps_the_inverse_of_its_slowness_and_comes_back_in_steps() -> None:
    live = Live()
    live.slow(60, 100.0)
    live.slow(20, 500.0)
    assert live.book.standing(US, live.now).share == pytest.approx(0.2)
    live.slow(16, 100.0)
    assert 0.2 < live.book.standing(US, live.now).share < 1.0
    live.slow(40, 100.0)
    assert live.book.standing(US, live.now).share == 1.0


def test_distance_is_the_usual_median_and_is_not_learned_from_a_slow_region() -> None:
    live = Live()
    live.slow(60, 100.0)
    before = live.book.latency.distance_ms("us", US)
    assert before == pytest.approx(50.0, rel=0.03)
    live.slow(60, 1000.0)
    assert live.book.latency.distance_ms("us", US) == before


def test_a_hot_region_does_not_look_farther_away() -> None:
    live = Live()
    live.slow(60, 100.0)
    before = live.book.latency.distance_ms("us", US)
    for _ in range(30):
        live.slow(1, 160.0)
        assert live.book.latency.distance_ms("us", US) == before


def test_what_stays_slow_for_hours_is_what_the_region_is_now() -> None:
    live = Live()
    live.slow(60, 100.0)
    live.slow(20, 500.0)
    assert live.book.standing(US, live.now).share < 1.0
    live.slow(10_000, 500.0)
    assert live.book.standing(US, live.now).share == 1.0


def test_what_is_slow_everywhere_is_load_and_costs_no_region_its_share() -> None:
    live = Live()
    for second in range(90):
        for region in ("us", "eu"):
            live.log(100.0 if second < 60 else 400.0, region)
        live.run(1, us_us=(100, 0), us_eu=(100, 0))
    assert live.book.latency.slowness(US, live.now).times > 3
    assert live.book.standing(US, live.now).share == 1.0
    assert live.book.standing(EU, live.now).share == 1.0


def test_each_fall_of_a_standing_is_waited_out_longer() -> None:
    """A region that is slow whenever it gets its share back: the swings come ever less often."""
    live = Live()
    live.slow(60, 100.0)
    falls, before = [], 1.0
    for _ in range(900):
        live.slow(1, 2000.0 if before > 0.5 else 100.0)
        share = live.book.standing(US, live.now).share
        if share < before and before > 0.5:
            falls.append(live.now)
        before = share
    waits = [later - earlier for earlier, later in pairwise(falls)]
    assert 3 <= len(falls) <= 9
    assert waits[-1] > 3 * waits[0]


def test_few_samples_say_nothing_of_the_99th_percentile() -> None:
    """One second in ten has a sample ten times as slow: with twenty in a window, p99 is their maximum."""
    live = Live()
    for second in range(1200):
        live.slow(1, 1000.0 if second % 10 == 0 else 100.0, samples=2)
        assert live.book.standing(US, live.now).share == 1.0


def test_a_pause_of_a_moment_says_nothing_either() -> None:
    live = Live()
    live.slow(60, 100.0)
    for _ in range(20):
        live.slow(2, 5000.0)
        live.slow(28, 100.0)
        assert live.book.standing(US, live.now).share == 1.0


def test_a_few_milliseconds_more_are_not_slow() -> None:
    live = Live()
    live.slow(60, 4.0)
    live.slow(30, 20.0)
    assert live.book.standing(US, live.now).share == 1.0


def test_noise_with_a_long_tail_moves_nothing() -> None:
    """An hour of log-normal latencies whose p99 is ten times their median, in small samples of changing size."""
    book, chance = LatencyBook(), random.Random(7)
    for second in range(3600):
        ms = [chance.lognormvariate(3.0, 1.0) for _ in range(chance.randint(0, 25))]
        counts = tuple(sorted(Counter(map(bucket_of, ms)).items()))
        book.learn(
            AccessSummary("us", "us", "shop", "us", len(ms), 0, 0, 0, 1.0, second, samples=len(ms), latencies=counts)
        )
        assert book.slowness(US, second).times <= 2.0
    assert book.distance_ms("us", US) == pytest.approx(20.1, rel=0.06)


def test_bounds_hold_what_they_bound() -> None:
    """Of a thousand draws, the true share and quantile are outside less often than one in a hundred."""
    chance = random.Random(11)
    outside = Counter[str]()
    for _ in range(1000):
        size = chance.choice((20, 100, 2000))
        part = sum(chance.random() < 0.1 for _ in range(size))
        outside["share"] += not at_least(part, size) <= 0.1 <= at_most(part, size)
        counts = Counter(bucket_of(chance.expovariate(1 / 50.0)) for _ in range(size))
        true_ms = middle_of(bucket_of(max(SMALLEST_MS, 50.0 * 4.60517)))
        most = quantile_at_most(counts, 0.99)
        outside["p99"] += quantile_at_least(counts, 0.99) > true_ms or (most is not None and most < true_ms)
    assert outside["share"] <= 10
    assert outside["p99"] <= 10


def test_of_little_data_the_bounds_are_wide() -> None:
    assert (at_least(0, 0), at_most(0, 0)) == (0.0, 1.0)
    assert at_least(5, 5) < 0.5
    assert at_most(0, 20) > 0.25
    assert quantile_at_most({10: 500}, 0.99) is None
    assert quantile_at_most({10: 900}, 0.99) == middle_of(10)
    assert quantile_at_least({}, 0.99) == 0.0
