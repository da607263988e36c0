"""Whatever moment the process or the power goes: opening works, and nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.store.world import MEMORY, Directory
from xds_server.store.state import KeptPolicy

ROUNDS = 15
WRITER = """
import asyncio, json, sys
from pathlib import Path
from xds_server.store.directory import StateDirectory
from xds_server.store.state import KeptPolicy, State

async def write(first):
    with StateDirectory(Path(sys.argv[1]), print) as held, State(held, lambda: 1.0) as state:
        for number in range(first, first + 1_000_000):
            document = json.dumps({"version": number, "orders": ["x" * (number % 7 * 1000)]})
            noise = asyncio.to_thread(state.save, {"n": number}, KeptPolicy(b"%d" % number))
            await asyncio.gather(state.save_orders(document), noise)
            print(number, flush=True)

asyncio.run(write(int(sys.argv[2])))
"""


def test_killed_in_a_loop_no_acknowledged_order_is_lost(tmp_path: Path) -> None:
    rng = random.Random(5)
    directory = Directory(tmp_path / "state")
    acknowledged = 0
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", WRITER, str(directory.path), str(acknowledged + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(rng.randint(1, 40)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout:  # what was acknowledged before the kill arrived
                acknowledged = int(line)
        with directory.open() as state:
            saved = json.loads(state.load_orders() or "{}")
            assert saved["version"] >= acknowledged
            acknowledged = saved["version"]
            assert (state.load_memory() or {}).keys() == {"n"}
            assert state.policy() is not None
    assert directory.reported == []


def test_a_log_that_is_cut_anywhere_is_an_earlier_state(tmp_path: Path) -> None:
    """A disk that loses the end of what was written last: each transaction is there whole or not at all."""
    directory = Directory(tmp_path / "state")
    with directory.open() as state:
        for number in range(6):
            state.save({"n": number, **MEMORY}, KeptPolicy(b"%d" % number))
        files = {path.name: path.read_bytes() for path in directory.path.iterdir()}
    log = files["state.db-wal"]
    seen = set()
    for cut in [*range(0, len(log), 1_500), len(log)]:
        shutil.rmtree(directory.path)
        directory.path.mkdir()
        (directory.path / "state.db").write_bytes(files["state.db"])
        (directory.path / "state.db-wal").write_bytes(log[:cut])
        with directory.open() as state:
            memory, policy = state.load_memory(), state.policy()
        number = -1 if memory is None else memory["n"]
        assert (b"-1" if policy is None else policy.text) == b"%d" % number
        seen.add(number)
    assert seen == set(range(-1, 6))
    assert directory.reported == []
