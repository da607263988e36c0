"""While it is being decided whether a region is down, nobody is sent there, nor moved off it."""

from __future__ import annotations

from bench.world import FOUR, policy
from xds_server.decision.decide import decide_service
from xds_server.decision.frame import Prior, frame
from xds_server.decision.measured import Measured
from xds_server.model import Health, Verdict

WELL = Verdict(Health.HEALTHY, 1.0, "", 0.0)


def test_rows_stay_while_a_region_is_judged_and_move_when_that_is_over() -> None:
    world = policy(1, FOUR)
    base = frame(world, next(iter(world.services.values())))
    calm = decide_service(base, (WELL,) * 4, None)
    prior = Prior(calm.weights, calm.verdicts, calm.reflex)
    busy = {"us-east-1": sum(calm.capacity_rps) / 2}
    waiting = Measured(demand_rps=busy, judged=frozenset({"eu-west-1"}))
    kept = decide_service(base, calm.verdicts, prior, measured=waiting)
    assert kept.weights == calm.weights
    why = kept.reasons[kept.regions.index("us-east-1")][kept.regions.index("us-east-1")]
    assert why.endswith("kept while it is being decided whether eu-west-1 is down")
    assert decide_service(base, calm.verdicts, prior, measured=Measured(demand_rps=busy)).weights != calm.weights
