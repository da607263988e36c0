"""Orders on a running fleet, given by the real command: what moves, what is lost, what a restart remembers."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.envoy.stage import Stage, on_stage
from tests.envoy.test_faults import EDITS, assert_lost
from xds_server.demo.topology import CONTROL_PLANE

pytestmark = pytest.mark.envoy


async def command(stage: Stage, *words: str) -> tuple[int, str]:
    """Run the program on this stage's process; return its exit code and what it printed."""
    admin = f"127.0.0.1:{stage.site.topology.admin_port}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xds_server", *words, "--admin", admin),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@on_stage
async def test_a_region_is_left_and_restored_by_command_and_nothing_is_lost(stage: Stage) -> None:
    before = await stage.all_stats(*EDITS)
    async with stage.load() as load:
        await stage.sent(load, 200)
        code, said = await command(
            stage, "evacuate", "us-east-1", "--reason", "test", "--over", "3s", "--yes", "--force", "--no-wait"
        )
        assert code == 0, said
        await stage.moved_off("us-east-1")
        await stage.until("it is said to be off", lambda: phase_is(stage, "moved"))
        # What is in force outlives the process, and nothing moves meanwhile.
        await stage.fault(f"kill:{CONTROL_PLANE}")
        await stage.sent(load, 200)
        await stage.fault(f"restore:{CONTROL_PLANE}")
        await stage.until("the order is in force again", lambda: phase_is(stage, "moved"))
        assert not any(row.get("us-east-1") for row in (await stage.weights()).values())
        assert (await stage.verdicts())["us-east-1"] == "draining"
        code, said = await command(stage, "restore", "us-east-1", "--yes")
        assert code == 0, said
        assert said.splitlines()[-1] == "back"
        await stage.sent(load, 200)
    assert_lost(load, at_least=600, plain_writes=0)
    assert await stage.all_stats(*EDITS) == before


async def phase_is(stage: Stage, phase: str) -> bool:
    return [one["phase"] for one in (await stage.api("/api/v1/orders"))["orders"]] == [phase]
