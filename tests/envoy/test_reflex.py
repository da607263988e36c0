"""What Envoy does by itself: it ejects the dead, not the erring, keeps at home what fits, and has room."""

from __future__ import annotations

import asyncio

import pytest

from tests.envoy.stage import LIMIT_S, Stage, near, on_stage
from tests.envoy.test_faults import OVERFLOWS, assert_lost
from xds_server.demo.backend import BROKEN_PATH
from xds_server.demo.http1 import fetch
from xds_server.demo.topology import HOST, REGIONS

pytestmark = pytest.mark.envoy

BREAKERS = tuple(f"circuit_breakers.default.{name}_open" for name in ("cx", "rq", "rq_pending"))


async def status_of(
    stage: Stage, view: str, method: str, *headers: tuple[str, str], host: str = HOST, path: str = "/cart"
) -> int:
    """Return the status of one request through a view's sidecar."""
    port, all_headers = stage.site.topology.sidecar_ports[view], [("host", host), ("x-view", view), *headers]
    return (await fetch(port, path, method=method, headers=all_headers, timeout_s=LIMIT_S)).status


@on_stage
async def test_requests_that_fail_in_every_region_eject_nothing_and_a_kill_just_after_loses_nothing(
    stage: Stage,
) -> None:
    before = await stage.weights()
    ejections = await stage.all_stats("outlier_detection.ejections_enforced_total")
    key = ("idempotency-key", "one")
    async with stage.load() as load:
        await stage.sent(load, 300)
        broken = [status_of(stage, view, "GET", path=BROKEN_PATH) for view in REGIONS for _ in range(10)]
        broken += [status_of(stage, view, "POST", key, path=BROKEN_PATH) for view in REGIONS]
        broken += [status_of(stage, view, "POST", path=BROKEN_PATH) for view in REGIONS]
        assert set(await asyncio.gather(*broken)) == {503}
        assert await stage.set_stats("outlier_detection.ejections_active") == {}
        assert await stage.all_stats("outlier_detection.ejections_enforced_total") == ejections
        await stage.fault("kill:us-east-1")
        await stage.sent(load, 1_500)
    assert_lost(load, at_least=1_500, plain_writes=stage.plain_writes(before, "us-east-1", 0.5))


@on_stage
async def test_one_of_two_backends_restarts_and_its_region_carries_on_alone(stage: Stage) -> None:
    """Nothing goes abroad but what a request tried again, and no weight moves: the region has room."""
    home = "eu-west-1"

    async def is_(health: str) -> bool:
        return (await stage.verdicts())[home] == health

    before, abroad, retries = await stage.weights(), await abroad_of(stage, home), await retries_of(stage, home)
    async with stage.load() as load:
        await stage.sent(load, 200)
        stage.site.backends[home][0].kill()
        await stage.until("half of the region is seen to be gone", lambda: is_("degraded"))
        await stage.sent(load, 1_000)
        assert near(await stage.weights(), before)
        await stage.fault(f"restore:{home}")
        await stage.until("the region is whole again", lambda: is_("healthy"))
        await stage.sent(load, 500)
    assert_lost(load, at_least=1_700, plain_writes=stage.plain_writes(before, home, 0.5))
    assert near(await stage.weights(), before)
    assert await abroad_of(stage, home) - abroad <= await retries_of(stage, home) - retries


async def abroad_of(stage: Stage, region: str) -> int:
    """Return how many requests of a region's own cluster its Envoy has sent to other regions."""
    clusters = (await stage.ask(region, "/clusters?format=json"))["cluster_statuses"]
    hosts = next(cluster["host_statuses"] for cluster in clusters if cluster["name"] == f"checkout@{region}")
    return sum(
        int(stat.get("value", 0))
        for host in hosts
        if host["locality"]["region"] != region
        for stat in host["stats"]
        if stat["name"] == "rq_total"
    )


async def retries_of(stage: Stage, region: str) -> int:
    return (await stage.stats(region)).get(f"cluster.checkout@{region}.upstream_rq_retry", 0)


@on_stage
async def test_a_failover_to_the_farthest_region_overflows_no_breaker(stage: Stage) -> None:
    """From ap-southeast-1 to sa-east-1, 320 ms away, with everything else drained."""
    open_breakers: dict[str, int] = {}

    async def moved() -> bool:
        open_breakers.update(await stage.set_stats(*BREAKERS))
        return not any(row["ap-southeast-1"] for row in (await stage.weights()).values())

    stage.edit_policy(
        ("us-east-1: {latency", "us-east-1: {drain: true, latency"),
        ("eu-west-1: {latency", "eu-west-1: {drain: true, latency"),
        ("capacity: 25}", "capacity: 500}"),
    )
    await stage.follows()
    before = await stage.weights()
    assert before["ap-southeast-1"]["ap-southeast-1"] == 10_000
    async with stage.load() as load:
        await stage.sent(load, 200)
        await stage.fault("kill:ap-southeast-1")
        await stage.until("the farthest region has it all", moved)
        await stage.sent(load, 1_000)
    assert_lost(load, at_least=1_200, plain_writes=stage.plain_writes(before, "ap-southeast-1", 0.5))
    assert load.totals.sum.served_by["sa-east-1"] > 1_000
    assert open_breakers == {}
    assert await stage.set_stats(*OVERFLOWS) == {}
