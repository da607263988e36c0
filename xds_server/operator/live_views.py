"""What the stream sends to pages, as JSON values. Pure functions; `wall_minus_now` turns the model's clock into dates.

Smaller than the answers of the same names under `/api/v1`, because it is sent again at every change: tables are arrays,
the reason of each single weight, the protection settings and the plans are left out (a page asks for those of the one
service it shows), and of a fleet only the counts and the clients in trouble are sent. 1,000 services in 8 regions are
about 1.8 MB a decision, written out in 60 ms; 10,000 Envoys are a few kilobytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from xds_server.model import Decision, LoadReport, ServiceDecision, Verdict
from xds_server.operator.events import EventLog
from xds_server.operator.views import PolicyStatus, client_json, event_json, held_json, policy_json, region_json
from xds_server.rollout.quarantine import Held
from xds_server.transport.clients import ClientStatus

Json = dict[str, Any]

MOST_EVENTS = 50
"""A page that missed more asks for them."""

MOST_TROUBLED = 50

MOST_FLOWS = 2_000
"""30 services in 8 regions; about 100 KB, sent every two seconds."""


def live_decision(
    decision: Decision | None, policy: PolicyStatus, waiting_for: str | None, now: float, wall: float
) -> Json:
    """Return verdicts, demand and weights of every service; `names` are the columns of its tables."""
    services = decision.services if decision is not None else ()
    names = decision.regions if decision is not None else ()
    regions = [region_json(region, services, now) for region in names]
    return {
        "waiting_for": waiting_for,
        "policy": policy_json(policy),
        "names": list(names),
        "regions": [
            {"region": x["region"], "health": x["health"], "reason": x["reason"], "since": wall - x["since_s"]}
            for x in regions
        ],
        "services": [_service(service, wall - now) for service in services],
    }


def _service(service: ServiceDecision, wall_minus_now: float) -> Json:
    return {
        "service": service.service,
        "overload": round(service.overload, 4),
        "demand_rps": [round(rps, 2) for rps in service.demand_rps],
        "weights": service.weights,
        "places": [
            None if verdict is None else _place(service, r, verdict, wall_minus_now)
            for r, verdict in enumerate(service.verdicts)
        ],
    }


def _place(service: ServiceDecision, r: int, verdict: Verdict, wall_minus_now: float) -> Json:
    return {
        "health": verdict.health,
        "held": verdict.held,
        "score": round(verdict.score, 4),
        "ramp": round(verdict.ramp, 4),
        "reason": verdict.reason,
        "capacity_rps": round(service.capacity_rps[r], 2),
        "whole_rps": round(service.whole_rps[r] if service.whole_rps else service.capacity_rps[r], 2),
        "load_rps": round(service.load_rps[r], 2),
        "up": verdict.up,
        "total": verdict.total,
        "since": round(verdict.since + wall_minus_now, 1),
    }


def live_traffic(reports: Iterable[LoadReport]) -> Json:
    """Return what load reports say is flowing, in requests per second: what was tried, failed, and came by a reflex.

    Rows are service, view, serving region and these three. Where there are too many they are summed over services, and
    say so by an empty name.
    """
    rows: dict[tuple[str, str, str], list[float]] = {}
    for report in reports:
        sums = rows.setdefault((report.service, report.view, report.region), [0.0, 0.0, 0.0])
        for i, count in enumerate((report.issued, report.failed, report.reflex)):
            sums[i] += count / report.interval_s
    if len(rows) > MOST_FLOWS:
        rows = _over_services(rows)
    return {"flows": [[*place, *(round(rps, 2) for rps in sums)] for place, sums in sorted(rows.items()) if any(sums)]}


def _over_services(rows: Mapping[tuple[str, str, str], list[float]]) -> dict[tuple[str, str, str], list[float]]:
    summed: dict[tuple[str, str, str], list[float]] = {}
    for (_, view, region), sums in rows.items():
        so_far = summed.get(("", view, region), [0.0, 0.0, 0.0])
        summed["", view, region] = [a + b for a, b in zip(so_far, sums, strict=True)]
    return summed


def live_events(log: EventLog) -> Json:
    """Return the newest events, and the number of the last."""
    return {"last": log.last, "events": [event_json(entry) for entry in log.newest(MOST_EVENTS)]}


def live_fleet(clients: Iterable[ClientStatus], quarantined: Iterable[Held], now: float) -> Json:
    """Return how many clients of each sort there are, how many are up to date, and those that rejected something."""
    counts: Counter[tuple[str, ...]] = Counter()
    behind: Counter[tuple[str, ...]] = Counter()
    trial: Counter[tuple[str, ...]] = Counter()
    rejecting: Counter[tuple[str, ...]] = Counter()
    troubled = []
    for client in clients:
        sort = (client.view.fleet, client.view.region, client.view.kind, client.node.agent, client.node.version)
        counts[sort] += 1
        trial[sort] += client.on_trial
        behind[sort] += not all(client.in_sync(status) for status in client.types)
        if any(status.rejected for status in client.types):
            rejecting[sort] += 1
            troubled.append(client)
    heads = ("fleet", "region", "kind", "agent", "version")
    return {
        "clients": counts.total(),
        "sorts": [
            dict(zip(heads, sort, strict=True))
            | {"clients": n, "behind": behind[sort], "rejecting": rejecting[sort], "on_trial": trial[sort]}
            for sort, n in sorted(counts.items())
        ],
        "troubled": [client_json(client, now) for client in troubled[:MOST_TROUBLED]],
        "quarantine": [held_json(held) for held in islice(quarantined, MOST_TROUBLED)],
    }
