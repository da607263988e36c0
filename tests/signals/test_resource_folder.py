"""A folder of own resources on a real disk, and the policy beside it: changed in every way folders are changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.signals.world import in_loop, until
from xds_server.signals.policy_file import PolicyText, PolicyUnreadable
from xds_server.signals.policy_reader import Accepted, PolicyReader, Reading, Rejected, read_now
from xds_server.signals.resource_folder import MAX_FILES, FolderTexts, read_folder

INTERVAL_S = 0.02
POLICY = """
version: 1
regions: {us-east-1: {latency: {eu-west-1: 80ms}}, eu-west-1: {}}
services:
  checkout:
    deployments:
      us-east-1: {endpoints: ["10.0.0.1:80"], capacity: 100}
      eu-west-1: {endpoints: ["10.0.0.2:80"], capacity: 100}
"""


def cluster(name: str) -> str:
    return f'resources: [{{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: {name}}}]\n'


def aggregate(name: str, of: str) -> str:
    """A cluster that refers to another."""
    kind = '"@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig'
    config = f"cluster_type: {{name: a, typed_config: {{{kind}, clusters: [{of}]}}}}, lb_policy: CLUSTER_PROVIDED"
    return f'resources: [{{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: {name}, {config}}}]\n'


@asynccontextmanager
async def reading(directory: Path, interval_s: float = INTERVAL_S) -> AsyncIterator[list[Reading]]:
    seen: list[Reading] = []
    policy, folder = directory / "policy.yaml", directory / "own"
    policy.write_text(POLICY)
    task = asyncio.get_running_loop().create_task(PolicyReader(policy, seen.append, folder, interval_s).run())
    try:
        await until(lambda: seen)
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(found: Reading) -> list[str]:
    assert isinstance(found, Accepted), found
    return [resource.name for resource in found.policy.own]


@in_loop
async def test_files_that_come_change_are_renamed_and_go_are_followed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    async with reading(tmp_path) as seen:
        assert names(seen[0]) == []
        (own / "a.yaml").write_text(cluster("one"))
        await until(lambda: names(seen[-1]) == ["one"])
        (own / "b.yml").write_text(cluster("two"))
        await until(lambda: names(seen[-1]) == ["one", "two"])
        (own / "new").write_text(cluster("three"))
        (own / "new").replace(own / "a.yaml")
        await until(lambda: names(seen[-1]) == ["three", "two"])
        (own / "b.yml").rename(own / "b.off")
        await until(lambda: names(seen[-1]) == ["three"])
        (own / "a.yaml").unlink()
        await until(lambda: names(seen[-1]) == [])


@in_loop
async def test_a_mounted_volume_that_swaps_its_link_is_one_change(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for version, word in (("..v1", "one"), ("..v2", "two")):
        (own / version).mkdir(parents=True)
        for name in ("a", "b"):
            (own / version / f"{name}.yaml").write_text(cluster(f"{name}-{word}"))
    (own / "..data").symlink_to("..v1")
    for name in ("a", "b"):
        (own / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    async with reading(tmp_path) as seen:
        assert names(seen[0]) == ["a-one", "b-one"]
        (own / "..new").symlink_to("..v2")
        (own / "..new").replace(own / "..data")
        await until(lambda: len(seen) == 2)
        assert names(seen[1]) == ["a-two", "b-two"]


@in_loop
async def test_policy_and_folder_that_change_together_are_one_change(tmp_path: Path) -> None:
    """A file that needs what the same deployment adds to the policy is not refused for a moment."""
    own = tmp_path / "own"
    own.mkdir()
    async with reading(tmp_path, 0.5) as seen:  # no look falls between the two writes twice
        (own / "a.yaml").write_text(aggregate("a", "search@us-east-1"))
        (tmp_path / "policy.yaml").write_text(POLICY.replace("checkout", "search"))
        await until(lambda: len(seen) == 2)
        assert names(seen[1]) == ["a"]


@in_loop
async def test_a_policy_edit_that_takes_away_what_a_file_names_is_refused_with_that_file(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.yaml").write_text(aggregate("a", "checkout@us-east-1"))
    async with reading(tmp_path) as seen:
        assert names(seen[0]) == ["a"]
        (tmp_path / "policy.yaml").write_text(POLICY.replace("checkout", "search"))
        await until(lambda: len(seen) == 2)
        found = seen[1]
        assert isinstance(found, Rejected)
        assert found.errors[0].startswith(f"{own}/a.yaml:1:")
        assert 'there is no cluster "checkout@us-east-1" in view default/eu-west-1 and 1 more' in found.errors[0]
        (own / "a.yaml").unlink()
        await until(lambda: len(seen) == 3)
        assert names(seen[2]) == []


@in_loop
async def test_a_folder_that_goes_and_comes_back_is_unreadable_meanwhile(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    async with reading(tmp_path) as seen:
        own.rmdir()
        await until(lambda: len(seen) == 2)
        assert seen[1] == Rejected(
            str(tmp_path / "policy.yaml"), (f"{own}: cannot be read: no such file or directory",)
        )
        own.mkdir()
        await until(lambda: len(seen) == 3)
        assert names(seen[2]) == []


def test_what_is_read_and_what_is_not(tmp_path: Path) -> None:
    for name in ("b.json", "a.yaml", ".hidden.yaml", "notes.md", "a.yaml~"):
        (tmp_path / name).write_text(name)
    (tmp_path / "inner").mkdir()
    (tmp_path / "..data").mkdir()
    found, _ = read_folder(tmp_path)
    files = tuple(PolicyText(str(tmp_path / name), name.encode()) for name in ("a.yaml", "b.json"))
    assert found == FolderTexts(str(tmp_path), files, (str(tmp_path / "inner"),))


def test_a_file_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(cluster("a"))
    (tmp_path / "b.yaml").symlink_to("nowhere")
    found, _ = read_folder(tmp_path)
    assert found == PolicyUnreadable(str(tmp_path / "b.yaml"), "no such file or directory")
    (tmp_path / "b.yaml").unlink()
    os.mkfifo(tmp_path / "b.yaml")
    assert read_folder(tmp_path)[0] == PolicyUnreadable(str(tmp_path / "b.yaml"), "not a regular file")


def test_there_is_a_limit_to_the_number_of_files(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()
    assert read_folder(tmp_path)[0] == PolicyUnreadable(str(tmp_path), "1001 files; at most 1000 are read")


def test_a_folder_inside_is_named_in_a_warning(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "own" / "more").mkdir(parents=True)
    found = read_now(tmp_path / "policy.yaml", tmp_path / "own")
    assert isinstance(found, Accepted)
    assert found.warnings == (f"{tmp_path}/own/more: a folder; what is in it is not read, move its files up",)
