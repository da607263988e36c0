"""One evacuation, step by step.

    moving ──► moved            a step every `over / STEPS`, each once every client has acknowledged the one before
      │  └───► stopped          the regions that receive suffer, and the order says stop
      ▼          │
    returning ◄──┘ (ended)      back in the same steps: ended, expired, or rolled back

A client that does not acknowledge within `PATIENCE_S` is not waited for: an Envoy that hangs must not keep a fleet in a
dying region. `Surroundings` are all that a step looks at.

Restoring is paced as leaving was, whatever the region's own ramp: the two limits are both kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xds_server.orders.types import Kind, Phase, Standing
from xds_server.policy.types import OnHarm

STEPS = 10
PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step looks at: clients that have not acknowledged the latest, and the harm done so far, in words.

    `blind`: there is no fresh evidence of the region, so that nothing is given back to it. `stays` names services that
    keep traffic there although all of it should be off, because nobody else serves them.
    """

    behind: int
    harm: str = ""
    blind: bool = False
    stays: tuple[str, ...] = ()


def advance(standing: Standing, around: Surroundings, now: float) -> Standing | None:
    """Return where an evacuation stands now; None once it has returned everything."""
    if standing.phase is Phase.MOVING:
        return _leave(standing, around, now)
    if standing.phase is Phase.RETURNING:
        return _return(standing, around, now)
    if standing.phase is Phase.MOVED and around.harm and standing.order.kind is Kind.DRILL:
        return turned_back(standing, f"turned back: {around.harm}", now)
    return standing


def turned_back(standing: Standing, detail: str, now: float) -> Standing:
    """Return the order on its way back: the first step is due at once."""
    return replace(standing, phase=Phase.RETURNING, detail=detail, step_at=now - _pause_s(standing))


def due_at(standing: Standing) -> float | None:
    """Return when the next step is due, if nothing is waited for; None if none is."""
    if standing.phase not in {Phase.MOVING, Phase.RETURNING}:
        return None
    return standing.step_at + (_pause_s(standing) if 0.0 < standing.moved < 1.0 else 0.0)


def _leave(standing: Standing, around: Surroundings, now: float) -> Standing:
    order = standing.order
    if around.harm and standing.moved > 0.0:
        if order.kind is Kind.DRILL or order.on_harm is OnHarm.ROLL_BACK:
            return turned_back(standing, f"rolled back: {around.harm}", now)
        return replace(standing, phase=Phase.STOPPED, detail=f"stopped at {standing.moved:.0%}: {around.harm}")
    if not _may_go_on(standing, around, now):
        return replace(standing, detail=_waiting(around)) if around.behind else standing
    if standing.moved >= 1.0:
        silent = f"; {around.behind} clients have not acknowledged" if around.behind else ""
        acked = None if around.behind else now - order.at
        report = replace(standing.report, acked_s=acked)
        stay = ", ".join(around.stays)
        done = f"what {stay} gets there stays: nobody else serves it" if stay else "all traffic is off"
        return replace(standing, phase=Phase.MOVED, detail=f"{done}{silent}", report=report)
    moved = 1.0 if order.over_s <= 0.0 else min(1.0, round(standing.moved + 1 / STEPS, 6))
    return replace(standing, moved=moved, step_at=now, detail="")


def _return(standing: Standing, around: Surroundings, now: float) -> Standing | None:
    if around.blind:
        waiting = f"waiting for fresh evidence of {standing.order.region}"
        why = standing.detail.removesuffix(f"; {waiting}")
        return replace(standing, detail=f"{why}; {waiting}", step_at=now)
    if not _may_go_on(standing, around, now):
        return standing
    left = 0.0 if standing.order.over_s <= 0.0 else max(0.0, round(standing.moved - 1 / STEPS, 6))
    return replace(standing, moved=left, step_at=now) if left > 0.0 else None


def _may_go_on(standing: Standing, around: Surroundings, now: float) -> bool:
    """Return whether the pause is over and the last step has arrived. The first step waits for nothing."""
    if standing.phase is Phase.MOVING and standing.moved == 0.0:
        return True
    waited = now - standing.step_at
    pause = 0.0 if standing.moved >= 1.0 and standing.phase is Phase.MOVING else _pause_s(standing)
    return waited >= pause - 1e-6 and (not around.behind or waited >= pause + PATIENCE_S)


def _waiting(around: Surroundings) -> str:
    return f"waiting for {around.behind} client{'s' * (around.behind != 1)} to acknowledge"


def _pause_s(standing: Standing) -> float:
    return standing.order.over_s / STEPS
