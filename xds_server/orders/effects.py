"""From orders to what they change in each service's decision (decision/ordered.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.decision.apportion import apportion
from xds_server.decision.ordered import FixedRow, Leaving, Ordered
from xds_server.model import TOTAL_WEIGHT
from xds_server.orders.types import Kind, Order, Standing
from xds_server.policy.types import Policy, Service

PARTS = 1_000_000
"""Parts of a weight order are taken to a millionth."""


def ordered(standing: Iterable[Standing], policy: Policy) -> dict[str, Ordered]:
    """Return what is ordered for every service that anything is ordered for."""
    everything = tuple(standing)
    if not everything:
        return {}
    found = {name: _of(service, policy, everything) for name, service in policy.services.items()}
    return {name: wanted for name, wanted in found.items() if wanted != Ordered()}


def _of(service: Service, policy: Policy, standing: tuple[Standing, ...]) -> Ordered:
    mine = [one for one in standing if one.order.concerns(service.name)]
    return Ordered(
        leaving=_leaving(service, mine),
        rows=_rows(service, policy, mine),
        capacity_rps={one.order.region: one.order.capacity_rps for one in mine if one.order.kind is Kind.CAPACITY},
    )


def _leaving(service: Service, standing: Iterable[Standing]) -> Mapping[str, Leaving]:
    """Return the regions that are left: as far as the farthest order has got, for the reason of the strongest."""
    found: dict[str, Leaving] = {}
    ranked = sorted((one for one in standing if one.order.kind.leaves), key=_weakest_first)
    for one in ranked:
        order = one.order
        if order.region in service.deployments and one.moved > 0.0:
            before = found.get(order.region)
            moved = max(one.moved, before.moved if before is not None else 0.0)
            found[order.region] = Leaving(moved, said(order), order.at, drill=order.kind is Kind.DRILL)
    return found


def _weakest_first(one: Standing) -> tuple[bool, float, str]:
    return (one.order.kind is Kind.EVACUATE, one.moved, one.order.id)


def said(order: Order) -> str:
    """Return an order in a few words: who, what, why."""
    verb = {
        Kind.EVACUATE: "evacuated",
        Kind.DRILL: "drill",
        Kind.WEIGHT: "weight set",
        Kind.HOLD: "held",
        Kind.CAPACITY: "capacity set",
    }[order.kind]
    return f"{verb} by {order.author}: {order.reason}"


def _rows(service: Service, policy: Policy, standing: Iterable[Standing]) -> Mapping[str, FixedRow]:
    """Return the fixed rows: a weight beats a hold, one view beats all, one service beats all, the later beats."""
    rows: dict[str, FixedRow] = {}
    fixing = [one for one in standing if one.order.kind in {Kind.WEIGHT, Kind.HOLD}]
    for one in sorted(fixing, key=lambda one: _general_first(one.order)):
        order = one.order
        held = {view: weights for name, view, weights in one.held if name == service.name}
        for view in [order.view] if order.view else policy.regions:
            weights = _weights(order) if order.kind is Kind.WEIGHT else held.get(view)
            rows[view] = FixedRow(weights, said(order))
    return rows


def _general_first(order: Order) -> tuple[bool, bool, bool, float, str]:
    return (order.kind is Kind.WEIGHT, bool(order.view), bool(order.service), order.at, order.id)


def _weights(order: Order) -> tuple[tuple[str, int], ...]:
    names = tuple(region for region, _ in order.weights)
    parts = tuple(round(part * PARTS) for _, part in order.weights)
    return tuple(zip(names, apportion(parts, TOTAL_WEIGHT), strict=True))
