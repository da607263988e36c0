"""The trickle to a region that is down: how much, from whom, and where it does not go."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench.world import FOUR, policy
from xds_server.decision.apportion import apportion
from xds_server.decision.decide import decide_service
from xds_server.decision.frame import frame
from xds_server.decision.half_open import trickle
from xds_server.decision.measured import Measured
from xds_server.model import TOTAL_WEIGHT, Health, Verdict

healths = st.lists(st.sampled_from(Health), min_size=4, max_size=4)
shares = st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(any)


def verdicts(of: list[Health]) -> list[Verdict | None]:
    return [Verdict(health, 0.0 if health is Health.DOWN else 1.0, "", 0.0) for health in of]


@given(healths, shares, st.sampled_from([0.0, 0.005, 0.01, 0.05]))
def test_the_share_is_fixed_and_comes_from_the_others_in_proportion(
    of: list[Health], parts: list[int], share: float
) -> None:
    row = apportion([0 if h is Health.DOWN else p for h, p in zip(of, parts, strict=True)])
    rows = trickle(share, (row,), verdicts(of), (), ())
    found = rows[0] if rows else row
    assert sum(found) == sum(row)
    for health, before, after in zip(of, row, found, strict=True):
        if health is Health.DOWN and any(row):
            assert after == round(share * TOTAL_WEIGHT)
        else:
            assert abs(after - before * (1 - share * of.count(Health.DOWN))) <= 1
            assert (after == 0) == (before == 0)


def test_cut_links_fixed_rows_and_drained_regions_get_none() -> None:
    row = (0, 0, TOTAL_WEIGHT)
    of = verdicts([Health.DOWN, Health.DRAINING, Health.HEALTHY])
    weights = (row, row, row)
    assert trickle(0.01, weights, of, {(0, 0)}, {1}) == (row, row, (100, 0, 9_900))
    assert trickle(0.01, weights, of, {(0, 0)}, {1, 2}) == ()


def test_where_no_region_serves_nothing_is_added() -> None:
    assert trickle(0.01, ((0, 0),), verdicts([Health.DOWN, Health.DOWN]), (), ()) == ()
    held = ((6_000, 4_000),)
    assert trickle(0.01, held, verdicts([Health.DOWN, Health.DOWN]), (), ()) == ()


def test_a_decision_sends_no_trickle_over_a_link_that_is_cut_and_none_unless_it_is_asked_to() -> None:
    world = policy(1, FOUR)
    (service,) = world.services.values()
    down, well = verdicts([Health.DOWN, Health.HEALTHY])
    seen = tuple(down if region == "us-east-1" else well for region in sorted(FOUR))
    cut = Measured(cuts=frozenset({("eu-west-1", "us-east-1")}))
    asked = decide_service(frame(world, replace(service, half_open=0.01)), seen, None, measured=cut)
    gone = asked.regions.index("us-east-1")
    tried = {view: row[gone] for view, row in zip(asked.regions, asked.half_open, strict=True)}
    assert tried == {view: 0 if view == "eu-west-1" else 100 for view in asked.regions}
    assert service.half_open == 0.0
    assert decide_service(frame(world, service), seen, None, measured=cut).half_open == ()
