"""Orders as events and in words."""

from __future__ import annotations

from xds_server.model import Event, Severity
from xds_server.orders.types import Kind, Order, Report, Standing


def what(order: Order) -> str:
    """Return what is ordered, in a few words."""
    scope = [order.service or "all services"] + ([f"from {order.view}"] if order.view else [])
    where = " ".join(scope)
    if order.kind is Kind.EVACUATE:
        return f"evacuate {order.region} ({where})"
    if order.kind is Kind.DRILL:
        return f"drill: evacuate {order.region} ({where})"
    if order.kind is Kind.WEIGHT:
        return f"weights of {where}: " + ", ".join(f"{region} {part:g}" for region, part in order.weights)
    if order.kind is Kind.CAPACITY:
        return f"capacity of {order.service} in {order.region}: {order.capacity_rps:,.0f} req/s"
    return f"hold the weights of {where}"


def event(name: str, order: Order, now: float, words: str, severity: Severity = "info") -> Event:
    """Return the event `order.NAME`."""
    fields = (
        ("id", order.id),
        ("order", order.kind.value),
        ("region", order.region),
        ("service", order.service),
        ("view", order.view),
        ("author", order.author),
    )
    return Event(f"order.{name}", now, f"{what(order)}: {words}", severity, tuple(f for f in fields if f[1]))


def cost(standing: Standing) -> str:
    """Return what leaving a region cost, in one line: the number lost first."""
    report = standing.report
    return "; ".join([_lost(report), *_times(report)])


def _lost(report: Report) -> str:
    if report.lost is None:
        return "requests lost: not measured (nothing came in access logs)"
    gap = " (without those of a restart in between)" if report.gap else ""
    return f"{report.lost:,} of {report.requests or 0:,} requests lost{gap}"


def _times(report: Report) -> list[str]:
    named = (
        ("99 % off", report.off_99_s),
        ("drained", report.drained_s),
        ("acknowledged by every client", report.acked_s),
    )
    return [f"{name} after {seconds:.1f} s" for name, seconds in named if seconds is not None]
