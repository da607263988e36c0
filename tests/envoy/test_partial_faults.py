"""A cut link and a slow region on the real Envoy: what is wrong for one view, or in part, moves that and no more."""

from __future__ import annotations

import re

import pytest

from tests.envoy.stage import Stage, Weights, near, on_stage
from tests.envoy.test_faults import assert_lost
from xds_server.demo.topology import CONTROL_PLANE

pytestmark = pytest.mark.envoy


def without(weights: Weights, view: str) -> Weights:
    return {other: row for other, row in weights.items() if other != view}


@on_stage
async def test_a_cut_link_moves_the_view_that_it_cuts_off_and_nobody_else(stage: Stage) -> None:
    """us-east-1 has more than it can serve, so it sends a part to eu-west-1, and does not reach it any more.

    The control plane restarts meanwhile: its own probes reach eu-west-1, and of us-east-1 there is no word at first.
    """
    view, region = "us-east-1", "eu-west-1"
    stage.edit_policy(("capacity: 275}", "capacity: 100}"))
    await stage.follows()
    before = await stage.weights()
    assert before[view][region] > 1_000
    shares: list[int] = []

    async def left() -> bool:
        return not (await stage.weights())[view].get(region, 0)

    async def at_work() -> bool:
        shares.append((await stage.weights())[view].get(region, 0))
        fleet = (await stage.api("/api/v1/fleet"))["clients"]
        taken = [client for client in fleet if all(kind["acked"] for kind in client["types"].values())]
        return len(taken) == len(before) and set((await stage.verdicts()).values()) == {"healthy"}

    async def back() -> bool:
        shares.append((await stage.weights())[view].get(region, 0))
        return near(await stage.weights(), before) and abs(shares[-1] - before[view][region]) < 500

    async with stage.load() as load:
        await stage.sent(load, 500)
        await stage.fault(f"cut:{view}:{region}")
        await stage.until("the view has left", left)
        await stage.sent(load, 500)
        assert near(without(await stage.weights(), view), without(before, view))
        assert set((await stage.verdicts()).values()) == {"healthy"}
        events = (await stage.api("/api/v1/events?limit=200"))["events"]
        cuts = [event["fields"] for event in events if event["kind"] == "link.cut"]
        assert {(cut["view"], cut["region"]) for cut in cuts} == {(view, region)}
        await stage.fault(f"kill:{CONTROL_PLANE}")
        await stage.fault(f"restore:{CONTROL_PLANE}")
        await stage.until("the new process serves every Envoy and has evidence of its own", at_work)
        await stage.sent(load, 250)
        await at_work()
        assert set(shares) == {0}, "it stays away until it has reached it"
        alarms = (await stage.api("/api/v1/status"))["alarms"]
        assert [alarm["kind"] for alarm in alarms] == ["link.cut"]
        await stage.fault(f"restore:{region}")
        await stage.until("the view has its share back", back)
    assert_lost(load, at_least=1_000, plain_writes=stage.plain_writes({view: before[view]}, region, 5.0))
    assert len(set(shares)) >= 4, "its share came back in steps"


@on_stage
async def test_a_region_five_times_slower_keeps_a_part_of_its_share(stage: Stage) -> None:
    """What is normal is made 100 ms, so that a busy machine's own pauses are small beside it."""
    slow = "us-east-1"
    before = (await stage.weights())[slow][slow]
    seen: list[dict[str, str]] = []

    async def judged() -> bool:
        seen.append(await stage.verdicts())
        return seen[-1][slow] == "degraded" and (await stage.weights())[slow][slow] < before

    stage.edit_policy(("timeout: 500ms", "timeout: 1s"))
    await stage.forget()
    await stage.fault(f"slow:100:{slow}")
    async with stage.load() as load:
        await stage.sent(load, 5_500)  # so many tell what is normal
        await stage.fault(f"slow:500:{slow}")
        await stage.until("the slow region has lost some of its share", judged)
        await stage.sent(load, 500)
        found = next(r for r in (await stage.api("/api/v1/decision"))["regions"] if r["region"] == slow)
        after = (await stage.weights())[slow][slow]
    assert_lost(load, at_least=6_000, plain_writes=0)
    limit = re.search(r"limited to (\d+)% of its share: p99 is", found["reason"])
    assert limit, found
    assert 10 <= int(limit[1]) <= 50, found
    assert 0 < after < 0.7 * before
    assert {health for verdicts in seen for region, health in verdicts.items() if region != slow} == {"healthy"}
