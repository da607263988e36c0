"""A thousand services with eight regions and views: decisions, and the controller while plans follow weights.

*Decision* is the arithmetic alone, in CPU time: `place` and `stand_in` are what weights wait for, `complete` is what
follows. *Step* is the controller, with a probe of every endpoint in the first one, and with the building of snapshots:
how long the longest is tells how late other evidence can be while plans are made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from bench.decision import BACK, DEAD, WELL
from bench.figures import Figure
from bench.run import Run, as_when_ready, cpu_ms
from bench.world import EIGHT, Incident, policy
from xds_server.decision.complete import complete
from xds_server.decision.decide import decide_service, place
from xds_server.decision.frame import Frame, Placed, Prior, frame
from xds_server.decision.measured import Measured
from xds_server.decision.standin import stand_in
from xds_server.model import ServiceDecision, Verdict
from xds_server.policy.types import Policy
from xds_server.step import Inputs


def scale(run: Run) -> list[Figure]:
    """Measure both."""
    services = run.pick(1_000, 120)
    size = f"8×8×{services:,}"
    run.say(f"decision, {size}")
    world = policy(services, EIGHT)
    figures = _decisions(world, size, run.pick(5, 2))
    run.say(f"controller steps, {size}")
    return figures + _steps(world, size, run.pick(3, 1))


def _decisions(world: Policy, size: str, runs: int) -> list[Figure]:
    frames = [frame(world, service) for service in world.services.values()]
    well, dead, back = ((WELL,) * (len(EIGHT) - 1) + (last,) for last in (WELL, DEAD, BACK))
    calm = [decide_service(base, well, None) for base in frames]
    placed = [placed for placed, _ in _ahead(frames, dead, calm)]
    away = [stood_in for _, stood_in in _ahead(frames, dead, calm)]
    return [
        Figure(
            f"decision with all plans, from nothing, {size}",
            "ms CPU",
            cpu_ms(lambda: [decide_service(base, well, None) for base in frames], runs),
            2_000,
        ),
        Figure(f"weights, one region dies, {size}", "ms CPU", cpu_ms(lambda: _ahead(frames, dead, calm), runs), 300),
        Figure(f"weights, it ramps up, {size}", "ms CPU", cpu_ms(lambda: _ahead(frames, back, away), runs), 300),
        Figure(
            f"all plans after it died, {size}",
            "ms CPU",
            cpu_ms(lambda: [complete(p, d.reflex) for p, d in zip(placed, away, strict=True)], runs),
            3_000,
        ),
        Figure("one service's demand changes, with its plans, 8×8", "ms CPU", _demand(frames[:50], calm, runs), 5),
    ]


def _ahead(
    frames: Sequence[Frame], verdicts: tuple[Verdict, ...], before: Sequence[ServiceDecision]
) -> list[tuple[Placed, ServiceDecision]]:
    """Return what the controller makes where weights go ahead."""
    done = []
    for base, decided in zip(frames, before, strict=True):
        placed = place(base, verdicts, _prior(decided))
        done.append((placed, stand_in(placed, decided)))
    return done


def _prior(decided: ServiceDecision) -> Prior:
    return Prior(decided.weights, decided.verdicts, decided.reflex)


def _demand(frames: Sequence[Frame], calm: Sequence[ServiceDecision], runs: int) -> tuple[float, ...]:
    """Let a view of each service want half as much again."""

    def decide() -> None:
        for base, before in zip(frames, calm, strict=False):
            more = Measured(demand_rps={base.regions[0]: 1.5 * before.demand_rps[0]})
            decide_service(base, before.verdicts, _prior(before), measured=more)

    return tuple(ms / len(frames) for ms in cpu_ms(decide, runs))


def _steps(world: Policy, size: str, runs: int) -> list[Figure]:
    first, longest, last, idle = [], [], [], []
    for _ in range(runs):
        moments, after = _region_dies(world)
        idle += after
        lengths = [1000 * (b - a) for a, b in pairwise(moments)]
        first.append(lengths[0])
        longest.append(max(lengths[1:-1], default=0.0))
        last.append(sum(lengths))
    return [
        Figure(f"controller step, one region dies, {size}: all weights and snapshots", "ms CPU", tuple(first)),
        Figure(f"longest step while plans are made, {size}", "ms CPU", tuple(longest)),
        Figure(f"until plans are in all snapshots, {size}", "ms CPU", tuple(last)),
        Figure(f"a second without news while it is down, 25 steps, {size}", "ms CPU", tuple(idle)),
    ]


def _region_dies(world: Policy) -> tuple[list[float], list[float]]:
    """Return the CPU clock before and after each step until nothing is left to plan, and the seconds after that."""
    incident = Incident()
    incident.begin(world)
    incident.step(incident.seen(EIGHT[-1]))
    seen = incident.seen(EIGHT[-1])
    as_when_ready()
    moments = [time.process_time()]
    outcome = incident.step(seen)
    moments.append(time.process_time())
    while outcome.wake_at == incident.now:
        outcome = incident.step(Inputs())
        moments.append(time.process_time())
    return moments, [1000 * _quiet_second(incident) for _ in range(4)][1:]


def _quiet_second(incident: Incident) -> float:
    """Return the CPU time of a second of steps in which nothing came."""
    began = time.process_time()
    for _ in range(25):
        incident.now += 0.04
        incident.step(Inputs())
    return time.process_time() - began
