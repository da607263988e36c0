"""Edits of the policy file under load: good ones reach every Envoy and lose nothing, bad ones change nothing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import pytest

from tests.envoy.stage import Stage, on_stage
from tests.envoy.test_faults import assert_lost
from tests.envoy.test_reflex import status_of
from xds_server.demo.http1 import fetch
from xds_server.demo.ports import Ports
from xds_server.demo.processes import Child, stop_all
from xds_server.demo.topology import REGIONS

pytestmark = pytest.mark.envoy

ROOM = ("capacity: 25}", "capacity: 250}")
"""sa-east-1 gets room for all of its own view."""

AT_HOME = {"us-east-1": 0, "eu-west-1": 0, "ap-southeast-1": 0, "sa-east-1": 10_000}


@on_stage
async def test_weights_follow_the_policy_and_nothing_is_lost(stage: Stage) -> None:
    assert 0 < (await stage.weights())["sa-east-1"]["us-east-1"] < 10_000
    async with stage.load() as load:
        await stage.sent(load, 200)
        stage.edit_policy(ROOM)
        await stage.follows()
        await stage.sent(load, 300)
        assert (await stage.weights())["sa-east-1"] == AT_HOME
        stage.edit_policy(("eu-west-1: {latency", "eu-west-1: {drain: true, latency"))
        await stage.moved_off("eu-west-1")
        await stage.sent(load, 500)
    assert_lost(load, at_least=1_000, plain_writes=0)


@pytest.fixture
def spare_port() -> Iterator[int]:
    ports = Ports(1, random.Random())
    yield ports.numbers[0]
    ports.close()


def backend_like(child: Child, old: int, new: int) -> Child:
    """Return the same backend on another port."""
    argv = [str(new) if word == str(old) else word for word in child.argv]
    return Child(f"a backend on {new}", argv, child.log.with_name(f"backend-{new}.log"))


@on_stage
async def test_a_service_comes_and_goes_and_an_endpoint_moves_and_nothing_is_lost(
    stage: Stage, spare_port: int
) -> None:
    port = stage.site.topology.backend_ports["us-east-1"][0]
    moved = backend_like(stage.site.backends["us-east-1"][0], port, spare_port)
    text = stage.site.policy.read_text()
    search = (
        f'  search:\n    hosts: [search.demo]\n    deployments:\n      eu-west-1: {{endpoints: ["127.0.0.1:{port}"], '
    )

    async def search_answers(status: int) -> bool:
        return {await status_of(stage, view, "GET", host="search.demo") for view in REGIONS} == {status}

    async def moved_serves() -> bool:
        return '"ok": 0' not in (await fetch(spare_port, "/_control")).body.decode()

    moved.start()
    try:
        async with stage.load() as load:
            await stage.sent(load, 200)
            stage.write_policy(f"{text}{search}capacity: 50}}\n")
            await stage.until("every Envoy serves the new service", lambda: search_answers(200))
            stage.write_policy(text)
            await stage.until("no Envoy serves it any more", lambda: search_answers(404))
            stage.edit_policy((f"127.0.0.1:{port}", f"127.0.0.1:{spare_port}"))
            await stage.until("the moved endpoint serves", moved_serves)
            await stage.sent(load, 500)
            stage.write_policy(text)
            await stage.follows()
            await stage.sent(load, 200)
        assert_lost(load, at_least=900, plain_writes=0)
    finally:
        stop_all([moved])


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
BAD = {
    "empty": ("", "empty"),
    "broken": ("version: 1\nregions: {us-east-1: [", "did not find"),
    "unknown key": ("version: 1\nregionz: {}\n", "regionz"),
    "10 MB": ("#" * 10_000_000, "8 MiB"),
    "alias bomb": (BOMB, "more than 1,000,000 values"),
}


@on_stage
async def test_a_bad_policy_is_shown_as_rejected_and_the_last_good_one_stays_in_force(stage: Stage) -> None:
    policy, text, before = stage.site.policy, stage.site.policy.read_text(), await stage.weights()
    digest = (await stage.api("/api/v1/policy"))["digest"]

    async def rejected() -> str:
        status = await stage.api("/api/v1/policy")
        assert status["digest"] == digest
        return " ".join((status["rejected"] or {"errors": []})["errors"])

    async def shows(word: str) -> bool:
        return word in await rejected()

    async def mended() -> bool:
        return not await rejected()

    async def mend() -> None:
        stage.write_policy(text)
        await stage.until("the mended policy is accepted", mended)

    async with stage.load() as load:
        for name, (bad, word) in BAD.items():
            stage.write_policy(bad)
            await stage.until(f"{name}: rejected with {word!r}", lambda word=word: shows(word))  # type: ignore[misc]
            await mend()
        policy.unlink()
        await stage.until("the missing file is noticed", lambda: shows("no such file"))
        policy.mkdir()
        await stage.until("what is no file is noticed", lambda: shows("not a regular file"))
        policy.rmdir()
        await mend()
    assert await stage.weights() == before
    assert_lost(load, at_least=500, plain_writes=0)


@on_stage
async def test_a_port_that_is_taken_on_one_machine_is_tried_there_and_costs_nothing(stage: Stage) -> None:
    topology, text = stage.site.topology, stage.site.policy.read_text()

    async def rolled_back() -> bool:
        rejected = (await stage.api("/api/v1/policy"))["rejected"]
        return rejected is not None and "rejected by sa-east-1-1: " in rejected["errors"][0]

    stage.edit_policy((f"127.0.0.1:{topology.sidecar_ports['sa-east-1']}", f"127.0.0.1:{topology.admin_port}"))
    await stage.until("the only Envoy that it changes has tried it", rolled_back)
    stage.provoked["listener_manager.lds.update_rejected"] += 1
    assert {await status_of(stage, view, "GET") for view in REGIONS} == {200}
    stage.write_policy(text)
    await stage.follows()


@on_stage
async def test_a_policy_behind_links_is_followed_when_they_are_swapped(stage: Stage) -> None:
    """As Kubernetes does with a ConfigMap: policy.yaml → ..data/policy.yaml, ..data → a new directory."""
    home, text = stage.site.directory / "configmap", stage.site.policy.read_text()
    shutil.rmtree(home, ignore_errors=True)
    for name, content in (("one", text), ("two", text.replace(*ROOM))):
        (home / name).mkdir(parents=True)
        (home / name / "policy.yaml").write_text(content)
    (home / "..data").symlink_to("one")
    stage.site.policy.unlink()
    stage.site.policy.symlink_to(home / "..data" / "policy.yaml")
    await stage.follows()
    (home / "..new").symlink_to("two")
    (home / "..new").replace(home / "..data")
    await stage.follows()
    assert (await stage.weights())["sa-east-1"] == AT_HOME
