"""Every fault of the issue on the real Envoy: no read, no keyed write is lost, no plain write runs twice.

A plain write may fail only if it was in the dying region already, or if a backend answered it with an error. How many
that can be is computed for each fault, from what the region was getting and how long it took Envoy to leave it.
"""

from __future__ import annotations

import time

import pytest

from tests.envoy.stage import Load, Stage, Weights, near, on_stage
from xds_server.demo.mix import Kind
from xds_server.demo.topology import CONTROL_PLANE

pytestmark = pytest.mark.envoy

EDITS = ("cluster_manager.cluster_added", "cluster_manager.cluster_modified", "cluster_manager.cluster_removed")
CLOSED = ("upstream_cx_destroy_local", "upstream_rq_per_try_timeout")
OVERFLOWS = ("upstream_rq_pending_overflow", "upstream_rq_retry_overflow")


def assert_lost(load: Load, *, at_least: int, plain_writes: int) -> None:
    """Assert that reads, keyed writes and the order of plain writes are whole, on so many requests."""
    assert load.totals.completed >= at_least, load.said
    assert load.failed[Kind.READ] == 0, load.said
    assert load.failed[Kind.KEYED_WRITE] == 0, load.said
    assert load.failed[Kind.PLAIN_WRITE] <= plain_writes, load.said
    assert load.duplicated == 0


@on_stage
async def test_a_killed_region(stage: Stage) -> None:
    """Nothing is lost, weights move by routes alone, and no breaker stands in the way."""
    before, clusters = await stage.weights(), await stage.cluster_versions()
    edits, closed = await stage.all_stats(*EDITS), await stage.all_stats(*CLOSED)
    async with stage.load() as load:
        await stage.sent(load, 500)
        await stage.fault("kill:us-east-1")
        await stage.moved_off("us-east-1")
        await stage.sent(load, 1_000)
        assert (await stage.verdicts())["us-east-1"] == "down"
        await stage.fault("restore:us-east-1")
        await stage.until("the region has its share back", lambda: has_weights(stage, before))
    assert_lost(load, at_least=2_000, plain_writes=stage.plain_writes(before, "us-east-1", 0.5))
    assert await stage.cluster_versions() == clusters
    assert await stage.all_stats(*EDITS) == edits
    for region in ("eu-west-1", "ap-southeast-1", "sa-east-1"):  # the dead one's reflex closes what it opened
        now, names = await stage.all_stats(*CLOSED), [f"cluster.checkout@{region}.{ending}" for ending in CLOSED]
        by_us, late = (now.get(name, 0) - closed.get(name, 0) for name in names)
        assert by_us <= late, "a try that is given up closes its connection, and nothing else does"
    assert await stage.set_stats(*OVERFLOWS) == {}


async def has_weights(stage: Stage, weights: Weights) -> bool:
    return near(await stage.weights(), weights)


@on_stage
async def test_a_region_that_hangs(stage: Stage) -> None:
    before = await stage.weights()
    async with stage.load() as load:
        await stage.sent(load, 500)
        began = time.monotonic()
        await stage.fault("blackhole:eu-west-1")
        await stage.moved_off("eu-west-1")
        took = time.monotonic() - began
        await stage.sent(load, 1_500)
    assert await stage.set_stats(*OVERFLOWS) == {}
    await stage.fault("restore:eu-west-1")  # now it reads what had reached it, and may note a write
    await stage.calm()
    assert_lost(load, at_least=2_500, plain_writes=stage.plain_writes(before, "eu-west-1", took))


@pytest.mark.parametrize("share", ["0.4", "1"])
@on_stage
async def test_a_region_that_answers_errors(stage: Stage, share: str) -> None:
    answered = await stage.errors_answered()
    async with stage.load() as load:
        await stage.sent(load, 200)
        await stage.fault(f"errors:{share}:us-east-1")
        await stage.sent(load, 2_000)
    answered = await stage.errors_answered() - answered
    assert answered > 100
    assert_lost(load, at_least=2_200, plain_writes=answered)
    assert set(load.totals.sum.failed_by_status) <= {"503"}
    assert await stage.set_stats(*OVERFLOWS) == {}


@on_stage
async def test_a_region_whose_health_check_fails(stage: Stage) -> None:
    async with stage.load() as load:
        await stage.sent(load, 200)
        await stage.fault("unhealthy:ap-southeast-1")
        await stage.moved_off("ap-southeast-1")
        await stage.sent(load, 500)
        await stage.fault("restore:ap-southeast-1")
        await stage.sent(load, 500)
    assert_lost(load, at_least=1_200, plain_writes=0)


@pytest.mark.parametrize(("fault", "region"), [("kill", "sa-east-1"), ("blackhole", "ap-southeast-1")])
@on_stage
async def test_a_region_dies_while_the_control_plane_is_away(stage: Stage, fault: str, region: str) -> None:
    before = await stage.weights()
    async with stage.load() as load:
        await stage.sent(load, 200)
        await stage.fault(f"{fault}:{CONTROL_PLANE}")
        await stage.sent(load, 800)
    assert_lost(load, at_least=1_000, plain_writes=0)
    async with stage.load() as load:
        await stage.sent(load, 200)
        await stage.fault(f"kill:{region}")
        await stage.sent(load, 1_000)
    assert_lost(load, at_least=1_200, plain_writes=stage.plain_writes(before, region, 0.5))
    assert await stage.weights() == before
    assert await stage.set_stats(*OVERFLOWS) == {}


@on_stage
async def test_a_control_plane_that_restarts_in_an_incident_moves_nothing(stage: Stage) -> None:
    await stage.fault("kill:sa-east-1")
    await stage.moved_off("sa-east-1")
    await stage.follows()
    before = await stage.weights()
    seen = [before]

    async def at_work() -> bool:
        seen.append(await stage.weights())
        fleet = (await stage.api("/api/v1/fleet"))["clients"]
        taken = [client for client in fleet if all(kind["acked"] for kind in client["types"].values())]
        return len(taken) == len(before) and (await stage.verdicts())["sa-east-1"] == "down"

    async with stage.load() as load:
        await stage.sent(load, 200)
        await stage.fault(f"kill:{CONTROL_PLANE}")
        await stage.fault(f"restore:{CONTROL_PLANE}")
        await stage.until("the new process serves every Envoy and has evidence of its own", at_work)
        await stage.sent(load, 200)
    assert_lost(load, at_least=400, plain_writes=0)
    assert [weights for weights in seen if weights != before] == []
