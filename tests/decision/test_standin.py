"""What stands in for plans: the old ones, without what is closed, and never all zero while anything serves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.world import FOUR, policy
from xds_server.decision.decide import decide_service, place
from xds_server.decision.frame import Prior, frame
from xds_server.decision.measured import Measured
from xds_server.decision.standin import stand_in
from xds_server.model import TOTAL_WEIGHT, Health, Row, ServiceDecision, Verdict

FRAMES = [frame(world, service) for world in (policy(20, FOUR),) for service in world.services.values()]
WELL = Verdict(Health.HEALTHY, 1.0, "", 0.0)
OTHERS = (
    Verdict(Health.DOWN, 0.0, "dead", 1.0),
    Verdict(Health.DRAINING, 0.5, "left", 1.0, ramp=0.5),
    Verdict(Health.RECOVERING, 1.0, "back", 1.0, ramp=0.3),
    WELL,
)
CALM = [decide_service(base, (WELL,) * 4, None) for base in FRAMES]

links = st.frozensets(st.tuples(st.sampled_from(FOUR), st.sampled_from(FOUR)), max_size=4)


def stood_in(number: int, verdicts: tuple[Verdict, ...], cuts: frozenset[tuple[str, str]]) -> ServiceDecision:
    before = CALM[number]
    prior = Prior(before.weights, before.verdicts, before.reflex)
    return stand_in(place(FRAMES[number], verdicts, prior, measured=Measured(cuts=cuts)), before)


def row_is_sound(row: Row, gone: int, closed: set[int], before: Row) -> bool:
    if closed | {gone} >= set(range(len(row))):
        return row == before
    return sum(row) == TOTAL_WEIGHT and not any(row[r] for r in closed | {gone})


@given(st.integers(0, 19), st.tuples(*[st.sampled_from(OTHERS)] * 4), links)
def test_no_closed_region_is_in_a_plan_while_another_is_open(
    number: int, verdicts: tuple[Verdict, ...], cuts: frozenset[tuple[str, str]]
) -> None:
    now = stood_in(number, verdicts, cuts)
    if not any(v.serves for v in verdicts):
        verdicts = (WELL,) * 4  # nobody serves: plans are those of a healthy service
    shut = {r for r, v in enumerate(verdicts) if not v.serves or v.health is Health.DRAINING}
    open_ = {0, 1, 2, 3} - shut or {r for r, v in enumerate(verdicts) if v.serves}
    for gone, table in enumerate(now.reflex):
        for v, row in enumerate(table):
            cut = {r for r, region in enumerate(FOUR) if (FOUR[v], region) in cuts}
            closed = shut | (set() if cut >= open_ else cut)
            assert row_is_sound(row, gone, closed, CALM[number].reflex[gone][v]), (gone, v, row, closed)


def test_what_is_open_keeps_its_proportions() -> None:
    split = 0
    for number, before in enumerate(CALM):
        now = stood_in(number, (WELL, WELL, WELL, OTHERS[0]), frozenset())
        for table, kept in zip(before.reflex, now.reflex, strict=True):
            for old, new in zip(table, kept, strict=True):
                left = sum(old) - old[3]
                split += 0 < old[3] < TOTAL_WEIGHT
                assert not left or all(abs(new[r] - TOTAL_WEIGHT * old[r] / left) < 1 for r in range(3))
    assert split > 5


def test_a_plan_with_nothing_closed_in_it_is_the_same_object() -> None:
    same = 0
    for number, before in enumerate(CALM):
        now = stood_in(number, (WELL, WELL, WELL, OTHERS[0]), frozenset())
        for table, kept in zip(before.reflex, now.reflex, strict=True):
            clear = not any(row[3] for row in table)
            assert (kept is table) == clear
            same += clear
    assert same > 5
