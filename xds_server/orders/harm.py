"""Whether an evacuation harms the regions that receive its traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xds_server.model import Health, ServiceDecision
from xds_server.orders.types import Order, Standing

SUFFERING = frozenset({Health.DOWN, Health.DEGRADED})


def well(order: Order, decided: Mapping[str, ServiceDecision]) -> frozenset[tuple[str, str]]:
    """Return the (service, region) pairs that are well and would receive traffic, and (service, "") that fit."""
    moving = {name: decision for name, decision in decided.items() if _moves(order, name, decision)}
    places = {
        (name, decision.regions[r])
        for name, decision in moving.items()
        for r, verdict in enumerate(decision.verdicts)
        if verdict is not None and decision.regions[r] != order.region and verdict.health not in SUFFERING
    }
    fits = {(name, "") for name, decision in moving.items() if decision.overload <= 1.0}
    return frozenset(places | fits)


def stays(order: Order, decided: Mapping[str, ServiceDecision]) -> tuple[str, ...]:
    """Return the services that still have traffic in the region of an order."""
    moving = ((name, d) for name, d in sorted(decided.items()) if _moves(order, name, d))
    return tuple(name for name, d in moving if d.load_rps[d.regions.index(order.region)] > 0.0)


def _moves(order: Order, name: str, decision: ServiceDecision) -> bool:
    """Return whether an order moves a service: it is meant, and it is there."""
    if not order.concerns(name) or order.region not in decision.regions:
        return False
    return decision.verdicts[decision.regions.index(order.region)] is not None


def done(standing: Standing, decided: Mapping[str, ServiceDecision]) -> str:
    """Return the first harm done to what was well when it began, in words; empty if there is none."""
    return next(_harms(standing, decided), "")


def _harms(standing: Standing, decided: Mapping[str, ServiceDecision]) -> Iterator[str]:
    for name, region in sorted(standing.well or ()):
        decision = decided.get(name)
        if decision is None or (region and region not in decision.regions):
            continue
        if not region:
            if decision.overload > 1.0 and not standing.order.forced:
                yield f"{name} does not fit, the hottest region is at {decision.overload:.0%} of its capacity"
            continue
        verdict = decision.verdicts[decision.regions.index(region)]
        if verdict is not None and verdict.health in SUFFERING:
            yield f"{name} in {region} is {verdict.health}: {verdict.reason}"
