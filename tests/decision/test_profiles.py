"""Profiles of outlier detection: which is called for, and that clusters are edited seldom and never in an incident."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import decisions as made
from tests.support.envoy import validate
from xds_server.decision.profiles import (
    ALL_BAD,
    BY_HEALTH,
    DEGRADED,
    DWELL_S,
    EVERY_S,
    FORGET_AFTER_S,
    MANY,
    OFFENDER,
    ONE_HOST,
    STANDARD,
    Choice,
    Standings,
    chosen,
    follow,
    next_change,
    remembered,
    restored,
)
from xds_server.model import Health, ServiceDecision, Verdict
from xds_server.policy.types import Service
from xds_server.snapshot.bootstrap import BootstrapOptions, static_bootstrap, to_yaml
from xds_server.snapshot.build import build
from xds_server.snapshot.clusters import OUTLIER_PROFILES
from xds_server.step import Memory
from xds_server.store.codec import CorruptError, from_json, to_json

EU, US = made.REGIONS.index("eu-west-1"), made.REGIONS.index("us-east-1")
SERVICE = made.service()


def decided(healths: Mapping[str, Health], load: float = 100.0, capacity: float = 1_000.0) -> ServiceDecision:
    verdicts = tuple(
        Verdict(health := healths.get(region, Health.HEALTHY), 0.0 if health is Health.DOWN else 1.0, "", 0.0)
        for region in made.REGIONS
    )
    of = made.service_decision(SERVICE, {"us-east-1": 1})
    size = len(made.REGIONS)
    return replace(of, verdicts=verdicts, load_rps=(load,) * size, capacity_rps=(capacity,) * size)


class Life:
    """One service over time."""

    def __init__(self, service: Service = SERVICE, standings: Standings = ()) -> None:
        self.service, self.standings, self.now = service, standings, 1_000.0
        self.see({})

    def see(self, healths: Mapping[str, Health], seconds: float = 0.0, **more: float) -> list[str]:
        """Look at the same for so long, once a second; return the profiles in force."""
        end = self.now + seconds
        while True:
            self.standings = follow(self.service, decided(healths, **more), self.standings, self.now)
            if self.now >= end:
                return self.profiles
            self.now += 1.0

    @property
    def choices(self) -> list[Choice]:
        return [choice for choice in chosen(self.standings) if choice is not None]

    @property
    def profiles(self) -> list[str]:
        return [choice.profile for choice in self.choices]


@pytest.mark.parametrize(("count", "profile"), [(1, ONE_HOST), (2, STANDARD), (9, STANDARD), (10, MANY)])
def test_in_good_health_it_is_by_size_and_everything_may_be_ejected(count: int, profile: str) -> None:
    life = Life(made.service(endpoints={r: made.made_up("x", i, count) for i, r in enumerate(made.REGIONS)}))
    assert life.profiles == [profile] * 4
    assert {choice.max_ejection_percent for choice in life.choices} == {100}


def test_a_region_that_stays_degraded_is_watched_more_closely_and_then_no_more() -> None:
    life = Life()
    bad = {"us-east-1": Health.DEGRADED}
    assert life.see(bad, DWELL_S - 1)[US] == STANDARD
    assert life.see(bad, 2)[US] == DEGRADED
    assert life.profiles.count(STANDARD) == 3
    assert life.see({}, EVERY_S - 10)[US] == DEGRADED, "not so soon again"
    assert life.see({}, 20)[US] == STANDARD


def test_when_half_of_the_regions_are_bad_hosts_are_let_be() -> None:
    life = Life()
    bad = dict.fromkeys(("us-east-1", "eu-west-1"), Health.DEGRADED)
    assert life.see(bad, DWELL_S + 1) == [ALL_BAD] * 4
    assert OUTLIER_PROFILES[ALL_BAD].failures > OUTLIER_PROFILES[STANDARD].failures


@pytest.mark.parametrize(
    ("load", "percent", "words"),
    [(100.0, 100, "2,700"), (800.0, 18, "600"), (900.0, 6, "300"), (1_000.0, 1, "0 req/s")],
)
def test_no_more_is_ejected_than_the_others_have_room_for(load: float, percent: int, words: str) -> None:
    life = Life()
    life.see({"us-east-1": Health.DEGRADED}, DWELL_S + 1, load=load)
    choice = life.choices[US]
    assert choice.profile == DEGRADED
    assert choice.max_ejection_percent == percent
    assert words in choice.ejection_reason


def test_who_goes_down_again_and_again_is_ejected_for_longer_until_it_is_forgotten() -> None:
    life = Life()
    for _ in range(2):
        life.see({"us-east-1": Health.DOWN}, 30)
        life.see({"us-east-1": Health.UNKNOWN}, 5)
        life.see({"us-east-1": Health.RECOVERING}, 30)
    assert life.profiles == [STANDARD] * 4
    assert life.see({}, DWELL_S + 1)[US] == OFFENDER
    life.see({}, FORGET_AFTER_S)
    assert life.see({}, DWELL_S + 1)[US] == STANDARD


@pytest.mark.parametrize("silent", [Health.DRAINING, Health.UNKNOWN])
def test_who_is_left_while_it_is_down_has_not_gone_down_twice(silent: Health) -> None:
    life = Life()
    for health in (Health.DOWN, silent, Health.DOWN, silent):
        life.see({"us-east-1": health}, 30.0)
    life.see({})
    assert life.see({}, DWELL_S + 1)[US] == STANDARD


@pytest.mark.parametrize("trouble", [Health.DOWN, Health.RECOVERING, Health.UNKNOWN, Health.DRAINING])
def test_while_a_region_is_leaving_or_coming_nothing_changes_anywhere(trouble: Health) -> None:
    life = Life()
    assert life.see({"us-east-1": Health.DEGRADED, "eu-west-1": trouble}, 2 * EVERY_S) == [STANDARD] * 4
    assert next_change(life.standings, life.now) is None or trouble is Health.DOWN


def test_time_alone_changes_it_when_it_said_so() -> None:
    life = Life()
    life.see({"us-east-1": Health.DEGRADED})
    at = next_change(life.standings, life.now)
    assert at == life.now + DWELL_S
    life.now = at
    assert life.see({"us-east-1": Health.DEGRADED})[US] == DEGRADED


def test_over_any_history_edits_are_rare_and_only_in_quiet() -> None:
    dice = random.Random(7)
    life = Life()
    edited: list[float] = []
    for _ in range(300):
        healths = {r: dice.choices(list(Health), (20, 6, 1, 1, 1, 1))[0] for r in made.REGIONS}
        for _ in range(dice.randint(1, 20)):
            before = life.choices[US].settings
            life.now += 20.0
            life.see(healths)
            if life.choices[US].settings != before:
                edited.append(life.now)
                assert set(healths.values()) <= {Health.HEALTHY, Health.DEGRADED}
    assert len(edited) > 5
    assert all(b - a >= EVERY_S for a, b in pairwise(edited))


def test_a_later_process_goes_on_with_what_was_in_force() -> None:
    life = Life()
    life.see({"us-east-1": Health.DEGRADED}, DWELL_S + 1)
    kept = remembered(made.REGIONS, life.standings)
    assert kept == {"us-east-1": life.choices[US]}
    again = Life(standings=restored(made.REGIONS, kept, 1_000.0))
    assert again.profiles == life.profiles


def test_what_is_kept_comes_back_and_nonsense_does_not() -> None:
    choice = Choice(DEGRADED, 25, "it is degraded", "room")
    kept = to_json(Memory(profiles={"checkout": {"us-east-1": choice}}), 5.0)
    assert from_json(json.loads(json.dumps(kept)), 9.0).profiles == {"checkout": {"us-east-1": choice}}
    older = {key: value for key, value in kept.items() if key != "profiles"}
    assert from_json(older, 9.0).profiles == {}
    for bad in (["standard", 25, "", ""], [DEGRADED, 0, "", ""], [DEGRADED]):
        with pytest.raises(CorruptError):
            from_json({**kept, "profiles": {"checkout": {"us-east-1": bad}}}, 9.0)


@pytest.mark.envoy
def test_a_real_envoy_takes_every_profile(tmp_path: Path) -> None:
    of = made.service_decision(SERVICE, {"us-east-1": 1})
    names, size = sorted(OUTLIER_PROFILES), len(made.REGIONS)
    for some in (names[:size], names[-size:]):
        settings = tuple(made.protection(outlier_profile=name, max_ejection_percent=25) for name in some)
        policy = made.policy([SERVICE])
        decision = made.decision(replace(of, protection=(settings,) * len(made.REGIONS)))
        snapshot = build(policy, decision, made.VIEW, made.addresses(policy))
        options = BootstrapOptions("us-east-1", "web-1", "web", "127.0.0.1", 18_000)
        assert validate(tmp_path, to_yaml(static_bootstrap(options, snapshot))) == ""


def test_every_profile_says_something_to_envoy() -> None:
    assert set(OUTLIER_PROFILES) == BY_HEALTH | {STANDARD, ONE_HOST, MANY}
