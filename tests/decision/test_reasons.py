"""Every number of a decision has its reason, and the reason says what the number rests on."""

from __future__ import annotations

from dataclasses import fields, replace

from tests.support import decisions as made
from xds_server.decision.decide import decide_service
from xds_server.decision.frame import frame
from xds_server.decision.reasons import without
from xds_server.model import Health, Protection, Verdict

HOME = made.REGIONS.index("us-east-1")
WELL = tuple(Verdict(Health.HEALTHY, 1.0, "", 0.0) for _ in made.REGIONS)
DEMAND = {"us-east-1": 1_200.0, "eu-west-1": 200.0, "sa-east-1": 100.0, "ap-southeast-1": 100.0}
SERVICE = replace(made.service(), demand_rps=DEMAND)
DECIDED = decide_service(frame(made.policy([SERVICE]), SERVICE), WELL, None)


def test_every_protection_setting_has_its_reason() -> None:
    numbers = {field.name for field in fields(Protection)} - {"reasons"}
    for row in DECIDED.protection:
        for settings in row:
            assert settings is not None
            assert {name for name, words in settings.reasons if words} == numbers


def test_a_share_that_is_capped_says_who_has_room() -> None:
    assert DECIDED.reasons[HOME][HOME] == (
        "nearest, 1 ms; capped at 66.7 %: full, 800 of 800 req/s planned; "
        "ap-southeast-1, eu-west-1 and sa-east-1 have 1,600 req/s to spare"
    )


def test_the_loss_of_a_region_is_said_in_figures() -> None:
    assert without(DECIDED, HOME) == (
        "fits: ap-southeast-1, eu-west-1 and sa-east-1 have 2,200 req/s to spare for its 800"
    )
    hot = replace(DECIDED, load_rps=(900.0,) * 4, reflex_overload=(1.2,) * 4)
    assert without(hot, HOME).endswith("have 300 req/s to spare for its 900; they would be at 120%")
    full = replace(hot, load_rps=(1_000.0,) * 4)
    assert without(full, HOME) == "does not fit: no region has anything to spare for its 1,000 req/s"
    empty = replace(DECIDED, load_rps=(0.0,) * 4)
    assert without(empty, HOME) == "it serves nothing: nothing would move"


def test_what_just_fits_is_no_overload() -> None:
    alone = tuple(v if r == HOME else replace(v, health=Health.DOWN, score=0.0) for r, v in enumerate(WELL))
    for demand, fits in ((1_000.000001, True), (1_000.5, True), (1_002.0, False)):
        service = replace(made.service(), demand_rps=dict.fromkeys(made.REGIONS, demand / 4))
        decided = decide_service(frame(made.policy([service]), service), alone, None)
        assert (decided.overload == 1.0) == fits, demand
        assert any("overload" in why for row in decided.reasons for why in row) != fits
