"""Looks at the control plane and the Envoys from outside, over HTTP, as any operator's tool would.

An Envoy's weights come from its own `/config_dump`, which shows a route configuration once Envoy has accepted it. The
control plane may be dead or hung: then `decision` is what it said last, and `reachable` is False.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xds_server.demo.http1 import UnreachableError, fetch
from xds_server.demo.incident import Announcement
from xds_server.demo.topology import HOST, REGIONS, region_cluster

_EVENTS_KEPT = 200
_TIMEOUT_S = 1.0


def route_weights(dump: Mapping[str, Any]) -> dict[str, int] | None:
    """Return region → weight from `/config_dump?resource=dynamic_route_configs`; None if the service has no route.

    A region's weight is the largest that any route of the service gives it, so 0 means that no route leads there.
    """
    region_of = {region_cluster(region): region for region in REGIONS}
    weights: dict[str, int] = {}
    for route in _routes(dump):
        action = route.get("route", {})
        clusters = action.get("weighted_clusters", {}).get("clusters", [])
        for cluster in clusters or [{"name": action.get("cluster", ""), "weight": 10_000}]:
            region = region_of.get(cluster["name"])
            if region is not None:
                weights[region] = max(weights.get(region, 0), int(cluster.get("weight", 0)))
    return weights or None


def _routes(dump: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        route
        for config in dump.get("configs", [])
        for host in config.get("route_config", {}).get("virtual_hosts", [])
        if HOST in host.get("domains", [])
        for route in host.get("routes", [])
    ]


@dataclass(frozen=True, slots=True)
class RegionLine:
    """What the control plane says of a region in `/api/v1/decision`."""

    region: str
    health: str
    reason: str


def region_lines(decision: Mapping[str, Any]) -> tuple[RegionLine, ...]:
    """Return the verdicts, in the order of the screen."""
    lines = {r["region"]: RegionLine(r["region"], r["health"], r.get("reason", "")) for r in decision["regions"]}
    return tuple(lines[region] for region in REGIONS if region in lines)


def announcement(event: Mapping[str, Any]) -> Announcement:
    """Return an event of `/api/v1/events` as a value."""
    return Announcement(
        seq=event["seq"],
        time=event["time"],
        kind=event["kind"],
        severity=event.get("severity", "info"),
        message=event["message"],
        region=event.get("fields", {}).get("region", ""),
        view=event.get("fields", {}).get("view", ""),
    )


class ControlPlaneWatch:
    """The control plane's last words."""

    def __init__(self, admin_port: int) -> None:
        self._port = admin_port
        self._last = 0
        self.decision: Mapping[str, Any] | None = None
        self.reachable = False
        self.events: deque[Announcement] = deque(maxlen=_EVENTS_KEPT)

    async def ready(self) -> bool:
        """Return whether it answers 200 on `/ready`."""
        try:
            return (await fetch(self._port, "/ready", timeout_s=_TIMEOUT_S)).status == 200
        except UnreachableError:
            return False

    async def update(self) -> list[Announcement]:
        """Ask for the decision and for new events; return those."""
        try:
            decision = await self._json("/api/v1/decision")
            events = await self._json(f"/api/v1/events?after={self._last}")
        except UnreachableError:
            self.reachable = False
            return []
        self.reachable = True
        self.decision = decision or self.decision
        return self._new(events or {"last": self._last, "events": []})

    def _new(self, events: Mapping[str, Any]) -> list[Announcement]:
        if events["last"] < self._last:  # a restarted control plane counts from the start again
            self._last = 0
            return []
        new = [announcement(event) for event in events["events"]]
        self._last = events["last"]
        self.events.extend(new)
        return new

    async def _json(self, path: str) -> Mapping[str, Any] | None:
        response = await fetch(self._port, path, timeout_s=_TIMEOUT_S)
        if response.status != 200:
            return None
        value: Mapping[str, Any] = json.loads(response.body)
        return value


class EnvoyWatch:
    """The weights that each Envoy has."""

    def __init__(self, admin_ports: Mapping[str, int]) -> None:
        self._ports = admin_ports
        self.weights: dict[str, dict[str, int]] = {}

    async def ready(self) -> bool:
        """Return whether every Envoy is live and has routes."""
        live = await asyncio.gather(*(self._live(port) for port in self._ports.values()))
        await self.update()
        return all(live) and len(self.weights) == len(self._ports)

    async def update(self) -> bool:
        """Read all of them; return whether any weight changed."""
        views = list(self._ports)
        rows = await asyncio.gather(*(self._weights(self._ports[view]) for view in views))
        before = dict(self.weights)
        self.weights.update({view: row for view, row in zip(views, rows, strict=True) if row is not None})
        return self.weights != before

    @staticmethod
    async def _live(port: int) -> bool:
        try:
            return (await fetch(port, "/ready", timeout_s=_TIMEOUT_S)).status == 200
        except UnreachableError:
            return False

    @staticmethod
    async def _weights(port: int) -> dict[str, int] | None:
        try:
            response = await fetch(port, "/config_dump?resource=dynamic_route_configs", timeout_s=_TIMEOUT_S)
        except UnreachableError:
            return None
        return route_weights(json.loads(response.body)) if response.status == 200 else None
