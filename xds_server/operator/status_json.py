"""`/api/v1/status`: all that one screen shows, small enough to be asked for every second. Pure.

1,000 services in 8 regions are about a megabyte; the weights of each view and their reasons are in `/api/v1/decision`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xds_server import __version__
from xds_server.model import TOTAL_WEIGHT, ServiceDecision
from xds_server.operator.alarms import Picture, alarm_json, alarms
from xds_server.operator.views import policy_json, region_json
from xds_server.transport.clients import ClientStatus

Json = dict[str, Any]


def status_json(seen: Picture) -> Json:
    """Return the state of everything, summed up."""
    services = seen.decision.services if seen.decision is not None else ()
    regions = seen.decision.regions if seen.decision is not None else ()
    return {
        "version": __version__,
        "waiting_for": seen.waiting_for,
        "policy": policy_json(seen.policy),
        "clients": _clients_json(seen.clients),
        "alarms": [alarm_json(alarm) for alarm in alarms(seen)],
        "regions": [region_json(region, services, seen.now) for region in regions],
        "services": [_service_json(service) for service in services],
    }


def _clients_json(clients: Sequence[ClientStatus]) -> Json:
    return {
        "connected": len(clients),
        "behind": sum(not all(client.in_sync(status) for status in client.types) for client in clients),
        "rejecting": sum(any(status.rejected for status in client.types) for client in clients),
        "on_trial": sum(client.on_trial for client in clients),
    }


def _service_json(service: ServiceDecision) -> Json:
    """Return a service's demand against what may be used, and what each region serves of all its requests."""
    load = sum(service.load_rps)
    places = {
        region: {
            "health": verdict.health,
            "load_rps": round(service.load_rps[r], 3),
            "capacity_rps": round(service.capacity_rps[r], 3),
            "share": round(TOTAL_WEIGHT * service.load_rps[r] / load) if load else 0,
        }
        for r, (region, verdict) in enumerate(zip(service.regions, service.verdicts, strict=True))
        if verdict is not None
    }
    return {
        "service": service.service,
        "demand_rps": round(sum(service.demand_rps), 3),
        "capacity_rps": round(sum(service.capacity_rps), 3),
        "overload": round(service.overload, 4),
        "regions": places,
    }
