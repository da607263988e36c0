"""A policy and the certificates that its services name: read as one, followed as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.signals.world import in_loop, until
from tests.support.certificates import Authority, replace
from xds_server.signals.policy_reader import Accepted, PolicyReader, Reading, Rejected, read_now

POLICY = """
version: 1
regions: {us-east-1: }
services:
  shop:
    tls: {ca: tls/ca.pem, certificate: tls/client.pem, key: tls/client.key}
    deployments: {us-east-1: {endpoints: ["shop.example:443"], capacity: 1}}
"""


class Place:
    """A policy in a folder, with its certificates beside it."""

    def __init__(self, directory: Path) -> None:
        self.policy = directory / "policy.yaml"
        self.policy.write_text(POLICY)
        self.tls = directory / "tls"
        self.tls.mkdir()
        self.authority = Authority(self.tls, "ca")
        self.client = self.authority.issue("client", "client.example")


@asynccontextmanager
async def reading(place: Place) -> AsyncIterator[list[Reading]]:
    seen: list[Reading] = []
    task = asyncio.get_running_loop().create_task(PolicyReader(place.policy, seen.append, None, 0.02).run())
    try:
        await until(lambda: seen)
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_paths_are_relative_to_the_policy(tmp_path: Path) -> None:
    place = Place(tmp_path)
    found = read_now(place.policy)
    assert isinstance(found, Accepted)
    assert [(own.name, own.fleets) for own in found.policy.own] == [
        ("shop/ca", ("default",)),
        ("shop/certificate", ("default",)),
    ]
    assert found.tls["shop"].ca == place.authority.pem
    assert "PRIVATE" not in repr(found)


def test_a_bad_file_is_an_error_of_the_policy(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.client.key.unlink()
    found = read_now(place.policy)
    assert isinstance(found, Rejected)
    assert found.errors == (f"{place.policy}: services.shop.tls: {place.client.key}: no such file",)


@in_loop
async def test_each_rotation_is_one_new_policy_and_each_bad_state_one_error(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with reading(place) as seen:
        first = seen[0]
        assert isinstance(first, Accepted)
        replace(place.tls / "ca.pem", Authority(tmp_path, "new").pem)
        await until(lambda: len(seen) == 2)
        second = seen[1]
        assert isinstance(second, Accepted)
        assert second.policy.digest != first.policy.digest
        good = place.client.key.read_bytes()
        replace(place.client.key, b"")
        await until(lambda: len(seen) == 3)
        assert isinstance(seen[2], Rejected)
        replace(place.client.key, good)
        await until(lambda: len(seen) == 4)
        last = seen[3]
        assert isinstance(last, Accepted)
        assert last.policy.digest == second.policy.digest


@in_loop
async def test_files_that_were_bad_from_the_start_are_followed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    good = place.client.key.read_bytes()
    place.client.key.unlink()
    async with reading(place) as seen:
        assert isinstance(seen[0], Rejected)
        replace(place.client.key, good)
        await until(lambda: len(seen) == 2)
        assert isinstance(seen[1], Accepted)
