"""Series that are read off the latest values when a scrape comes: orders, plans, demand. Pure."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from xds_server.model import Decision
from xds_server.orders.types import Kind, Orders, Phase

Place = tuple[str, str]
"""Fleet and region: clients of all kinds in one series."""


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """Return a gauge of ours."""
    return GaugeMetricFamily(f"xds_server_{name}", text, labels=labels)


def ready_metrics(*, ready: bool) -> Iterator[Metric]:
    """Yield whether the process serves decisions."""
    found = gauge("ready", "1 when the process serves decisions, as /ready says.")
    found.add_metric([], ready)
    yield found


def client_metrics(connected: Tally[Place], rejecting: Tally[Place], behind: Tally[Place]) -> Iterator[Metric]:
    """Yield how many clients there are, and in which state, by fleet and region."""
    for name, text, counts in (
        ("connected_clients", "Clients on a stream, by fleet and region.", connected),
        (
            "rejecting_clients",
            "Clients that rejected something and have not taken other content of it since.",
            rejecting,
        ),
        ("behind_clients", "Clients that have not accepted the latest of everything.", behind),
    ):
        found = gauge(name, text, "fleet", "region")
        for place in sorted(connected):
            found.add_metric(place, counts[place])
        yield found


def order_metrics(orders: Orders, decision: Decision | None) -> Iterator[Metric]:
    """Yield orders in force by kind and phase, and how much of each region's traffic they have moved off."""
    found = gauge("orders", "Orders in force.", "kind", "phase")
    counts = Tally((one.order.kind, one.phase) for one in orders.standing)
    for kind in Kind:
        for phase in [each for each in Phase if (each is not Phase.IN_FORCE) == kind.leaves]:
            found.add_metric([kind, phase], counts[kind, phase])
    yield found
    moved = gauge("evacuated", "Share of a region's traffic that orders have moved off, 0 to 1.", "service", "region")
    leaving = [one for one in orders.standing if one.order.kind.leaves]
    for service in decision.services if decision is not None else ():
        for region, verdict in zip(service.regions, service.verdicts, strict=True):
            if verdict is not None:
                here = [o.moved for o in leaving if o.order.region == region and o.order.concerns(service.service)]
                moved.add_metric([service.service, region], max(here, default=0.0))
    yield moved


def plan_metrics(decision: Decision) -> Iterator[Metric]:
    """Yield demand, and what the loss of each region would do."""
    demand = gauge("demand_rps", "Requests per second that come from a view, as decisions count on.", "service", "view")
    what = "Factor by which the rest would be overloaded if the region were lost; 1 if it fits."
    loss = gauge("loss_overload", what, "service", "region")
    for service in decision.services:
        for view, rps in zip(service.regions, service.demand_rps, strict=True):
            demand.add_metric([service.service, view], rps)
        for plan in service.n_minus_1:
            loss.add_metric([service.service, plan.without], plan.overload)
    yield from (demand, loss)
