"""Regions that return, or are limited, while there is too little room."""

from __future__ import annotations

from dataclasses import replace

from tests.support import decisions
from xds_server.decision.decide import decide_service
from xds_server.decision.frame import Frame, Prior, frame
from xds_server.model import Health, ServiceDecision, Verdict

WELL = Verdict(Health.HEALTHY, 1.0, "", 0.0)
REGIONS = decisions.REGIONS


def base(demand: float) -> Frame:
    """Four regions of 1,000 req/s, 800 of which are planned with; every view has the same demand."""
    service = replace(decisions.service(), demand_rps=dict.fromkeys(REGIONS, demand))
    return frame(decisions.policy([service]), service)


def verdicts(**ramps: float) -> tuple[Verdict | None, ...]:
    """Verdicts in the order of regions; `ap=0.5` is a region that may carry half of its share, 0 one that is down."""
    known = {name[:2]: name for name in REGIONS}
    found = dict.fromkeys(REGIONS, WELL)
    for short, ramp in ramps.items():
        health = Health.RECOVERING if ramp else Health.DOWN
        found[known[short]] = replace(WELL, health=health, ramp=ramp, score=1.0 if ramp else 0.0)
    return tuple(found[name] for name in REGIONS)


def follow(start: Frame, steps: list[tuple[Verdict | None, ...]]) -> list[ServiceDecision]:
    """Decide step by step, each from what is in force."""
    done: list[ServiceDecision] = []
    for now in steps:
        prior = Prior(done[-1].weights, done[-1].verdicts, done[-1].reflex) if done else None
        done.append(decide_service(start, now, prior))
    return done


def test_a_limited_region_is_never_hotter_than_the_others() -> None:
    """In overload its limit is a part of its capacity, not of the overload it was to carry."""
    one = decide_service(base(700.0), verdicts(ap=0.0, eu=0.0, sa=0.7), None)
    heat = {r: load / 1000 for r, load in zip(REGIONS, one.load_rps, strict=True)}
    assert one.overload > 1.0
    assert heat["sa-east-1"] < heat["us-east-1"]


def test_two_regions_that_return_together_do_not_push_load_to_and_fro() -> None:
    """There is too little room without them, so they carry more than their ramps say from the start."""
    ramps = [(0.05, 0.05), (0.10, 0.05), (0.10, 0.10), (0.15, 0.10), (0.15, 0.15), (0.20, 0.15)]
    steps = [verdicts(ap=0.0, eu=0.0), *(verdicts(ap=a, eu=b) for a, b in ramps)]
    loads = [decision.load_rps for decision in follow(base(600.0), steps)][1:]
    for region in range(2):
        course = [load[region] for load in loads]
        assert course == sorted(course)
        assert course[0] > 50
