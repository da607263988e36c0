"""What the admin API shows, as JSON values made from the model's. Pure functions; `now` is on the model's clock.

Tables are written out by name, because people read them: `weights` of a view is `{region: weight}`, in ten thousandths.
Only regions where a service is deployed appear, zero weights included: a zero is a decision too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xds_server.decision.protection import fair_part
from xds_server.decision.reasons import without
from xds_server.model import (
    Decision,
    FleetSize,
    Health,
    NMinusOne,
    Protection,
    Row,
    ServiceDecision,
    Shed,
    Table,
    Verdict,
)
from xds_server.operator.events import Entry
from xds_server.rollout.quarantine import Held
from xds_server.transport.clients import ClientStatus

Json = dict[str, Any]

_WORST_FIRST = (
    Health.DOWN,
    Health.DRAINING,
    Health.DEGRADED,
    Health.RECOVERING,
    Health.UNKNOWN,
    Health.HEALTHY,
)

SHORT_TYPES: Mapping[str, str] = {
    "Listener": "LDS",
    "RouteConfiguration": "RDS",
    "Cluster": "CDS",
    "ClusterLoadAssignment": "EDS",
    "Secret": "SDS",
    "Runtime": "RTDS",
    "TypedExtensionConfig": "ECDS",
    "ScopedRouteConfiguration": "SRDS",
    "VirtualHost": "VHDS",
}


MOST_REJECTED = 20
"""Of one client and type, listed: while the culprit of a large response is searched for, it may be thousands."""


def short_type(type_url: str) -> str:
    """Return the service's usual short name; `other` for a type we do not serve, which a client can make up."""
    return SHORT_TYPES.get(type_url.rpartition(".")[2], "other")


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The policy in force, and what is wrong with the text that is in the file now (empty: nothing).

    `trial` is the digest of the one that is on trial or waits for it.
    """

    source: str
    digest: str | None = None
    rejected: tuple[str, ...] = ()
    trial: str | None = None


def policy_json(policy: PolicyStatus) -> Json:
    """Return the policy in force, the one on trial, and the rejected edit, if there are such."""
    rejected = {"errors": list(policy.rejected)} if policy.rejected else None
    return {"digest": policy.digest, "source": policy.source, "trial": policy.trial, "rejected": rejected}


def decision_json(decision: Decision | None, policy: PolicyStatus, now: float, service: str | None = None) -> Json:
    """Return the whole decision with its reasons, or what it says of one service; empty lists before the first."""
    services = decision.services if decision is not None else ()
    regions = decision.regions if decision is not None else ()
    sizes = decision.sizes if decision is not None else ()
    return {
        "policy": policy_json(policy),
        "regions": [region_json(region, services, now) for region in regions],
        "fleets": [size._asdict() for size in sizes],
        "services": [_service_json(found, now, sizes) for found in services if service in {None, found.service}],
    }


def region_json(region: str, services: Iterable[ServiceDecision], now: float) -> Json:
    """Return a region summed up by the worst of its services, which the reason names."""
    worst: tuple[str, Verdict] | None = None
    for service in services:
        verdict = service.verdicts[service.regions.index(region)]
        if verdict is not None and (worst is None or _worse(verdict, worst[1])):
            worst = service.service, verdict
    if worst is None:
        return {"region": region, "health": Health.UNKNOWN, "reason": "no service is deployed here", "since_s": 0.0}
    name, verdict = worst
    return {"region": region, "health": verdict.health, "reason": f"{name}: {verdict.reason}"} | _since(verdict, now)


def _worse(one: Verdict, other: Verdict) -> bool:
    return (_WORST_FIRST.index(one.health), one.score) < (_WORST_FIRST.index(other.health), other.score)


def _since(verdict: Verdict, now: float) -> Json:
    return {"since_s": round(max(0.0, now - verdict.since), 1)}


def _service_json(service: ServiceDecision, now: float, sizes: tuple[FleetSize, ...]) -> Json:
    deployed = _deployed(service)
    names = service.regions
    return weights_json(service, now) | {
        "reflex": {names[r]: _table_json(names, service.reflex[r], deployed) for r in deployed},
        "reflex_fit": {
            names[r]: {"overload": round(service.reflex_overload[r], 4), "reason": without(service, r)}
            for r in deployed
        },
        "n_minus_1": [_n_minus_1_json(names, plan, deployed) for plan in service.n_minus_1],
        "protection": {names[v]: _protections_json(names, row, v, sizes) for v, row in enumerate(service.protection)},
    }


def weights_json(service: ServiceDecision, now: float) -> Json:
    """Return what is decided for a service without its plans and protection: what history keeps."""
    deployed = _deployed(service)
    return {
        "service": service.service,
        "overload": round(service.overload, 4),
        "regions": [_place_json(service, r, now) for r in deployed],
        "views": [_view_json(service, v, deployed) for v in range(len(service.regions))],
    }


def _deployed(service: ServiceDecision) -> list[int]:
    return [r for r, verdict in enumerate(service.verdicts) if verdict is not None]


def _place_json(service: ServiceDecision, r: int, now: float) -> Json:
    verdict = service.verdicts[r]
    assert verdict is not None
    return {
        "region": service.regions[r],
        "health": verdict.health,
        "held": verdict.held,
        "score": round(verdict.score, 4),
        "ramp": round(verdict.ramp, 4),
        "reason": verdict.reason,
        "capacity_rps": round(service.capacity_rps[r], 3),
        "capacity_reason": dict(service.capacity_why).get(service.regions[r], ""),
        "load_rps": round(service.load_rps[r], 3),
        "up": verdict.up,
        "total": verdict.total,
    } | _since(verdict, now)


def _view_json(service: ServiceDecision, v: int, deployed: list[int]) -> Json:
    names = service.regions
    return {
        "view": names[v],
        "demand_rps": round(service.demand_rps[v], 3),
        "weights": _row_json(names, service.weights[v], deployed),
        "half_open": _row_json(names, service.half_open[v], deployed) if service.half_open else None,
        "shed": shed_json(service.shed[v] if service.shed else None),
        "reasons": {names[r]: service.reasons[v][r] for r in deployed},
    }


def shed_json(shed: Shed | None) -> Json | None:
    """Return what a view refuses, in percent; the class of those of no class is empty."""
    if shed is None:
        return None
    classes = [found._asdict() for found in shed.classes]
    return {"percent": shed.percent, "classes": classes, "reason": shed.reason}


def _row_json(names: tuple[str, ...], row: Row, deployed: list[int]) -> Json:
    return {names[r]: row[r] for r in deployed}


def _table_json(names: tuple[str, ...], table: Table, deployed: list[int]) -> Json:
    return {names[v]: _row_json(names, row, deployed) for v, row in enumerate(table)}


def _n_minus_1_json(names: tuple[str, ...], plan: NMinusOne, deployed: list[int]) -> Json:
    return {
        "without": plan.without,
        "load_rps": {names[r]: round(plan.load_rps[r], 3) for r in deployed},
        "overload": round(plan.overload, 4),
        "added_latency_ms": round(plan.added_latency_ms, 3),
    }


def _protections_json(
    names: tuple[str, ...], row: tuple[Protection | None, ...], view: int, sizes: tuple[FleetSize, ...]
) -> Json:
    """Return the settings of one view's region clusters; `per_envoy` by fleet, where it has more than one Envoy."""
    here = [(size.fleet, size.envoys) for size in sizes if size.region == names[view]]
    return {
        names[r]: asdict(settings)
        | {"reasons": dict(settings.reasons)}
        | {"per_envoy": {fleet: fair_part(settings, envoys)._asdict() for fleet, envoys in here}}
        for r, settings in enumerate(row)
        if settings is not None
    }


def events_json(started: float, last: int, entries: Iterable[Entry]) -> Json:
    """Return events, oldest first, the number of the newest there is, and when the process that numbers them began."""
    return {"started": round(started, 3), "last": last, "events": [event_json(entry) for entry in entries]}


def event_json(entry: Entry) -> Json:
    """Return one event."""
    event = entry.event
    return {
        "seq": entry.seq,
        "time": round(entry.time, 3),
        "kind": event.kind,
        "severity": event.severity,
        "message": event.message,
        "fields": dict(event.fields),
    }


def fleet_json(clients: Iterable[ClientStatus], quarantined: Iterable[Held], now: float) -> Json:
    """Return who is connected, where each is with each type, in the order of fleets, regions and ids; what is held."""
    by_name = sorted(clients, key=lambda c: (*c.view, c.node.node_id, c.stream))
    return {
        "clients": [client_json(client, now) for client in by_name],
        "quarantine": [held_json(held) for held in quarantined],
    }


def held_json(held: Held) -> Json:
    """Return what is kept back, from whom and why."""
    return {
        "fleet": held.view.fleet,
        "region": held.view.region,
        "kind": held.view.kind,
        "type": short_type(held.key.type_url),
        "name": held.key.name,
        "version": held.version,
        "client": held.node_id,
        "error": held.error,
    }


def client_json(client: ClientStatus, now: float) -> Json:
    """Return one client, and where it is with each type."""
    return {
        "id": client.node.node_id,
        "fleet": client.view.fleet,
        "region": client.view.region,
        "kind": client.view.kind,
        "agent": client.node.agent,
        "version": client.node.version,
        "peer": client.peer,
        "variant": client.variant,
        "on_trial": client.on_trial,
        "connected_s": round(max(0.0, now - client.since), 1),
        "types": {
            short_type(status.type_url): {
                "sent": status.sent,
                "acked": status.acked,
                "synced": client.in_sync(status),
                "nacked": None
                if status.nacked is None
                else {"version": status.nacked.version, "error": status.nacked.error},
                "rejected": [
                    {"name": refusal.name, "version": refusal.version, "error": refusal.error}
                    for refusal in status.rejected[:MOST_REJECTED]
                ],
                "rejected_count": len(status.rejected),
            }
            for status in client.types
        },
    }
