"""What is measured of one service, where it takes the place of what the policy says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Measured:
    """Demand in req/s by view, latency in ms by (view, region), cut (view, region) links, capacity in req/s by region.

    What is missing was not measured: the policy's figure counts.
    """

    demand_rps: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    cuts: frozenset[tuple[str, str]] = frozenset()
    capacity_rps: Mapping[str, float] = field(default_factory=dict)


NOTHING_MEASURED = Measured()
