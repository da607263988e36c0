"""How often weights change their direction: the measure of a control loop that swings.

A weight that rises and then falls has turned once, whatever the size of its steps. A change below `SMALL` is rounding
and has no direction, and what lies `FORGET_S` back is another story. That turns stay few is the work of the decision
(hold-downs, ramps, `min_change`); a number that goes on growing means that it does not succeed.
"""

from __future__ import annotations

from xds_server.model import TOTAL_WEIGHT, Decision, ServiceDecision

SMALL = TOTAL_WEIGHT // 100
FORGET_S = 600.0

Cell = tuple[int, int]


class Turns:
    """Watches all decisions go by."""

    def __init__(self) -> None:
        self._before: dict[str, ServiceDecision] = {}
        self._moves: dict[str, dict[Cell, tuple[bool, float]]] = {}

    def count(self, decision: Decision, now: float) -> dict[str, int]:
        """Return how many weights turned, by service, with this decision."""
        before, self._before = self._before, {service.service: service for service in decision.services}
        self._moves = {name: moves for name, moves in self._moves.items() if name in self._before}
        found = {}
        for name, after in self._before.items():
            old = before.get(name)
            if old is not None and old.weights is not after.weights and old.regions == after.regions:
                found[name] = self._turned(name, old, after, now)
        return {name: turns for name, turns in found.items() if turns}

    def _turned(self, name: str, old: ServiceDecision, new: ServiceDecision, now: float) -> int:
        moves, turns = self._moves.setdefault(name, {}), 0
        for v, rows in enumerate(zip(old.weights, new.weights, strict=True)):
            for r, (a, b) in enumerate(zip(*rows, strict=True)):
                if abs(b - a) < SMALL:
                    continue
                up, last = b > a, moves.get((v, r))
                turns += last is not None and last[0] != up and now - last[1] < FORGET_S
                moves[v, r] = up, now
        return turns
