"""Services whose weights are ahead of their plans, and the plans that are worked out for them, some in each step.

Weights say where traffic goes, and are wanted at once; plans say where it would go if another region died, and take ten
times as long. So where a step has more than `PLANS_PER_STEP` of them to make, weights go out with what stands in for
plans (decision/standin.py), and the plans follow in later steps, which are bounded and leave room for new evidence
between them. Services come in the order in which they fell behind, so that one which is decided again and again does
not keep others waiting. What is ready is held back until all is: Envoys get one set of assignments rather than ten.

Everything is counted, nothing timed: two replicas, and a replay, make the same plans in the same steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xds_server.decision.complete import complete
from xds_server.decision.frame import Frame, Placed, with_measured, with_tries
from xds_server.decision.measured import Measured
from xds_server.decision.profiles import Choices
from xds_server.model import ServiceDecision, Verdict

PLANS_PER_STEP = 800
"""Regions to lose, over all services: a hundred services with eight regions, and some 100 ms of work."""


@dataclass(frozen=True, slots=True)
class Unplanned:
    """What plans are made from, besides the frame and the weights."""

    verdicts: tuple[Verdict | None, ...]
    planned: tuple[int, ...]
    measured: Measured
    profiles: Choices = ()


class Backlog:
    """What is yet to be planned, and what is ready to be told."""

    def __init__(self) -> None:
        self._waiting: dict[str, Unplanned] = {}
        self._ready: dict[str, ServiceDecision] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def has(self, name: str) -> bool:
        """Return whether the plans of a service in force are not its own yet."""
        return name in self._waiting or name in self._ready

    def has_room(self, frames: Mapping[str, Frame], services: Collection[str]) -> bool:
        """Return whether these can be planned at once."""
        return sum(len(frames[name].service.deployments) for name in services) <= PLANS_PER_STEP

    def add(self, name: str, placed: Placed) -> None:
        """Have plans made for these weights; one that waits keeps its turn."""
        self._waiting[name] = Unplanned(placed.verdicts, placed.planned, placed.measured, placed.profiles)
        self._ready.pop(name, None)

    def drop(self, name: str) -> None:
        """Forget a service that has plans."""
        self._waiting.pop(name, None)
        self._ready.pop(name, None)

    def work(self, frames: Mapping[str, Frame], decisions: Mapping[str, ServiceDecision]) -> None:
        """Make the plans of one step."""
        left = PLANS_PER_STEP
        for name in list(self._waiting):
            left -= len(frames[name].service.deployments)
            if left < 0:
                return
            due, decision = self._waiting.pop(name), decisions[name]
            base = with_tries(with_measured(frames[name], due.measured), due.verdicts)
            placed = Placed(decision, base, due.verdicts, due.planned, due.measured, due.profiles)
            self._ready[name] = complete(placed, decision.reflex)

    def take(self) -> Mapping[str, ServiceDecision]:
        """Return what is ready, once."""
        ready, self._ready = self._ready, {}
        return ready
