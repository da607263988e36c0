"""What real Envoys report decides: our own probes that fail for nothing, errors behind passing health checks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envoy.stage import Stage, near, on_stage
from xds_server.demo.http1 import fetch
from xds_server.demo.mix import Kind
from xds_server.demo.topology import REGIONS

pytestmark = pytest.mark.envoy


async def region(stage: Stage, name: str) -> dict[str, Any]:
    """Return what is believed of a region."""
    found: dict[str, Any] = next(r for r in (await stage.api("/api/v1/decision"))["regions"] if r["region"] == name)
    return found


async def fool_the_monitor(stage: Stage) -> None:
    """Have every health check of the control plane fail, and none of Envoy's."""
    for ports in stage.site.topology.backend_ports.values():
        for port in ports:
            assert (await fetch(port, "/_control?monitored=false", method="POST")).status == 200


@on_stage
async def test_nobody_is_evacuated_because_our_own_network_is_cut(stage: Stage) -> None:
    before = await stage.weights()

    async def all_probes_fail() -> bool:
        rows = [row for row in (await stage.api("/api/v1/signals"))["signals"] if row["source"] == "probes"]
        return len(rows) == len(REGIONS) and not any(row["up"] for row in rows)

    async with stage.load() as load:
        await stage.sent(load, 1_000)
        await fool_the_monitor(stage)
        await stage.until("every probe of the control plane fails", all_probes_fail)
        await stage.sent(load, 2_000)
        assert near(await stage.weights(), before)
        assert "down" not in (await stage.verdicts()).values()
    assert not any(load.failed.values()), load.said


@on_stage
async def test_a_region_that_fails_real_requests_is_left_although_its_health_checks_pass(stage: Stage) -> None:
    async def loses_share() -> bool:
        return bool((await region(stage, "us-east-1"))["health"] == "degraded")

    async with stage.load() as load:
        await stage.sent(load, 500)
        await stage.fault("errors:0.4:us-east-1")
        await stage.until("live traffic limits the region", loses_share)
        await stage.moved_off("us-east-1")
        found = await region(stage, "us-east-1")
        assert (found["health"], "live attempts fail" in found["reason"]) == ("down", True), found
    assert load.failed[Kind.READ] == load.failed[Kind.KEYED_WRITE] == 0, load.said
