"""Events that hold until another one ends them, for what stands nowhere else than in events. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from xds_server.model import Event

MOST_HELD = 5_000

_ENDS: Mapping[str, tuple[str, ...]] = {
    "link.cut": ("link.restored",),
    "policy.rejected": ("policy.accepted", "policy.restored"),
}
"""Kinds of event that hold until another of these kinds, about the same, comes."""

_ABOUT: Mapping[str, tuple[str, ...]] = {"link.cut": ("service", "region", "view")}
"""The fields that say what an event is about."""


class HeldEvents:
    """Events that nothing has ended yet, with the time of day they came."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], tuple[Event, float]] = {}

    def add(self, event: Event, wall: float) -> None:
        """Take an event: it may begin to hold, and it may end others."""
        for kind, ends in _ENDS.items():
            if event.kind in ends:
                self._held.pop(_key(kind, event), None)
        if event.kind in _ENDS and len(self._held) < MOST_HELD:
            self._held.setdefault(_key(event.kind, event), (event, wall))

    def now(self) -> HeldEvents:
        """Return what holds now, for another thread to read."""
        taken = HeldEvents()
        taken._held = dict(self._held)
        return taken

    def of(self, kind: str) -> list[tuple[Event, float]]:
        """Return those of one kind, the oldest first."""
        return sorted((held for held in self._held.values() if held[0].kind == kind), key=lambda held: held[1])


def _key(kind: str, event: Event) -> tuple[str, ...]:
    facts = dict(event.fields)
    return (kind, *(facts.get(name, "") for name in _ABOUT.get(kind, ())))
