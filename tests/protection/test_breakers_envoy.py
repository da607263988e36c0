"""Breakers by runtime, on a real Envoy: they hold at once, close no connection, and are not needed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.protection.scene import becomes, decide, publish, statuses
from tests.signals.fleet import HOME, Scene, fleet
from tests.signals.world import http_answer, in_loop
from tests.support import decisions as made
from xds_server.decision.protection import LEAST_PART, fair_part, protect
from xds_server.model import FleetSize
from xds_server.policy.types import DEFAULT_FLEET, Deployment, Timeouts
from xds_server.snapshot.runtime import LAYER

pytestmark = pytest.mark.envoy

CLUSTER = f"checkout@{HOME}"
MAX_REQUESTS = f"circuit_breakers.{CLUSTER}.default.max_requests"
WIDE = made.protection(max_connections=2000, max_pending_requests=2000, max_requests=2000)
OK = http_answer("200 OK")

BURST = 2 * LEAST_PART + 60
"""As many as may be under way, as many that may wait for a connection, and 60."""


FAR_MS = 320
ENVOYS = 100
RATE_RPS = 20_000.0


class Slow:
    """Answers when told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await self.go.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def shared_over(scene: Scene, envoys: int) -> None:
    sizes = (FleetSize(DEFAULT_FLEET, HOME, envoys),)
    publish(scene, replace(decide(scene, {HOME: 1}, WIDE), sizes=sizes))


def runtime(keys: dict[str, Any]) -> dict[str, str]:
    return {name: entry["final_value"] for name, entry in keys["entries"].items()}


def without_the_layer(bootstrap: str) -> str:
    """What an Envoy has whose bootstrap is older than the layer."""
    found = json.loads(bootstrap)
    layers = found["layered_runtime"]["layers"]
    found["layered_runtime"]["layers"] = [layer for layer in layers if layer["name"] != LAYER]
    assert len(found["layered_runtime"]["layers"]) < len(layers)
    return json.dumps(found)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@in_loop
async def test_a_breaker_follows_the_size_of_the_fleet_and_closes_nothing(delta: bool, tmp_path: Path) -> None:
    slow = Slow()
    async with fleet(tmp_path, slow, OK) as scene:
        shared_over(scene, 1)
        sidecar = await scene.sidecar(delta=delta)
        assert MAX_REQUESTS not in runtime(await sidecar.json("/runtime"))
        shared_over(scene, 1_000)
        await becomes(sidecar, "/runtime", lambda said: runtime(said).get(MAX_REQUESTS) == str(LEAST_PART))
        burst = asyncio.create_task(statuses(sidecar, BURST))
        overflow = f"/stats?format=json&filter=^cluster.{CLUSTER}.upstream_rq_pending_overflow$"
        await becomes(sidecar, overflow, lambda said: said["stats"] and said["stats"][0]["value"] >= 60)
        slow.go.set()
        found = await burst
        assert found[200] + found[503] == BURST
        assert found[200] <= 2 * LEAST_PART
        closed = await sidecar.stat(f"cluster.{CLUSTER}.upstream_cx_destroy_local")
        shared_over(scene, 2)
        await becomes(sidecar, "/runtime", lambda said: MAX_REQUESTS not in runtime(said))
        assert await statuses(sidecar, BURST) == {200: BURST}
        assert await sidecar.stat(f"cluster.{CLUSTER}.upstream_cx_destroy_local") == closed
        assert await sidecar.stat("cluster_manager.cluster_modified") == 0


@in_loop
async def test_an_envoy_without_the_layer_keeps_the_limits_of_its_clusters(tmp_path: Path) -> None:
    async with fleet(tmp_path, OK, OK) as scene:
        shared_over(scene, 1_000)
        sidecar = await scene.sidecar(edit=without_the_layer)
        assert LAYER not in (await sidecar.json("/runtime"))["layers"]
        assert await statuses(sidecar, BURST) == {200: BURST}


@in_loop
async def test_an_envoy_of_a_large_fleet_fails_over_to_a_region_320_ms_away_without_overflow(tmp_path: Path) -> None:
    """A hundred Envoys share 20,000 req/s: each sends four times its part, all in flight for 320 ms."""

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(FAR_MS / 1000)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with fleet(tmp_path, refuses, far) as scene:
        patient = Timeouts(per_try_ms=15_000, connect_ms=15_000)  # what a busy machine adds is not the network's
        service = replace(scene.policy.services["checkout"], timeouts=patient)
        scene.policy = replace(scene.policy, services={"checkout": service}, latency_ms=far_apart(scene))
        settings = protect(scene.policy, replace(service, deployments=wide(scene)), HOME)[HOME]
        sizes = (FleetSize(DEFAULT_FLEET, HOME, ENVOYS),)
        publish(scene, replace(decide(scene, {HOME: 1}, settings), sizes=sizes))
        sidecar = await scene.sidecar()
        limit = fair_part(settings, ENVOYS).max_requests
        await becomes(sidecar, "/runtime", lambda said: runtime(said).get(MAX_REQUESTS) == str(limit))
        in_flight = round(4 * RATE_RPS / ENVOYS * FAR_MS / 1000)
        assert in_flight < limit < settings.max_requests
        assert await statuses(sidecar, in_flight, "GET") == {200: in_flight}
        for overflow in ("upstream_rq_pending_overflow", "upstream_rq_retry_overflow", "upstream_cx_overflow"):
            assert await sidecar.stat(f"cluster.{CLUSTER}.{overflow}") == 0


def wide(scene: Scene) -> dict[str, Deployment]:
    deployments = scene.policy.services["checkout"].deployments
    return {region: replace(deployment, capacity_rps=RATE_RPS) for region, deployment in deployments.items()}


def far_apart(scene: Scene) -> dict[tuple[str, str], float]:
    return {(a, b): 1.0 if a == b else float(FAR_MS) for a in scene.policy.regions for b in scene.policy.regions}
