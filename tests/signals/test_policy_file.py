"""The policy file on a real disk, changed in every way people and platforms change files."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.signals.world import in_loop, until
from xds_server.signals.policy_file import (
    MAX_BYTES,
    Found,
    PolicyText,
    PolicyUnreadable,
    read_stamped,
)
from xds_server.signals.watch import Watch, look

INTERVAL_S = 0.02


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[list[Found]]:
    seen: list[Found] = []
    watch = Watch(lambda: look(path), lambda: read_stamped(path), seen.append, INTERVAL_S)
    task = asyncio.get_running_loop().create_task(watch.run())
    try:
        await until(lambda: seen)
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def texts(seen: list[Found]) -> list[bytes | str]:
    return [found.text if isinstance(found, PolicyText) else found.reason for found in seen]


def replace_by_rename(path: Path, text: bytes) -> None:
    beside = path.with_suffix(".swp")
    beside.write_bytes(text)
    beside.rename(path)


@in_loop
async def test_the_text_comes_at_once_and_again_after_a_write_in_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"one")
    async with watching(path) as seen:
        path.write_bytes(b"two")  # same size, same inode
        await until(lambda: len(seen) == 2)
        assert seen == [PolicyText(str(path), b"one"), PolicyText(str(path), b"two")]


@in_loop
async def test_an_editors_rename_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"one")
    async with watching(path) as seen:
        replace_by_rename(path, b"two")
        await until(lambda: len(seen) == 2)
        assert texts(seen) == [b"one", b"two"]


@in_loop
async def test_a_configmap_swap_of_a_directory_link_is_a_change(tmp_path: Path) -> None:
    """Kubelet: policy.yaml -> ..data/policy.yaml, and ..data -> a dated directory, replaced by rename."""
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "policy.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..one")
    path = tmp_path / "policy.yaml"
    path.symlink_to("..data/policy.yaml")
    async with watching(path) as seen:
        (tmp_path / "..data_tmp").symlink_to("..two")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await until(lambda: len(seen) == 2)
        assert seen[1] == PolicyText(str(path), b"two")


@in_loop
async def test_a_file_that_is_deleted_and_comes_back_is_told_each_time(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"one")
    async with watching(path) as seen:
        path.unlink()
        await until(lambda: len(seen) == 2)
        path.write_bytes(b"one")
        await until(lambda: len(seen) == 3)
        assert texts(seen) == [b"one", "no such file or directory", b"one"]


@in_loop
async def test_a_file_that_is_not_there_yet_is_said_to_be_missing_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "not-yet" / "policy.yaml"
    async with watching(path) as seen:
        assert seen == [PolicyUnreadable(str(path), "no such file or directory")]
        path.parent.mkdir()
        path.write_bytes(b"one")
        await until(lambda: len(seen) == 2)
        assert texts(seen)[1] == b"one"


@in_loop
async def test_a_new_date_or_a_new_file_with_the_old_content_is_no_change(tmp_path: Path) -> None:
    path, clock = tmp_path / "policy.yaml", tmp_path / "clock"
    path.write_bytes(b"one")
    clock.write_bytes(b"0")
    async with watching(path) as seen, watching(clock) as ticks:
        os.utime(path)
        await several_looks(clock, ticks)
        replace_by_rename(path, b"one")
        await several_looks(clock, ticks)
        assert texts(seen) == [b"one"]


async def several_looks(clock: Path, ticks: list[Found]) -> None:
    """Wait until a second file's changes were seen three times: the first file was looked at as often."""
    for _ in range(3):
        before = len(ticks)
        clock.write_bytes(str(before).encode())  # noqa: ASYNC240
        await until(functools.partial(_longer, ticks, before))


def _longer(ticks: list[Found], before: int) -> bool:
    return len(ticks) > before


@in_loop
async def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"one")
    async with watching(path) as seen:
        with path.open("wb", buffering=0) as file:
            for _ in range(200):
                file.write(b"x")
                await asyncio.sleep(INTERVAL_S / 20)
        await until(lambda: len(seen) >= 2)
        await until(lambda: texts(seen)[-1] == b"x" * 200)
        assert len(seen) <= 3, "seen half written again and again"


@in_loop
async def test_a_file_without_permission_is_unreadable_until_it_has_some(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"one")
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        tmp_path.chmod(0o755)  # noqa: ASYNC240
        os.seteuid(65534)  # root reads everything: be nobody for a while
    try:
        async with watching(path) as seen:
            assert seen == [PolicyUnreadable(str(path), "permission denied")]
            os.seteuid(me)
            path.chmod(0o644)
            await until(lambda: len(seen) == 2)
            assert texts(seen)[1] == b"one"
    finally:
        os.seteuid(me)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    reasons = {name: read_stamped(tmp_path / name)[0] for name in ("pipe", ".", "loop")}
    assert {name: isinstance(found, PolicyUnreadable) and found.reason for name, found in reasons.items()} == {
        "pipe": "not a regular file",
        ".": "not a regular file",
        "loop": "a loop of symbolic links",
    }


def test_no_more_is_read_than_shows_that_it_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with path.open("wb") as file:
        file.truncate(10 * MAX_BYTES)
    found, _ = read_stamped(path)
    assert isinstance(found, PolicyText)
    assert len(found.text) == MAX_BYTES + 1
