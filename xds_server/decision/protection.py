"""Protection settings: what bounds damage inside Envoy when things go wrong faster than we can decide.

Everything that lives in a cluster (CDS) follows from the policy alone: editing a cluster closes its connections and
resets host counters and ejections, so it must not follow health. Only `overprovisioning_factor` moves with the load,
because it travels in EDS, and it moves in coarse steps.

Sizes come from Little's law, in flight = rate × time, for one Envoy that may carry a whole view:

    rate     the most that can be sent to the cluster `service@r`: what region r has, `capacity_rps` (r's own traffic
             at priority 0, or what r had, at priority 1)
    time     the worst reflex plan's: the round trip to the farthest region of the service, plus `SERVICE_TIME_MS`

`max_requests` is `MARGIN` times that, so that it stops a runaway and never a failover (sized for normal latency it
rejected 920 of 2,400 requests in a failover to a region 200 ms away). `min_retry_concurrency` is what may fail at one
moment, all in flight in a region: for a region that hangs, rate × the time until a try is given up.

*Fair parts.* The sizes above are for one Envoy that carries a whole view, and stand in the cluster: they follow from
the policy alone. In a fleet each Envoy is allowed `HEADROOM` times its fair part of them (`fair_part`), because load is
never spread evenly. That goes out by runtime (snapshot/runtime.py), which closes no connection. `LEAST_PART` and
`LEAST_RETRIES` are left to each whatever the size: a burst of one application is no runaway.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from xds_server.model import Protection
from xds_server.policy.types import Policy, Service

MARGIN = 3
SERVICE_TIME_MS = 250
PER_TRY_SLACK_MS = 500
CONNECT_SLACK_MS = 250
LEAST_REQUESTS = 1024
LEAST_RETRIES = 100
MOST_CONCURRENT = 1_000_000
HEADROOM = 4
LEAST_PART = 256

OVERPROVISIONING_STEPS = (100, 120, 140, 170, 200, 250, 300, 400, 500, 700, 1000)
"""Coarse, so that a small change of load is not a change of every assignment."""


def worst_round_trip_ms(policy: Policy, service: Service, view: str) -> float:
    """Return the round trip from a view to the farthest region that has the service, in ms."""
    return max(policy.latency_ms[view, region] for region in service.deployments)


def per_try_timeout_ms(policy: Policy, service: Service, view: str) -> int:
    """Return when a try that may be repeated is given up: as the policy says, else slack plus two worst round trips."""
    if service.timeouts.per_try_ms is not None:
        return service.timeouts.per_try_ms
    return min(
        service.timeouts.request_ms, _round_up(PER_TRY_SLACK_MS + 2 * worst_round_trip_ms(policy, service, view))
    )


def connect_timeout_ms(policy: Policy, service: Service, view: str) -> int:
    """Return the connect timeout: as the policy says, else slack plus two worst round trips (TCP, and TLS in one)."""
    if service.timeouts.connect_ms is not None:
        return service.timeouts.connect_ms
    return _round_up(CONNECT_SLACK_MS + 2 * worst_round_trip_ms(policy, service, view))


def overprovisioning_factor(load: float, capacity: float) -> int:
    """Return Envoy's `overprovisioning_factor` (percent): about 100 ÷ utilisation, rounded down to a coarse step.

    With a factor of 100 ÷ utilisation, traffic leaves the region exactly when the hosts left there cannot carry it.
    """
    if capacity <= 0 or load <= 0:
        return OVERPROVISIONING_STEPS[0] if capacity <= 0 else OVERPROVISIONING_STEPS[-1]
    steps = bisect_right(OVERPROVISIONING_STEPS, 100.0 * capacity / load)
    return OVERPROVISIONING_STEPS[max(0, steps - 1)]


def protect(policy: Policy, service: Service, view: str) -> Mapping[str, Protection]:
    """Return the settings of every region cluster of a service as the Envoys of one view get them.

    `overprovisioning_factor` is left at 100: `decide` fills in what the load asks for.
    """
    worst_ms = worst_round_trip_ms(policy, service, view)
    per_try_ms = per_try_timeout_ms(policy, service, view)
    connect_ms = connect_timeout_ms(policy, service, view)
    return {
        region: _protect(service, deployment.capacity_rps, worst_ms, per_try_ms, connect_ms)
        for region, deployment in service.deployments.items()
    }


class FairPart(NamedTuple):
    """What one Envoy of a fleet may have in flight to one region cluster: requests, and retries whatever the budget."""

    max_requests: int
    min_retry_concurrency: int
    reason: str


def fair_part(protection: Protection, envoys: int) -> FairPart:
    """Return what each of so many Envoys is allowed: `HEADROOM` times its part, never more than one Envoy alone."""
    return FairPart(
        _part(protection.max_requests, envoys, LEAST_PART),
        _part(protection.min_retry_concurrency, envoys, LEAST_RETRIES),
        f"{HEADROOM} × {protection.max_requests:,} requests and {protection.min_retry_concurrency:,} retries"
        f" ÷ {envoys:,} Envoys, at least {LEAST_PART} and {LEAST_RETRIES}, at most the whole",
    )


def _part(whole: int, envoys: int, least: int) -> int:
    return min(whole, max(least, -(-HEADROOM * whole // max(1, envoys))))


def _protect(service: Service, rate: float, worst_ms: float, per_try_ms: int, connect_ms: int) -> Protection:
    in_flight = rate * (worst_ms + SERVICE_TIME_MS) / 1000
    requests = _clamp(MARGIN * in_flight, LEAST_REQUESTS)
    retries = service.retries.min_concurrency or _clamp(rate * per_try_ms / 1000, LEAST_RETRIES)
    time = f"{worst_ms:g} ms to the farthest region + {SERVICE_TIME_MS} ms"
    return Protection(
        outlier_profile="standard",
        max_ejection_percent=100,
        overprovisioning_factor=OVERPROVISIONING_STEPS[0],
        max_connections=requests,
        max_pending_requests=requests,
        max_requests=requests,
        retry_budget_percent=100 * service.retries.budget,
        min_retry_concurrency=retries,
        connect_timeout_ms=connect_ms,
        reasons=(
            ("outlier_profile", "in good health"),
            (
                "overprovisioning_factor",
                "about 100 ÷ the region's utilisation: what its other hosts can carry stays at home",
            ),
            ("max_connections", "as many as requests: HTTP/1.1 has one a connection"),
            ("max_pending_requests", "as many as requests: all of them may have to wait for new connections"),
            ("retry_budget_percent", "as the policy says"),
            ("max_requests", f"{MARGIN} × {rate:g} req/s × ({time}), at least {LEAST_REQUESTS}"),
            ("min_retry_concurrency", f"{rate:g} req/s × {per_try_ms} ms until a try is given up, at least 100"),
            ("max_ejection_percent", "a dead region must be able to empty"),
            ("connect_timeout_ms", f"{CONNECT_SLACK_MS} ms + 2 × {worst_ms:g} ms, or as the policy says"),
        ),
    )


def _clamp(value: float, least: int) -> int:
    return min(MOST_CONCURRENT, max(least, math.ceil(value)))


def _round_up(ms: float, step: int = 10) -> int:
    return step * math.ceil(ms / step)
