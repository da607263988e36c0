"""Events that hold until another one ends them, for what stands nowhere else than in events. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from xds_server.model import Event

_ENDS: Mapping[str, tuple[str, ...]] = {
    "policy.rejected": ("policy.accepted", "policy.restored"),
}
"""Kinds of event that hold until another of these kinds comes."""


class HeldEvents:
    """Events that nothing has ended yet, with the time of day they first came."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Event, float]] = {}

    def add(self, event: Event, wall: float) -> None:
        """Take an event: it may begin to hold, and it may end others."""
        for kind, ends in _ENDS.items():
            if event.kind in ends:
                self._held.pop(kind, None)
        if event.kind in _ENDS:
            self._held.setdefault(event.kind, (event, wall))

    def now(self) -> HeldEvents:
        """Return what holds now, for another thread to read."""
        taken = HeldEvents()
        taken._held = dict(self._held)
        return taken

    def since(self, kind: str) -> float | None:
        """Return when the event of a kind that holds first came, on the wall; None if none holds."""
        found = self._held.get(kind)
        return found[1] if found is not None else None
