"""What is in force, over the regions of another policy.

An edit of the policy may add regions or take some away. What was in force says as much as before of those that stay, so
it is carried over by name: rows that an operator holds, ties and small changes, profiles of outlier detection, what is
shed. A region that is new had nothing; as a view, its row is all zero, which no decision keeps. What a region had that
is gone, or where the service is no longer deployed, is shared by the rest of the row.

Reflex plans are made anew: a tie that is broken otherwise changes priority 1 of a cluster by a hundredth of a percent.
Rejected: beginning from nothing, as at a first start. An edit that adds a region would then end every hold, while the
order is still shown as in force.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeVar

from xds_server.decision.apportion import apportion
from xds_server.decision.frame import Frame, Prior
from xds_server.decision.shedding import Shedding
from xds_server.model import TOTAL_WEIGHT, Row

T = TypeVar("T")
Spots = tuple[int | None, ...]
"""Where each region of a policy was among the regions of before; None: nowhere."""


def carried(known: tuple[str, ...], prior: Prior, base: Frame) -> Prior:
    """Return what is in force over the regions `known`, over those of a frame."""
    deployed = frozenset(base.order[0])
    same = known == base.regions
    if same and (len(deployed) == len(known) or not _astray(prior, deployed)):
        return prior
    before = {name: i for i, name in enumerate(known)}
    spots = tuple(before.get(name) for name in base.regions)
    nothing = (0,) * len(spots)
    weights = tuple(nothing if v is None else _row(prior.weights[v], spots, deployed) for v in spots)
    if same:
        return replace(prior, weights=weights)
    after = {was: i for i, was in enumerate(spots) if was is not None}
    return replace(
        prior,
        weights=weights,
        verdicts=_placed(prior.verdicts, spots, None),
        reflex=(),
        cuts=frozenset((after[v], after[r]) for v, r in prior.cuts if v in after and r in after),
        shedding=_shedding(prior.shedding, spots),
        profiles=_placed(prior.profiles, spots, None),
    )


def _astray(prior: Prior, deployed: Collection[int]) -> bool:
    """Return whether any weight is on a region without a deployment."""
    return any(weight and r not in deployed for row in prior.weights for r, weight in enumerate(row))


def _row(row: Row, spots: Spots, deployed: Collection[int]) -> Row:
    parts = [row[was] if was is not None and r in deployed else 0 for r, was in enumerate(spots)]
    return tuple(parts) if sum(parts) == TOTAL_WEIGHT else apportion(parts)


def _shedding(before: Shedding, spots: Spots) -> Shedding:
    return replace(
        before,
        sheds=_placed(before.sheds, spots, None),
        demand_rps=_placed(before.demand_rps, spots, 0.0),
        capacity_rps=_placed(before.capacity_rps, spots, 0.0),
    )


def _placed(values: Sequence[T], spots: Spots, missing: T) -> tuple[T, ...]:
    """Return values by the places they have now; none stay none."""
    return tuple(missing if was is None else values[was] for was in spots) if values else ()
