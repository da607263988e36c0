"""What live traffic says: demand, reach, standing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from xds_server.decision.traffic import TrafficBook
from xds_server.decision.verdicts import FULL_STANDING, Place, Standing
from xds_server.decision.votes import Word
from xds_server.histogram import bucket_of
from xds_server.model import AccessSummary, LoadReport

US, EU = Place("shop", "us"), Place("shop", "eu")


class Live:
    """Feeds one report a second for each path."""

    def __init__(self) -> None:
        self.book = TrafficBook()
        self.now = 0.0
        self.lost: set[str] = set()

    def run(self, seconds: int, **paths: tuple[int, int]) -> None:
        """`us_eu=(good, bad)`: what view us does in region eu each second."""
        for _ in range(seconds):
            self.now += 1.0
            for path, (good, bad) in paths.items():
                view, region = path.split("_")
                report = LoadReport(view, view, "shop", region, good + bad, good, bad, 0, 1.0, self.now)
                self.book.learn(report)
            for place in (US, EU):
                self.book.standing(place, self.now, self.lost)

    def slow(self, seconds: int, ms: float, region: str = "us", samples: int = 100) -> None:
        """Half of the requests take that long, the rest half as long."""
        for _ in range(seconds):
            self.now += 1.0
            self.log(ms, region, samples)
            self.book.learn(LoadReport("us", "us", "shop", region, 100, 100, 0, 0, 1.0, self.now))
            self.book.standing(US, self.now)

    def log(self, ms: float, region: str, samples: int = 100) -> None:
        counts = ((bucket_of(ms / 2), samples - samples // 2), (bucket_of(ms), samples // 2))
        summary = AccessSummary(
            "us", "us", "shop", region, 100, 0, ms / 2, ms, 1.0, self.now, samples=samples, latencies=counts
        )
        self.book.learn_access(summary)


def logged(ms: float, count: int, lead: tuple[float, int] | None, at: float, view: str = "us") -> AccessSummary:
    """Return a second of logs: `count` requests took `ms`, and those of one Envoy, `lead`, something else."""
    worst = {bucket_of(lead[0]): lead[1]} if lead is not None else {}
    all_of_them = {**worst, bucket_of(ms): count + worst.get(bucket_of(ms), 0)}
    return AccessSummary(
        view, view, "shop", "us", 100, 0, ms, ms, 1.0, at, samples=sum(all_of_them.values()),
        latencies=tuple(sorted(all_of_them.items())), lead_latencies=tuple(worst.items()),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ms", "count", "lead", "slow"),
    [(10.0, 100, (2_000.0, 5_000), False), (500.0, 100, (500.0, 50), True), (500.0, 0, (500.0, 100), False)],
    ids=["one lies", "all are slow", "one is all there is"],
)
def test_one_envoy_does_not_make_a_region_slow(ms: float, count: int, lead: tuple[float, int], slow: bool) -> None:
    live = Live()
    for _ in range(40):
        live.run(1, us_us=(100, 0))
        live.book.learn_access(logged(10.0, 100, None, live.now))
    for _ in range(12):
        live.run(1, us_us=(100, 0))
        live.book.learn_access(logged(ms, count, lead, live.now))
        found = live.book.standing(US, live.now)
    assert (found.share < 1.0) is slow, found


def lead(view: str, good: int, bad: int, *, of: tuple[int, int], at: float, region: str = "us") -> LoadReport:
    """Return a report of a second in which the Envoy that says the worst makes `of` of what is said."""
    return LoadReport(
        view, view, "shop", region, good + bad, good, bad, 0, 1.0, at, lead_succeeded=of[0], lead_failed=of[1]
    )


def judged(said: Callable[[float], Iterable[LoadReport]], seconds: int = 20) -> Standing:
    """Return what is left of region us after so many seconds of these reports, while eu does well."""
    live = Live()
    for _ in range(seconds):
        live.run(1, eu_eu=(500, 0))
        for report in said(live.now):
            live.book.learn(report)
        found = live.book.standing(US, live.now)
    return found


def test_one_envoy_is_no_proof_whatever_it_counts() -> None:
    liar = 0, 1_000_000
    assert judged(lambda at: [lead("us", 0, liar[1], of=liar, at=at)]) == FULL_STANDING
    assert judged(lambda at: [lead("us", 300, liar[1], of=liar, at=at)]) == FULL_STANDING
    outweighed = judged(
        lambda at: [lead("us", 300, liar[1], of=liar, at=at), lead("eu", 100, 0, of=(0, 0), at=at)],
    )
    assert outweighed == FULL_STANDING


def test_two_envoys_are_proof_in_one_view_or_in_two() -> None:
    alone = judged(lambda at: [lead(view, 60, 40, of=(60, 40), at=at) for view in ("us", "eu")])
    fleet = judged(lambda at: [lead("us", 600, 400, of=(20, 20), at=at)])
    assert alone.hopeless
    assert fleet.hopeless
    with_a_liar = judged(lambda at: [lead("us", 600, 1_000_400, of=(0, 1_000_000), at=at)])
    assert with_a_liar.hopeless
    assert "40% of" in with_a_liar.reason


def test_a_word_is_what_recent_attempts_say() -> None:
    live = Live()
    live.run(5, us_eu=(10, 0), eu_us=(0, 10), us_us=(2, 0))
    assert live.book.word("us", EU, live.now - 2, live.now) is Word.UP
    assert live.book.word("us", EU, live.now - 1, live.now) is Word.STALE
    assert live.book.word("eu", US, 0.0, live.now) is Word.DOWN
    assert live.book.word("us", US, 0.0, live.now) is None
    assert live.book.word("ap", US, 0.0, live.now) is None
    assert live.book.word("us", EU, 0.0, live.now + 60) is None


@pytest.mark.parametrize("newest", [(0, 10), (2, 3), (0, 0)])
def test_a_path_that_begins_to_fail_or_falls_silent_is_in_doubt(newest: tuple[int, int]) -> None:
    live = Live()
    live.run(5, us_eu=(40, 0))
    live.run(1, us_eu=newest)
    assert live.book.word("us", EU, 0.0, live.now) is Word.DOUBT
    assert live.book.failing_since("us", EU) == live.now


def test_a_region_that_fails_more_than_others_loses_that_share_and_is_hopeless_in_time() -> None:
    live = Live()
    live.run(15, us_us=(500, 0), eu_eu=(500, 0))
    live.run(5, us_us=(300, 200), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).share == pytest.approx(0.65)  # 35 % fail for certain
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
    live.run(1, us_eu=(0, 100), eu_eu=(500, 0), us_us=(500, 0))
    live.lost = {"us"}
    live.run(8, us_eu=(0, 100), eu_eu=(500, 0), us_us=(500, 0))
    assert live.book.standing(EU, live.now, live.lost).share == 1.0
    assert live.book.word("us", EU, 0.0, live.now) is Word.DOWN


def test_a_region_that_fails_everything_and_can_be_reached_is_hopeless() -> None:
    live = Live()
    live.run(15, us_us=(500, 0), eu_eu=(500, 0))
    live.run(15, us_us=(0, 500), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).hopeless


@pytest.mark.parametrize(("good", "bad"), [(2, 1), (3, 0), (5, 1)])
def test_a_few_failures_among_few_attempts_cost_nothing(good: int, bad: int) -> None:
    """A tenth and more of them fail, in so few that chance explains it."""
    live = Live()
    live.run(15, us_us=(good + bad, 0), eu_eu=(50, 0))
    for second in range(60):
        live.run(1, us_us=(good, bad) if second % 5 == 0 else (good + bad, 0), eu_eu=(50, 0))
        assert live.book.standing(US, live.now).share == 1.0


def test_a_small_region_that_fails_is_judged_later_than_a_large_one() -> None:
    took = []
    for scale in (10, 1000):
        live = Live()
        live.run(15, us_us=(scale, 0), eu_eu=(1000, 0))
        began = live.now
        while live.book.standing(US, live.now).share == 1.0:
            live.run(1, us_us=(scale * 6 // 10, scale * 4 // 10), eu_eu=(1000, 0))
        took.append(live.now - began)
    assert took[1] < took[0] <= 10


def test_noise_in_failures_moves_nothing() -> None:
    live, chance = Live(), random.Random(4)
    for _ in range(1800):
        counts = {}
        for region, attempts in (("us", 40), ("eu", 200)):
            bad = sum(chance.random() < 0.03 for _ in range(attempts))
            counts[f"{region}_{region}"] = (attempts - bad, bad)
        live.run(1, **counts)
        assert live.book.standing(US, live.now).share == live.book.standing(EU, live.now).share == 1.0


def test_a_standing_says_while_it_waits_that_the_cause_is_no_longer_seen_and_then_returns() -> None:
    live = Live()
    live.run(15, us_us=(500, 0), eu_eu=(500, 0))
    live.run(5, us_us=(300, 200), eu_eu=(500, 0))
    assert live.book.standing(US, live.now).reason == "40% of 1,000 live attempts fail, 0% elsewhere"
    live.run(3, us_us=(500, 0), eu_eu=(500, 0))
    waiting = live.book.standing(US, live.now)
    over = "40% of 1,000 live attempts fail, 0% elsewhere; no longer seen, returns in steps"
    assert (waiting.share, waiting.reason, waiting.returning) == (0.65, f"{over} from 5 s after its last fall", False)
    live.run(1, us_us=(300, 200), eu_eu=(500, 0))
    live.run(4, us_us=(500, 0), eu_eu=(500, 0))
    back = live.book.standing(US, live.now)
    assert (back.reason.partition("; ")[2], back.returning) == ("no longer seen, returns in steps", True)
    live.run(20, us_us=(500, 0), eu_eu=(500, 0))
    assert live.book.standing(US, live.now) == FULL_STANDING
