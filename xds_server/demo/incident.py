"""What followed each fault, from what others said: pure bookkeeping of times.

*Detected* is when the control plane's own events call the region down, or the link cut. *Shifted* is when every Envoy's
own routes, read from its admin page, hold no weight for the region, or those of the view that is cut off from it: the
Envoys' word, not the control plane's. Both count from the
moment the fault was applied and stay None where nothing of the kind happened: a `slow` region that is rightly kept, a
region that had no weight anyway, a control plane that was dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xds_server.demo.faults import Fault, Kind

Weights = Mapping[str, int]
"""Region → weight out of 10,000, as one Envoy has it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One event of the control plane; `time` is seconds since 1970."""

    seq: int
    time: float
    kind: str
    severity: str
    message: str
    region: str
    view: str = ""


def has_weight(fault: Fault, weights: Mapping[str, Weights]) -> bool:
    """Return whether traffic that feels a fault goes to its target; `weights` by view."""
    return any(row.get(fault.target, 0) for view, row in weights.items() if fault.concerns(view))


@dataclass(slots=True)
class Incident:
    """One applied fault and what is known of its consequences so far. `had_weight`: traffic went there."""

    fault: Fault
    applied_wall: float
    applied_mono: float
    had_weight: bool
    detected_ms: float | None = None
    shifted_ms: float | None = None
    over: bool = False

    @property
    def pending(self) -> bool:
        """True while it is worth watching the Envoys closely for this one."""
        return not self.over and self.fault.moves_traffic and self.had_weight and self.shifted_ms is None

    def hear(self, announcements: Iterable[Announcement]) -> None:
        """Take note of the control plane's events."""
        for a in announcements:
            if self._concerns(a) and self.detected_ms is None and not self.over:
                self.detected_ms = max(0.0, (a.time - self.applied_wall) * 1000.0)

    def _concerns(self, announcement: Announcement) -> bool:
        return (
            self.fault.kind is not Kind.RESTORE
            and announcement.kind in {"region.down", "link.cut"}
            and announcement.region == self.fault.target
            and (announcement.kind == "link.cut") == (self.fault.kind is Kind.CUT)
            and self.fault.concerns(announcement.view)
            and announcement.time >= self.applied_wall
        )

    def see(self, weights: Mapping[str, Weights], envoys: int, now_mono: float) -> None:
        """Take note of what the Envoys have; `weights` by view, with all `envoys` of them needed for a verdict."""
        if self.over or not self.had_weight or self.fault.kind is Kind.RESTORE or self.shifted_ms is not None:
            return
        if len(weights) == envoys and not has_weight(self.fault, weights):
            self.shifted_ms = (now_mono - self.applied_mono) * 1000.0
