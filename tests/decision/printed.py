"""Decisions and orders as scenario files show them, a line each."""

from __future__ import annotations

from collections.abc import Iterator

from xds_server.model import TOTAL_WEIGHT, Decision, ServiceDecision
from xds_server.orders.types import Orders
from xds_server.orders.words import what


def decision_lines(decision: Decision | None) -> Iterator[str]:
    """Yield verdicts, weights with their reasons, and plans."""
    if decision is None:
        yield "no decision yet"
        return
    for service in decision.services:
        yield from _service(service)


def weight_lines(decision: Decision | None) -> Iterator[str]:
    """Yield verdicts and weights alone."""
    for service in decision.services if decision is not None else ():
        yield from _weights(service)


def verdict_lines(decision: Decision | None) -> Iterator[str]:
    """Yield verdicts with their reasons."""
    for service in decision.services if decision is not None else ():
        for region, verdict in zip(service.regions, service.verdicts, strict=True):
            if verdict is not None:
                yield f"{service.service} in {region}: {verdict.health}, {verdict.reason}"


def order_lines(orders: Orders) -> Iterator[str]:
    """Yield orders in force, and those that are over."""
    yield f"version {orders.version}"
    for one in orders.standing:
        detail = f"; {one.detail}" if one.detail else ""
        yield f"  {one.order.id} {what(one.order)}: {one.phase}, {one.moved:.0%} moved{detail}"
    for ended in orders.ended:
        yield f"  over: {ended.standing.order.id} {what(ended.standing.order)}: {ended.why} at {ended.at:g}s"


def _service(s: ServiceDecision) -> Iterator[str]:
    yield f"{s.service}, overload {s.overload:.3g}"
    for region, verdict, capacity, load in zip(s.regions, s.verdicts, s.capacity_rps, s.load_rps, strict=True):
        belief = f"{verdict.health}, score {verdict.score:.2f}" if verdict else "not deployed"
        yield f"  {region:15} {belief:28} serves {load:7,.0f} of {capacity:7,.0f} req/s"
    for view, row, why in zip(s.regions, s.weights, s.reasons, strict=True):
        yield f"  from {view}:"
        for region, weight, reason in zip(s.regions, row, why, strict=True):
            yield f"    {100 * weight / TOTAL_WEIGHT:6.2f} % {region:15} {reason}"
    for view, shed in zip(s.regions, s.shed, strict=False):
        if shed is not None:
            classes = ", ".join(f"{percent} % of {name or 'the rest'}" for name, percent in shed.classes)
            yield f"  {view} refuses {shed.percent} %" + (f" ({classes})" if classes else "") + f": {shed.reason}"
    for view, row in zip(s.regions, s.half_open, strict=False):
        yield f"  reads from {view}: {_row(s.regions, row)}"
    for gone, tables, factor in zip(s.regions, s.reflex, s.reflex_overload, strict=True):
        rows = "; ".join(f"{v} → {_row(s.regions, row)}" for v, row in zip(s.regions, tables, strict=True))
        yield f"  reflex without {gone}: {rows}" + (f" (overload {factor:.3g})" if factor > 1 else "")
    for plan in s.n_minus_1:
        loads = ", ".join(f"{r} {load:,.0f}" for r, load in zip(s.regions, plan.load_rps, strict=True) if load)
        fits = "fits" if plan.overload <= 1 else f"overload {plan.overload:.3g}"
        yield f"  N-1 without {plan.without}: {loads} req/s; {fits}; {plan.added_latency_ms:+.1f} ms"


def _weights(s: ServiceDecision) -> Iterator[str]:
    beliefs = zip(s.regions, s.verdicts, strict=True)
    yield f"{s.service}: " + ", ".join(f"{region} {verdict.health}" for region, verdict in beliefs if verdict)
    for view, row in zip(s.regions, s.weights, strict=True):
        yield f"  from {view}: {_row(s.regions, row)}"


def _row(regions: tuple[str, ...], row: tuple[int, ...]) -> str:
    return " ".join(f"{region} {100 * w / TOTAL_WEIGHT:.4g}" for region, w in zip(regions, row, strict=True) if w)
