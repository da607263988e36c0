"""Who watches what: few, stable, alike on every replica, and every place before any place twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.decision.watchers import MOST_TARGETS, WATCHERS, choose
from xds_server.model import Address, Target, Watcher

REGIONS = ("ap", "eu", "us")
TARGETS = [Target("checkout", region, Address(f"10.{r}.0.{n}", 80)) for r, region in enumerate(REGIONS) for n in (1, 2)]


def envoys(count: int, region: str = "us", first: int = 0) -> list[Watcher]:
    return [Watcher(first + n, f"{region}-{first + n}", region) for n in range(count)]


def test_each_region_gets_its_watchers_and_looks_only_abroad() -> None:
    everybody = [*envoys(10, "us"), *envoys(2, "eu", 100), *envoys(1, "mars", 200)]
    chosen = choose(everybody, (), TARGETS)
    regions = {watcher.stream: watcher.region for watcher in everybody}
    assert Counter(regions[stream] for stream in chosen) == {"us": WATCHERS, "eu": 2, "mars": 1}
    for stream, targets in chosen.items():
        assert targets == tuple(t for t in sorted(TARGETS) if t.region != regions[stream])


def test_who_watches_goes_on_and_a_gap_is_filled() -> None:
    before = choose(envoys(10), (), TARGETS)
    assert choose(envoys(1_000), before, TARGETS).keys() == before.keys()
    gone = min(before)
    after = choose([watcher for watcher in envoys(10) if watcher.stream != gone], before, TARGETS)
    assert before.keys() - after.keys() == {gone}
    assert len(after) == WATCHERS


@given(st.permutations(envoys(8)), st.permutations(TARGETS))
@settings(max_examples=50, deadline=None)
def test_replicas_choose_alike(connected: list[Watcher], targets: list[Target]) -> None:
    assert choose(connected, (), targets) == choose(envoys(8), (), TARGETS)


def test_one_client_gets_one_place_however_many_streams_it_opens() -> None:
    liar = [Watcher(100 + n, f"a-{n}", "us", "spiffe://us/liar", "ipv4:10.0.0.66") for n in range(20)]
    honest = [Watcher(n, f"us-{n}", "us", f"spiffe://us/{n}", "ipv4:10.0.0.1") for n in range(5)]
    for salt in (b"a", b"b", b"c"):
        chosen = choose([*liar, *honest], [watcher.stream for watcher in liar], TARGETS, salt)
        assert len(chosen) == WATCHERS
        assert sum(stream >= 100 for stream in chosen) == 1
    assert len(choose(liar, (), TARGETS)) == 1


def test_who_shares_a_certificate_or_has_none_is_told_apart_by_address() -> None:
    for certificate in ("spiffe://us/web", ""):
        liar = [Watcher(100 + n, f"a-{n}", "us", certificate, "ipv4:10.0.0.66") for n in range(20)]
        honest = [Watcher(n, f"us-{n}", "us", certificate, f"ipv4:10.0.0.{n}") for n in range(5)]
        chosen = choose([*liar, *honest], (), TARGETS)
        assert len(chosen) == WATCHERS
        assert sum(stream >= 100 for stream in chosen) <= 1


def test_which_names_win_depends_on_what_no_client_knows() -> None:
    assert len({tuple(sorted(choose(envoys(50), (), TARGETS, bytes([n])))) for n in range(10)}) > 5


def test_names_are_not_favoured_by_the_alphabet() -> None:
    chosen = choose(envoys(300), (), TARGETS)
    assert min(chosen) > WATCHERS or max(chosen) > 100


def crowd(places: int, each: int) -> list[Target]:
    return [
        Target(f"s{p}", "eu", Address(f"10.{p // 250}.{p % 250}.{n}", 80)) for p in range(places) for n in range(each)
    ]


def test_one_of_every_place_comes_before_a_second_of_any() -> None:
    places = MOST_TARGETS - 100
    for targets in choose(envoys(3), (), crowd(places, 3)).values():
        assert len(targets) == MOST_TARGETS
        per_place = Counter(target.service for target in targets)
        assert len(per_place) == places
        assert set(per_place.values()) == {1, 2}


def test_watchers_that_cannot_look_at_all_look_at_different_ones() -> None:
    chosen = list(choose(envoys(3), (), crowd(MOST_TARGETS * 2, 1)).values())
    assert all(len(targets) == MOST_TARGETS for targets in chosen)
    assert len({target for targets in chosen for target in targets}) > 1.5 * MOST_TARGETS


def test_nothing_to_look_at_and_nobody_to_look() -> None:
    assert choose([], (1, 2), TARGETS) == {}
    assert choose(envoys(1), (), []) == {0: ()}
    assert choose(envoys(1), (), [t for t in TARGETS if t.region == "us"]) == {0: ()}
