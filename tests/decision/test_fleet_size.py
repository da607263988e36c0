"""How many Envoys breakers are shared out over, and what each is allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support import decisions as made
from xds_server.decision.fleet_size import GROWN_AFTER_S, SHRUNK_AFTER_S, STEP, FleetSizes, coarse
from xds_server.decision.protection import HEADROOM, LEAST_PART, LEAST_RETRIES, fair_part
from xds_server.model import FleetSize

WEB = ("web", "us-east-1")


def of(envoys: int) -> FleetSizes:
    """A fleet of that size, in force."""
    sizes = FleetSizes()
    for n in range(envoys):
        sizes.joined(WEB, f"web-{n}")
    sizes.settle(0.0)
    sizes.settle(GROWN_AFTER_S)
    return sizes


@given(st.integers(0, 100_000))
def test_a_size_is_rounded_down_by_less_than_a_step(envoys: int) -> None:
    assert 1 <= coarse(envoys) <= max(1, envoys) < STEP * (coarse(envoys) + 1) + 1


def test_growth_counts_once_it_has_lasted() -> None:
    sizes = FleetSizes()
    for n in range(20):
        sizes.joined(WEB, f"web-{n}")
        assert not sizes.settle(float(n))
    assert sizes.next_change() == 1.0 + GROWN_AFTER_S
    assert not sizes.settle(GROWN_AFTER_S)
    assert sizes.settle(1.0 + GROWN_AFTER_S)
    assert sizes.sizes() == (FleetSize(*WEB, 17),)
    assert sizes.next_change() is None


def test_an_envoy_that_reconnects_is_no_news() -> None:
    sizes = of(2)
    sizes.left(WEB, "web-1")
    assert not sizes.settle(100.0)
    sizes.joined(WEB, "web-1")
    assert not sizes.settle(100.0 + SHRUNK_AFTER_S)
    assert sizes.next_change() is None


def test_when_a_fleet_shrinks_those_who_stay_soon_get_more() -> None:
    sizes = of(40)
    for n in range(30):
        sizes.left(WEB, f"web-{n}")
    assert not sizes.settle(100.0)
    assert sizes.settle(100.0 + SHRUNK_AFTER_S)
    assert sizes.sizes() == (FleetSize(*WEB, 7),)


def test_several_streams_of_one_name_are_one_envoy() -> None:
    sizes = of(1)
    for _ in range(6):
        sizes.joined(WEB, "web-0")
    assert not sizes.settle(100.0)
    assert sizes.sizes() == ()


@given(st.integers(1, 1_000_000), st.integers(100, 100_000), st.integers(0, 50_000))
def test_a_part_is_fair_with_room_and_never_more_than_the_whole(requests: int, retries: int, envoys: int) -> None:
    whole = made.protection(max_requests=requests, min_retry_concurrency=retries)
    part = fair_part(whole, envoys)
    assert part.max_requests <= requests
    assert part.min_retry_concurrency <= retries
    assert part.max_requests * max(1, envoys) >= min(requests, HEADROOM * requests, LEAST_PART * max(1, envoys))
    assert part.min_retry_concurrency >= min(retries, LEAST_RETRIES)
    if envoys <= HEADROOM:
        assert part[:2] == (requests, retries)
