"""What is measured of one service, where it takes the place of what the policy says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.model import CutLink


@dataclass(frozen=True, slots=True)
class Measured:
    """Demand in req/s by view, latency in ms by (view, region), cut (view, region) links, capacity in req/s by region.

    `returning` are links that were cut and how much of their share has returned, 0..1. `judged` are regions of which it
    is being decided whether they are down: nothing more is sent there meanwhile. `told` is what an operator wants to
    know of the links that are cut. `capacity_why` says by region why a capacity is not the policy's.

    What is missing was not measured: the policy's figure counts.
    """

    demand_rps: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    cuts: frozenset[tuple[str, str]] = frozenset()
    capacity_rps: Mapping[str, float] = field(default_factory=dict)
    returning: Mapping[tuple[str, str], float] = field(default_factory=dict)
    judged: frozenset[str] = frozenset()
    told: tuple[CutLink, ...] = ()
    capacity_why: Mapping[str, str] = field(default_factory=dict)


NOTHING_MEASURED = Measured()
