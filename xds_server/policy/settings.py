"""What a service can set: the built-in values, overlaid by `defaults`, overlaid by the service, key by key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from xds_server.policy.grammar import HEALTH, OVERLOAD, RETRIES, SETTINGS, TIMEOUTS
from xds_server.policy.kinds import Key, Section, Tree
from xds_server.policy.types import HealthCheck, Overload, Protocol, Retries, Timeouts, TrafficClass


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one service. The defaults are the built-in ones."""

    protocol: Protocol = Protocol.HTTP1
    health: HealthCheck = field(default_factory=HealthCheck)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    reserve: float = 0.20
    ramp_up_ms: int = 60_000
    min_change: float = 0.01
    latency_tolerance_ms: int = 5
    overload: Overload = field(default_factory=Overload)
    half_open: float = 0.0

    def overlay(self, given: Tree) -> Settings:
        """Return these settings with what a section of a policy gives in place of them."""
        changes = attributes(SETTINGS, given)
        if health := given.get("health"):
            changes["health"] = replace(self.health, **attributes(HEALTH.keys, health))
        if timeouts := given.get("timeouts"):
            changes["timeouts"] = replace(self.timeouts, **attributes(TIMEOUTS.keys, timeouts))
        if retries := given.get("retries"):
            changes["retries"] = replace(self.retries, **attributes(RETRIES.keys, retries))
        if overload := given.get("overload"):
            changes["overload"] = replace(self.overload, **attributes(OVERLOAD.keys, overload))
        return replace(self, **changes) if changes else self


def attributes(keys: tuple[Key, ...], given: Tree) -> dict[str, Any]:
    """Return what a section gives under its own keys, by the names of the fields in types.py."""
    own = (key for key in keys if key.name in given and not isinstance(key.kind, Section))
    return {key.attribute or key.name: _value(key, given[key.name]) for key in own}


def _value(key: Key, read: Any) -> Any:
    if key.name == "statuses":
        return frozenset(status for statuses, _ in read for status in statuses)
    if key.name == "classes":
        return tuple(_traffic_class(given) for given, _ in read if given.keys() == {"name", "headers", "share"})
    return read


def _traffic_class(given: Tree) -> TrafficClass:
    headers = tuple(sorted((name.lower(), value) for name, value in given["headers"].items()))
    return TrafficClass(given["name"], headers, given["share"])
