"""Which policy a process starts with: the file's, or the one before if the file's has not passed its trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.world import Directory
from xds_server.policy.parse import parse
from xds_server.process.startup import First, Options, StartError, first_policy, kept_memory
from xds_server.step import Memory
from xds_server.store.codec import to_json
from xds_server.store.state import KeptPolicy

TEXT = """
version: 1
regions: {east: {}}
services:
  shop:
    deployments:
      east: {endpoints: ["127.0.0.1:80"], capacity: CAPACITY}
"""


def text(capacity: int) -> bytes:
    return TEXT.replace("CAPACITY", str(capacity)).encode()


def digest(capacity: int) -> str:
    return parse(text(capacity), "").policy.digest


class World:
    """A policy file and a state directory."""

    def __init__(self, path: Path) -> None:
        self.file = path / "policy.yaml"
        self.options = Options(self.file, ("127.0.0.1", 0), ("127.0.0.1", 0), path / "state", "info", "text")
        self.directory = Directory(path / "state")

    def left(self, *, in_force: int | None = 1, trial: str = "", refused: str = "") -> None:
        """Have an earlier process leave this behind."""
        with self.directory.open() as state:
            policy = KeptPolicy(text(in_force), (), digest(in_force)) if in_force is not None else None
            state.save(to_json(Memory(trial=trial), 0.0), policy)
            state.save_refusal(refused, "rejected by e1: cannot bind")

    def starts(self) -> First:
        with self.directory.open() as state:
            memory = kept_memory(state)
            return first_policy(self.options, state, memory.trial if memory is not None else "")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.file.write_bytes(text(2))
    return made


def test_what_the_file_says_is_in_force_also_if_it_was_edited_meanwhile(world: World) -> None:
    assert world.starts().policy.policy.digest == digest(2)
    world.left()
    first = world.starts()
    assert (first.policy.policy.digest, first.trial, first.refused, first.lost) == (digest(2), None, None, "")


def test_what_was_on_trial_goes_on_trial_and_the_one_before_is_in_force(world: World) -> None:
    world.left(trial=digest(2))
    first = world.starts()
    assert first.trial is not None
    assert (first.policy.policy.digest, first.trial.policy.digest) == (digest(1), digest(2))


def test_what_was_rolled_back_and_then_tried_again_by_order_is_tried_again(world: World) -> None:
    world.left(trial=digest(2), refused=digest(2))
    assert world.starts().trial is not None
    world.left(refused=digest(2))
    first = world.starts()
    assert first.trial is None
    assert (first.refused is not None, first.reason) == (True, "rejected by e1: cannot bind")


@pytest.mark.parametrize(("left", "words"), [("trial", "was on trial"), ("refused", "had been rolled back")])
def test_without_the_one_before_it_is_in_force_and_that_is_said(world: World, left: str, words: str) -> None:
    world.left(in_force=None, **{left: digest(2)})
    first = world.starts()
    assert (first.policy.policy.digest, first.trial, first.refused, first.lost) == (digest(2), None, None, words)


def test_a_trial_of_what_the_file_no_longer_says_is_over(world: World) -> None:
    world.left(trial=digest(3))
    first = world.starts()
    assert (first.policy.policy.digest, first.trial) == (digest(2), None)


def test_a_damaged_memory_is_reported_and_the_file_is_in_force(world: World) -> None:
    with world.directory.open() as state:
        state.save({"trial": digest(2)}, KeptPolicy(text(1), (), digest(1)))
    assert world.starts().policy.policy.digest == digest(2)
    assert "the memory is corrupt" in world.directory.reported[0]


def test_a_damaged_file_of_state_is_reported_and_the_policy_file_is_in_force(world: World) -> None:
    world.left(trial=digest(2))
    (world.directory.path / "state.db").write_bytes(b"no database" * 1000)
    assert world.starts().policy.policy.digest == digest(2)
    assert "corrupt" in world.directory.reported[0]


def test_a_file_that_is_none_leaves_the_one_before_in_force(world: World) -> None:
    world.file.write_text("version: 7")
    with pytest.raises(StartError, match="no earlier one to go on with"):
        world.starts()
    world.left(trial=digest(2))
    first = world.starts()
    assert (first.policy.policy.digest, first.trial) == (digest(1), None)
