"""A controller's `Memory` as JSON values and back. Pure; the state file writes what comes out of here.

Times in memory are on a monotonic clock that dies with the process, so they are kept as ages and as seconds that are
left, relative to the moment of saving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from xds_server.decision.links import Link, Links
from xds_server.decision.measured import Measured
from xds_server.decision.profiles import BY_HEALTH, Choice
from xds_server.decision.verdicts import Belief, Place
from xds_server.model import TOTAL_WEIGHT, Health, Table, Verdict
from xds_server.step import Memory


class CorruptError(ValueError):
    """The state is not what this version writes; the message says where."""


def to_json(memory: Memory, now: float) -> dict[str, Any]:
    """Return the memory as JSON values, times relative to `now` (seconds, monotonic)."""
    return {
        "beliefs": [_belief_json(place, belief, now) for place, belief in sorted(memory.beliefs.items())],
        "weights": {
            service: {"regions": list(regions), "table": [list(row) for row in table]}
            for service, (regions, table) in sorted(memory.weights.items())
        },
        "addresses": {host: list(ips) for host, ips in sorted(memory.addresses.items())},
        "profiles": {
            service: {region: list(choice) for region, choice in sorted(choices.items())}
            for service, choices in sorted(memory.profiles.items())
        },
        "measured": {service: _measured_json(found) for service, found in sorted(memory.measured.items())},
        "links": [
            _link_json(place, view, link, now)
            for place, links in sorted(memory.links.items())
            for view, link in sorted(links.items())
        ],
        "trial": memory.trial,
    }


def from_json(data: Mapping[str, Any], now: float) -> Memory:
    """Return the memory that `to_json` wrote, its times moved to this process's `now`. Raises CorruptError."""
    try:
        return Memory(
            beliefs=dict(_belief(item, now) for item in data["beliefs"]),
            weights={str(service): _weights(service, item) for service, item in data["weights"].items()},
            addresses={str(host): tuple(str(ip) for ip in ips) for host, ips in data["addresses"].items()},
            profiles={
                str(service): {str(region): _choice(item) for region, item in choices.items()}
                for service, choices in data.get("profiles", {}).items()
            },
            measured={str(service): _measured(item) for service, item in data.get("measured", {}).items()},
            links=_links(data.get("links", []), now),
            trial=str(data.get("trial", "")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptError(f"{type(error).__name__}: {error}") from error


def _belief_json(place: Place, belief: Belief, now: float) -> dict[str, Any]:
    verdict = asdict(belief.verdict)
    verdict["since"] = now - belief.verdict.since
    return {
        "service": place.service,
        "region": place.region,
        "verdict": verdict,
        "falls": belief.falls,
        "ramp": belief.ramp,
        "fell_ago_s": now - belief.fell_at,
        "hold_left_s": max(0.0, belief.hold_until - now),
    }


def _belief(item: Mapping[str, Any], now: float) -> tuple[Place, Belief]:
    raw = dict(item["verdict"])
    held = raw["held"]
    verdict = Verdict(
        health=Health(raw["health"]),
        score=_fraction(raw["score"]),
        reason=str(raw["reason"]),
        since=now - float(raw["since"]),
        ramp=_fraction(raw["ramp"]),
        held=None if held is None else Health(held),
        up=int(raw["up"]),
        total=int(raw["total"]),
    )
    belief = Belief(
        verdict,
        falls=int(item["falls"]),
        fell_at=now - float(item["fell_ago_s"]),
        hold_until=now + float(item["hold_left_s"]),
        moved_at=now,
        ramp=_fraction(item["ramp"]),
    )
    return Place(str(item["service"]), str(item["region"])), belief


def _measured_json(found: Measured) -> dict[str, Any]:
    paths = [[view, region, ms] for (view, region), ms in sorted(found.latency_ms.items())]
    return {"demand": dict(sorted(found.demand_rps.items())), "latency": paths}


def _measured(item: Mapping[str, Any]) -> Measured:
    return Measured(
        demand_rps={str(view): _amount(rps) for view, rps in item["demand"].items()},
        latency_ms={(str(view), str(region)): _amount(ms) for view, region, ms in item["latency"]},
    )


def _link_json(place: Place, view: str, link: Link, now: float) -> dict[str, Any]:
    return {
        "service": place.service,
        "region": place.region,
        "view": view,
        "falls": link.falls,
        "ramp": link.ramp,
        "probed": link.probed,
        "cut_ago_s": now - link.cut_at,
        "lost_ago_s": now - link.lost_at,
        "silent_s": 0.0 if link.silent_since is None else now - link.silent_since,
    }


def _links(items: Iterable[Mapping[str, Any]], now: float) -> Links:
    """Return the links. A view that probes has no word as yet: it is silent from now on, or was already."""
    found: dict[Place, dict[str, Link]] = {}
    for item in items:
        if int(item["falls"]) < 1:
            raise CorruptError(f"a link that was cut {item['falls']} times")
        link = Link(
            cut_at=now - _amount(item["cut_ago_s"]),
            lost_at=now - _amount(item["lost_ago_s"]),
            falls=int(item["falls"]),
            ramp=_fraction(item["ramp"]),
            moved_at=now,
            probed=bool(item["probed"]),
            silent_since=now - _amount(item["silent_s"]) if item["probed"] else None,
        )
        found.setdefault(Place(str(item["service"]), str(item["region"])), {})[str(item["view"])] = link
    return found


def _choice(item: list[Any]) -> Choice:
    profile, percent, reason, ejection_reason = item
    if profile not in BY_HEALTH or not 0 < int(percent) <= 100:
        raise CorruptError(f"{profile} at {percent} % is no profile of outlier detection")
    return Choice(str(profile), int(percent), str(reason), str(ejection_reason))


def _weights(service: str, item: Mapping[str, Any]) -> tuple[tuple[str, ...], Table]:
    regions = tuple(str(region) for region in item["regions"])
    table = tuple(tuple(int(weight) for weight in row) for row in item["table"])
    for row in table:
        if len(row) != len(regions) or sum(row) != TOTAL_WEIGHT or min(row) < 0:
            raise CorruptError(f"weights of {service} do not sum to {TOTAL_WEIGHT}")
    if len(table) != len(regions):
        raise CorruptError(f"weights of {service}: {len(table)} rows for {len(regions)} regions")
    return regions, table


def _amount(value: object) -> float:
    number = float(str(value))
    if not 0.0 <= number < float("inf"):
        raise CorruptError(f"{number} is no amount")
    return number


def _fraction(value: object) -> float:
    number = float(str(value))
    if not 0.0 <= number <= 1.0:
        raise CorruptError(f"{number} is not a fraction")
    return number
