"""The series of a decision, read off it when a scrape comes: verdicts, weights, what is refused, plans. Pure.

With 1,000 services in 8 regions these are 64,000 weights and as many others: a second of work, for a thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from xds_server.model import TOTAL_WEIGHT, Decision, ServiceDecision, Verdict


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """Return a gauge of ours."""
    return GaugeMetricFamily(f"xds_server_{name}", text, labels=labels)


def decision_metrics(decision: Decision) -> Iterator[Metric]:
    """Yield all that a decision says of places, weights and plans."""
    yield from _place_metrics(decision)
    yield from _weight_metrics(decision)
    yield from _exception_metrics(decision)
    yield from _plan_metrics(decision)


def _place_metrics(decision: Decision) -> Iterator[Metric]:
    place = "service", "region"
    verdict = gauge("verdict", "1 for the verdict in force.", *place, "health")
    score = gauge("verdict_score", "Share of the capacity that may be used, 0 to 1.", *place)
    ramp = gauge("verdict_ramp", "Share of its traffic that a recovering region has back, 0 to 1.", *place)
    up = gauge("endpoints_up", "Endpoints that are up.", *place)
    total = gauge("endpoints", "Endpoints there are.", *place)
    capacity = gauge(
        "capacity_rps",
        "Capacity that counts, in requests per second: that of the policy, an agent or an order, times the score.",
        *place,
    )
    outvoted = gauge("probes_outvoted", "1 if our own probes see nothing of it up and are not believed.", *place)
    load = gauge("planned_load_rps", "Requests per second that the weights in force send there.", *place)
    for service, r, seen in _places(decision):
        labels = service.service, service.regions[r]
        verdict.add_metric([*labels, seen.health], 1)
        score.add_metric(labels, seen.score)
        ramp.add_metric(labels, seen.ramp)
        up.add_metric(labels, seen.up)
        total.add_metric(labels, seen.total)
        outvoted.add_metric(labels, seen.outvoted)
        capacity.add_metric(labels, service.capacity_rps[r])
        load.add_metric(labels, service.load_rps[r])
    yield from (verdict, score, ramp, up, total, outvoted, capacity, load)


def _places(decision: Decision) -> Iterator[tuple[ServiceDecision, int, Verdict]]:
    for service in decision.services:
        for r, verdict in enumerate(service.verdicts):
            if verdict is not None:
                yield service, r, verdict


def _weight_metrics(decision: Decision) -> Iterator[Metric]:
    weight = gauge("weight", "Share of a view's requests that a region serves, 0 to 1.", "service", "view", "region")
    overload = gauge("overload", "Factor by which demand exceeds what may be used; 1 if it fits.", "service")
    for service in decision.services:
        overload.add_metric([service.service], service.overload)
    for service, r, _ in _places(decision):
        for v, view in enumerate(service.regions):
            share = service.weights[v][r] / TOTAL_WEIGHT
            weight.add_metric([service.service, view, service.regions[r]], share)
    yield from (overload, weight)


def _exception_metrics(decision: Decision) -> Iterator[Metric]:
    what = "Share of a view's requests that is refused in an overload, 0 to 1."
    shed = gauge("shed", what, "service", "view")
    what = "Share of what may be sent twice that a region gets although it is down, 0 to 1."
    half_open = gauge("half_open", what, "service", "view", "region")
    for service in decision.services:
        for view, found in zip(service.regions, service.shed, strict=False):
            shed.add_metric([service.service, view], found.percent / 100 if found else 0.0)
        for view, row, weights in zip(service.regions, service.half_open, service.weights, strict=False):
            for region, share, weight in zip(service.regions, row, weights, strict=True):
                if share and not weight:
                    half_open.add_metric([service.service, view, region], share / TOTAL_WEIGHT)
    what = "1 for the profile of outlier detection in force."
    profile = gauge("outlier_profile", what, "service", "region", "profile")
    for service, r, _ in _places(decision):
        settings = next((row[r] for row in service.protection if row[r] is not None), None)
        if settings is not None:
            profile.add_metric([service.service, service.regions[r], settings.outlier_profile], 1)
    yield from (shed, half_open, profile)


def _plan_metrics(decision: Decision) -> Iterator[Metric]:
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
