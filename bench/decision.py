"""The decision when a region dies, in CPU time: the arithmetic alone, and a whole step of the controller.

Sizes are regions × views × services: 4×4×100. A thousand services with eight regions are in scale.py.

*Decision* is `decide_service` for every service with its plans and reasons, from verdicts to weights: each time the
same change from the same state. *Step* is what the process does in the moment in which the region is found down: it
also takes in a probe of every endpoint, judges health and builds the snapshots of all views.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.figures import Figure
from bench.run import Run, cpu_ms
from bench.world import FOUR, Incident, policy
from xds_server.decision.allocation import allocate
from xds_server.decision.decide import decide_service
from xds_server.decision.frame import Frame, Prior, frame
from xds_server.model import Health, Verdict
from xds_server.policy.types import Policy

_REACH_MS = 50.0
_STEP = "a probe of every endpoint, health, the decision, all snapshots"
WELL = Verdict(Health.HEALTHY, 1.0, "2 of 2 endpoints up", 0.0, up=2, total=2)
DEAD = Verdict(Health.DOWN, 0.0, "0 of 2 endpoints up (connection refused)", 1.0, total=2)
BACK = Verdict(Health.RECOVERING, 1.0, "2 of 2 endpoints up, share ramps up", 2.0, ramp=0.3, up=2, total=2)


def decision(run: Run) -> list[Figure]:
    """Measure the sizes that matter."""
    services = run.pick(100, 10)
    size = f"4×4×{services}"
    world = policy(services, FOUR)
    run.say(f"decision, {size}")
    dies, returns, spilling = _decide(world, run.pick(15, 3))
    run.say(f"controller step, {size}")
    steps = _steps(world, run.pick(7, 2))
    hard = f"demand half of the capacity; {spilling:.0%} of the services have a view that does not fit nearest"
    return [
        Figure(f"decision with all plans, one region dies, {size}", "ms CPU", dies, _REACH_MS, hard),
        Figure(f"decision with all plans, that region ramps up, {size}", "ms CPU", returns, _REACH_MS),
        Figure(f"controller step, one region dies, {size}", "ms CPU", steps, note=_STEP),
    ]


def _decide(of: Policy, runs: int) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    frames = [frame(of, service) for service in of.services.values()]
    regions = len(of.regions)
    well, dead, back = ((WELL,) * (regions - 1) + (last,) for last in (WELL, DEAD, BACK))
    calm = _all(frames, well, [None] * len(frames))
    lost = _all(frames, dead, calm)
    spilling = sum(any(sum(w > 0 for w in row) > 1 for row in prior.weights) for prior in calm) / len(frames)
    return (
        cpu_ms(lambda: _all(frames, dead, calm), runs),
        cpu_ms(lambda: _all(frames, back, lost), runs),
        spilling,
    )


def _all(frames: Sequence[Frame], verdicts: tuple[Verdict, ...], priors: Sequence[Prior | None]) -> list[Prior]:
    decided = [decide_service(base, verdicts, prior) for base, prior in zip(frames, priors, strict=True)]
    return [Prior(d.weights, verdicts, d.reflex) for d in decided]


def _steps(of: Policy, runs: int) -> tuple[float, ...]:
    values: list[float] = []
    for _ in range(runs):
        incident = Incident()
        incident.begin(of)
        dead = max(of.regions)
        incident.step(incident.seen(dead))
        second = incident.seen(dead)
        values += cpu_ms(lambda here=incident, seen=second: here.step(seen), 1)  # type: ignore[misc]
        assert incident.controller.decision is not None
        assert not any(service.load_rps[-1] for service in incident.controller.decision.services), "it did not move"
    return tuple(values)


def allocation(run: Run) -> list[Figure]:
    """Measure single solves: where all fits nearest, and where views compete."""
    figures = []
    for regions in (4, 8):
        for name, utilisation in (("fits nearest", 0.0), ("congested", 0.9)):
            run.say(f"allocation, {regions} × {regions}, {name}")
            values = _solves(regions, utilisation, run.pick(9, 2), run.pick(200, 20))
            figures.append(Figure(f"one allocation, {regions} × {regions}, {name}", "µs CPU", values))
    return figures


def _solves(regions: int, utilisation: float, runs: int, count: int) -> tuple[float, ...]:
    chance = random.Random(regions)
    problems = [_problem(regions, utilisation, chance) for _ in range(count)]

    def solve() -> None:
        for demand, capacity, cost in problems:
            allocate(demand, capacity, cost)

    return tuple(1000 * ms / count for ms in cpu_ms(solve, runs))


def _problem(
    regions: int, utilisation: float, chance: random.Random
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return demand, capacity and cost; at utilisation 0 every region has room for its own view."""
    cost = tuple(
        tuple(1_000 if v == r else chance.randrange(40_000, 320_000, 10_000) for r in range(regions))
        for v in range(regions)
    )
    capacity = tuple(chance.randrange(2_000, 10_000) * 1_000_000 for _ in range(regions))
    if not utilisation:
        return tuple(c // 2 for c in capacity), capacity, cost
    pull = [chance.randrange(20, 100) for _ in range(regions)]
    return tuple(round(utilisation * sum(capacity) * p / sum(pull)) for p in pull), capacity, cost
