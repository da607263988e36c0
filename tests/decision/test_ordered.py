"""Orders in decisions: over any evidence, cut links and orders, every row is whole and orders are obeyed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.world import FOUR, policy
from xds_server.decision.carry import carried
from xds_server.decision.decide import decide_service
from xds_server.decision.frame import Prior, frame
from xds_server.decision.measured import Measured
from xds_server.decision.ordered import FixedRow, Leaving, Ordered, fixed_rows
from xds_server.decision.profiles import Choice, Standing
from xds_server.decision.shedding import Shedding
from xds_server.model import TOTAL_WEIGHT, Health, ServiceDecision, Shed, Verdict

FRAMES = [frame(world, service) for world in (policy(5, FOUR),) for service in world.services.values()]
WELL = Verdict(Health.HEALTHY, 1.0, "", 0.0)
DOWN = Verdict(Health.DOWN, 0.0, "dead", 1.0, ramp=0.0)
SEEN = (DOWN, Verdict(Health.RECOVERING, 1.0, "back", 1.0, ramp=0.3), WELL)

evidence = st.tuples(*[st.sampled_from(SEEN)] * 4)
links = st.frozensets(st.tuples(st.sampled_from(FOUR), st.sampled_from(FOUR)), max_size=16)
leavings = st.dictionaries(
    st.sampled_from(FOUR),
    st.builds(Leaving, st.sampled_from([0.1, 0.5, 1.0]), st.just("left"), st.just(1.0), st.booleans()),
    max_size=4,
)
rows = st.dictionaries(
    st.sampled_from(FOUR),
    st.builds(
        FixedRow,
        st.none() | st.lists(st.tuples(st.sampled_from(FOUR), st.integers(1, 9)), min_size=1).map(tuple),
        st.just("set"),
    ),
    max_size=2,
)
orders = st.builds(Ordered, leavings, rows, st.dictionaries(st.sampled_from(FOUR), st.sampled_from([0.0, 50.0])))


def in_force(decision: ServiceDecision, ordered: Ordered) -> Prior:
    return Prior(decision.weights, decision.verdicts, decision.reflex, ordered=ordered)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(range(len(FRAMES))), evidence, links, orders, orders)
def test_no_view_is_left_without_weights_and_what_has_been_left_gets_none(
    which: int, seen: tuple[Verdict, ...], cuts: frozenset[tuple[str, str]], first: Ordered, then: Ordered
) -> None:
    base = FRAMES[which]
    calm = decide_service(base, (WELL,) * 4, None, ordered=first)
    now = decide_service(base, seen, in_force(calm, first), measured=Measured(cuts=cuts), ordered=then)
    assert [sum(row) for row in now.weights] == [TOTAL_WEIGHT] * 4
    left = {FOUR.index(region) for region, one in then.leaving.items() if one.moved == 1.0 and not one.drill}
    if len(then.leaving) < 4:
        assert not any(row[r] for row in now.weights for r in left)
        assert not any(row[r] for table in now.reflex for row in table for r in left)


def test_a_region_of_no_capacity_has_none_while_it_recovers_and_what_does_not_fit_heats_the_rest_evenly() -> None:
    """The second region is being left and a third returns; without what has moved too little is left."""
    base = FRAMES[0]
    calm = decide_service(base, (WELL,) * 4, None)
    ordered = Ordered({base.regions[1]: Leaving(0.5, "left", 1.0)}, {}, {base.regions[0]: 0.0})
    busy = Measured(demand_rps=dict.fromkeys(base.regions, sum(calm.capacity_rps[1:]) / 6))
    back = SEEN[1]
    now = decide_service(base, (back, WELL, back, WELL), in_force(calm, Ordered()), measured=busy, ordered=ordered)
    assert not any(row[0] for row in now.weights)
    used = [load / capacity for load, capacity in zip(now.load_rps[2:], now.capacity_rps[2:], strict=True)]
    assert used[0] == pytest.approx(used[1], rel=0.01)


def test_a_row_of_a_region_that_is_left_is_freed_step_by_step_and_not_again_by_deciding_again() -> None:
    base = FRAMES[0]
    for given_ in ((("us-east-1", 1),), None):
        ordered = Ordered(rows={"eu-west-1": FixedRow(given_, "set")})
        row = tuple(TOTAL_WEIGHT if region == "us-east-1" else 0 for region in base.regions)
        calm = decide_service(base, (WELL,) * 4, None)
        view, gone = base.regions.index("eu-west-1"), base.regions.index("us-east-1")
        prior = in_force(calm, ordered)
        prior = replace(prior, weights=tuple(row if v == view else old for v, old in enumerate(prior.weights)))
        shares = []
        for moved in (0.1, 0.1, 0.1, 0.5, 0.5, 0.9, 1.0, 1.0):
            ordered = replace(ordered, leaving={"us-east-1": Leaving(moved, "left", 1.0)})
            now = decide_service(base, (WELL,) * 4, prior, ordered=ordered)
            shares.append(now.weights[view][gone])
            prior = in_force(now, ordered)
        assert shares == [9000, 9000, 9000, 5000, 5000, 1000, 0, 0]


def test_a_row_leaves_out_a_region_in_which_the_service_is_not_deployed_any_more() -> None:
    ordered = Ordered(rows={"a": FixedRow((("a", 1), ("b", 3)), "set"), "b": FixedRow((("b", 1),), "set")})
    fixed = fixed_rows(ordered, ("a", "b", "c"), (0, 2), None)
    assert fixed.rows == {0: (TOTAL_WEIGHT, 0, 0)}
    assert not fixed.parts


def test_what_is_in_force_is_carried_over_to_other_regions_by_name() -> None:
    base = FRAMES[0]
    kept = base.regions[1:]
    choice, shed = Choice("degraded", 50, "", ""), Shed(5, (), "hot")
    prior = Prior(
        weights=((5000, 2500, 2500, 0), (0, 6000, 3000, 1000), (0, 0, 10_000, 0), (10_000, 0, 0, 0)),
        verdicts=(WELL, DOWN, WELL, WELL),
        reflex=(((0,) * 4,) * 4,) * 4,
        cuts=frozenset({(0, 1), (1, 2), (3, 3)}),
        shedding=Shedding((None, None, shed, None), (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0), 9.0),
        profiles=(Standing(choice, 1.0), None, Standing(choice, 2.0), None),
    )
    known = ("gone", *kept)
    now = carried(known, prior, base)
    assert now.weights == ((0,) * 4, (0, 6000, 3000, 1000), (0, 0, 10_000, 0), (0,) * 4)
    assert now.verdicts == (None, DOWN, WELL, WELL)
    assert now.cuts == {(1, 2), (3, 3)}
    assert now.shedding == Shedding((None, None, shed, None), (0.0, 2.0, 3.0, 4.0), (0.0, 6.0, 7.0, 8.0), 9.0)
    assert now.profiles == (None, None, Standing(choice, 2.0), None)
    assert now.reflex == ()
    assert carried(base.regions, prior, base) is prior
    decided = decide_service(base, (WELL,) * 4, now)
    assert [sum(row) for row in decided.weights] == [TOTAL_WEIGHT] * 4
    blind = (Verdict(Health.UNKNOWN, 1.0, "no evidence", 0.0),) * 4
    held = decide_service(base, blind, now)
    assert held.weights[1:3] == now.weights[1:3]
    assert [sum(row) for row in held.weights] == [TOTAL_WEIGHT] * 4
