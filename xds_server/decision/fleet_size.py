"""How many Envoys a fleet has in a region, as far as it matters: the size that breakers are divided by.

Every Envoy gets a fair part of what a region may have in flight (protection.py), so breakers follow the size of the
fleet. They must not follow each connect and disconnect: every change is a push to all Envoys of the view.

    coarse      sizes are powers of 1.5, rounded down: a part is rather too large than too small
    growth      counts after it has lasted `GROWN_AFTER_S`: until then parts are too large, which harms nobody
    shrinking   counts after `SHRUNK_AFTER_S`, so that a reconnect is no news. Those who stay carry what the others did

An Envoy that is connected to another control plane, or cut off from all of them, is not counted; neither is a control
plane that has just started aware of many. Both make the parts larger, up to what one Envoy would be allowed that
carried the whole view, and never smaller than they should be.

Envoys are counted by their names (`node.id`), because one may have several streams. If many share one name, they count
as one, with the same harmless result. gRPC clients have no runtime layer and are not counted.

Rejected: all fleets of a region together. How much of a view's traffic comes from which fleet is not known, and a
small fleet with most of the traffic must not be starved by a large idle one.
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.model import FleetSize

STEP = 1.5
GROWN_AFTER_S = 60.0
SHRUNK_AFTER_S = 5.0

Group = tuple[str, str]
"""Fleet and region."""


class FleetSizes:
    """Counts Envoys as they come and go. `settle` says when the sizes in force have changed."""

    def __init__(self) -> None:
        self._streams: dict[Group, dict[str, int]] = {}
        self._in_force: dict[Group, int] = {}
        self._differs_since: dict[Group, float] = {}

    def joined(self, group: Group, node_id: str) -> None:
        """Count a stream of an Envoy."""
        streams = self._streams.setdefault(group, {})
        streams[node_id] = streams.get(node_id, 0) + 1

    def left(self, group: Group, node_id: str) -> None:
        """Count a stream no more that was counted before."""
        streams = self._streams[group]
        streams[node_id] -= 1
        if not streams[node_id]:
            del streams[node_id]

    def settle(self, now: float) -> bool:
        """Bring the sizes in force up to date; True if one changed."""
        changed = False
        for group, streams in self._streams.items():
            size, before = coarse(len(streams)), self._in_force.get(group, 1)
            if size == before:
                self._differs_since.pop(group, None)
            elif now >= self._differs_since.setdefault(group, now) + _patience(size, before):
                self._in_force[group] = size
                del self._differs_since[group]
                changed = True
        return changed

    def sizes(self) -> tuple[FleetSize, ...]:
        """Return the sizes in force, those of one Envoy left out."""
        return tuple(FleetSize(*group, size) for group, size in sorted(self._in_force.items()) if size > 1)

    def next_change(self) -> float | None:
        """Return when time alone may change a size; None if nothing waits."""
        return min(self._due(), default=None)

    def _due(self) -> Iterable[float]:
        for group, since in self._differs_since.items():
            yield since + _patience(coarse(len(self._streams[group])), self._in_force.get(group, 1))


def coarse(envoys: int) -> int:
    """Return a number of Envoys rounded down to a power of 1.5, in whole Envoys; at least 1."""
    size = 1.0
    while int(size * STEP) <= envoys:
        size *= STEP
    return int(size)


def _patience(size: int, before: int) -> float:
    return GROWN_AFTER_S if size > before else SHRUNK_AFTER_S
