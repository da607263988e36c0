"""The whole product: four Envoys' signals reach the admin page of the control plane that they follow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envoy.stage import Stage, on_stage
from xds_server.demo.http1 import fetch
from xds_server.demo.topology import REGIONS

pytestmark = pytest.mark.envoy


async def rows(stage: Stage, source: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what a source says, by view and region."""
    found = (await stage.api("/api/v1/signals"))["signals"]
    return {(row["view"], row["region"]): row for row in found if row["source"] == source}


@on_stage
async def test_every_source_speaks_of_every_region(stage: Stage) -> None:
    at_home = {(region, region) for region in REGIONS}
    abroad = {(view, region) for view in REGIONS for region in REGIONS if view != region}

    async def spoken() -> bool:
        loads, looks, logs = [await rows(stage, source) for source in ("lrs", "hds", "als")]
        ours = await rows(stage, "probes")
        all_up = {(row["up"], row["total"]) for row in looks.values()} == {(2, 2)}
        return (
            loads.keys() >= at_home and looks.keys() == abroad and all_up and logs.keys() >= at_home and len(ours) == 4
        )

    async with stage.load() as load:
        await stage.sent(load, 500)
        await stage.until("every source has spoken", spoken)
        loads = await rows(stage, "lrs")
        assert all(row["age_s"] < 30 for row in loads.values())
        assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in (await rows(stage, "als")).values() if row["samples"])


@on_stage
async def test_a_dead_region_is_seen_by_every_view_and_its_traffic_counts_where_it_was_served(stage: Stage) -> None:
    gone = "us-east-1"

    async def seen_from_everywhere() -> bool:
        looks = await rows(stage, "hds")
        return all(row["up"] == 0 for (_, region), row in looks.items() if region == gone)

    async def reflex_seen() -> bool:
        return any(row["reflex_rps"] for row in (await rows(stage, "lrs")).values())

    async with stage.load() as load:
        await stage.sent(load, 500)
        await stage.fault(f"kill:{gone}")
        await stage.until("load reports show the reflex", reflex_seen)
        await stage.until("every view's watchers see it", seen_from_everywhere)
        await stage.moved_off(gone)


@on_stage
async def test_the_sources_are_in_the_metrics(stage: Stage) -> None:
    async def shown() -> bool:
        text = (await fetch(stage.site.topology.admin_port, "/metrics")).body.decode()
        return all(f'xds_server_signal_streams{{source="{source}"}} 4.0' in text for source in ("lrs", "hds"))

    await stage.until("every Envoy's streams are counted", shown)
