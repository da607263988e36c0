"""Signals of real Envoys: every request counts once, under the region that served it; watchers see what is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.signals.fleet import AWAY, HOME, Scene, fleet
from tests.signals.world import http_answer, in_loop, until
from xds_server.model import AccessSummary, LoadReport

pytestmark = pytest.mark.envoy

OK = http_answer("200 OK")
SLOW_MS = 40.0


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        await asyncio.sleep(SLOW_MS / 1000)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


class Moody:
    """An answer whose status changes also for connections that are open."""

    status = "200 OK"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\n\r\n".encode())


async def reporting(scene: Scene) -> None:
    """Wait until load reports have begun: what came before is not counted, Envoy says."""
    await until(lambda: scene.signals.status()[0].messages >= 2)


@in_loop
async def test_load_reports_count_every_request_once(tmp_path: Path) -> None:
    async with fleet(tmp_path, OK, OK) as scene:
        sidecar = await scene.sidecar()
        await reporting(scene)
        assert {await sidecar.get() for _ in range(250)} == {200}
        await until(lambda: sum(load.succeeded for load in scene.loads(HOME)) >= 250)
        quiet = len(scene.loads(HOME)) + 2
        await until(lambda: len(scene.loads(HOME)) >= quiet)
    loads = scene.loads(HOME)
    assert sum(load.issued for load in loads) == sum(load.succeeded for load in loads) == 250
    assert sum(load.failed + load.reflex + load.dropped for load in loads) == 0
    assert {(load.service, load.envoys) for load in loads} == {("checkout", 1)}
    assert loads[-1].issued == 0, "no traffic is reported as such"
    assert scene.loads(AWAY) == []


@in_loop
async def test_what_priority_1_serves_counts_for_the_region_that_served_it(tmp_path: Path) -> None:
    async with fleet(tmp_path, hangs_up, OK) as scene:
        sidecar = await scene.sidecar()
        await reporting(scene)
        assert {await sidecar.get() for _ in range(40)} == {200}
        await until(lambda: sum(load.succeeded for load in scene.loads(AWAY)) >= 40)
        await until(lambda: scene.loads(HOME))
    home, away = scene.loads(HOME), scene.loads(AWAY)
    assert sum(load.succeeded for load in home) == 0
    assert sum(load.failed for load in home) > 0
    assert sum(load.reflex for load in away) == sum(load.issued for load in away) == 40
    assert sum(load.reflex for load in home) == 0


@in_loop
async def test_requests_under_way_are_a_level(tmp_path: Path) -> None:
    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()

    async with fleet(tmp_path, waits, waits) as scene:
        sidecar = await scene.sidecar()
        await reporting(scene)
        pending = [asyncio.create_task(sidecar.get("POST")) for _ in range(20)]  # reads are soon tried elsewhere
        await until(lambda: any(17 <= load.in_progress <= 23 for load in scene.loads(HOME)))
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


@in_loop
async def test_watchers_report_from_their_own_vantage_until_told_to_stop(tmp_path: Path) -> None:
    moody = Moody()
    async with fleet(tmp_path, OK, moody) as scene:
        await scene.sidecar("here")
        await scene.sidecar("there", AWAY)
        await until(lambda: scene.looks("here") and scene.looks("there"))
        assert {(seen.target, seen.healthy, seen.view) for seen in scene.looks("here")} == {
            (scene.target(AWAY), True, HOME)
        }
        assert {seen.target for seen in scene.looks("there")} == {scene.target(HOME)}
        moody.status = "503 Service Unavailable"
        await until(lambda: not scene.looks("here")[-1].healthy)
        assert scene.looks("here")[-1].detail == "Envoy's probe failed"
        moody.status = "200 OK"
        await until(lambda: scene.looks("here")[-1].healthy)
        scene.signals.set_targets({})
        await until(lambda: not scene.signals.watching)
        told = len(scene.looks("here"))
        served = scene.backends[AWAY].connections
        scene.watch()
        await until(lambda: len(scene.looks("here")) > told + 2)
        assert all(seen.healthy for seen in scene.looks("here")[told:])
        assert scene.backends[AWAY].connections > served, "it had let go of the endpoint"


@in_loop
async def test_a_dead_endpoint_is_reported_dead_and_never_before_a_probe_could_end(tmp_path: Path) -> None:
    async with fleet(tmp_path, OK, hangs_up) as scene:
        await scene.sidecar("here")
        await until(lambda: scene.looks("here"))
    assert {seen.healthy for seen in scene.looks("here")} == {False}


@in_loop
async def test_a_watcher_that_leaves_is_replaced(tmp_path: Path) -> None:
    async with fleet(tmp_path, OK, OK) as scene:
        sidecars = {name: await scene.sidecar(name) for name in ("a", "b", "c", "d")}
        await until(lambda: len(scene.signals.watching) == 3)
        first = set(scene.signals.watching)
        (spare,) = sidecars.keys() - first
        await sidecars[min(first)].stop()
        await until(lambda: spare in scene.signals.watching)
        assert set(scene.signals.watching) == (first | {spare}) - {min(first)}
        await until(lambda: scene.looks(spare))


@in_loop
async def test_access_logs_say_what_clients_got_and_how_fast(tmp_path: Path) -> None:
    async with fleet(tmp_path, slow, OK) as scene:
        sidecar = await scene.sidecar()
        assert {await sidecar.get() for _ in range(50)} == {200}
        await until(lambda: sum(access.requests for access in scene.accesses(HOME)) >= 50)
    found = scene.accesses(HOME)
    assert sum(access.requests for access in found) == sum(access.statuses[2] for access in found) == 50
    assert sum(access.failed + access.unserved for access in found) == 0
    assert all(SLOW_MS <= access.p50_ms <= access.p90_ms <= access.p99_ms < 4 * SLOW_MS for access in found)
    assert {access.attempts for access in found} == {1.0}


@in_loop
async def test_access_logs_name_the_region_that_answered_and_the_tries_it_took(tmp_path: Path) -> None:
    async with fleet(tmp_path, hangs_up, OK) as scene:
        sidecar = await scene.sidecar()
        assert {await sidecar.get() for _ in range(20)} == {200}
        await until(lambda: sum(access.requests for access in scene.accesses(AWAY)) >= 20)
    assert scene.accesses(HOME) == []
    assert any(access.attempts > 1 for access in scene.accesses(AWAY))


@in_loop
async def test_a_failed_request_is_logged_however_small_the_sample(tmp_path: Path) -> None:
    failing = http_answer("500 Internal Server Error")
    async with fleet(tmp_path, failing, failing, share=0.000_001) as scene:
        sidecar = await scene.sidecar()
        assert {await sidecar.get() for _ in range(20)} == {500}
        await until(lambda: sum(access.failed for access in scene.of(AccessSummary)) >= 20)
    assert sum(access.requests for access in scene.of(AccessSummary)) == 20


@in_loop
async def test_an_envoy_whose_bootstrap_says_no_keeps_silent(tmp_path: Path) -> None:
    async with fleet(tmp_path, http_answer("500 Internal Server Error"), OK) as scene:
        silent = await scene.sidecar("silent", load_reports=False, health_checks=False, access_logs=False)
        await silent.get()
        speaking = await scene.sidecar("speaking")
        await reporting(scene)
        await speaking.get()
        await until(lambda: scene.of(AccessSummary) and any(load.issued for load in scene.of(LoadReport)))
        await until(lambda: scene.looks("speaking"))
        streams = {status.source: status.streams for status in scene.signals.status()}
        assert streams == {"lrs": 1, "hds": 1, "als": 1, "agents": 0}
        assert await silent.stat("access_logs.grpc_access_log.logs_written") == 0
        assert await speaking.stat("access_logs.grpc_access_log.logs_written") == 1


@in_loop
async def test_a_fleet_that_logs_nothing_needs_no_logger(tmp_path: Path) -> None:
    async with fleet(tmp_path, OK, OK, share=0.0) as scene:
        sidecar = await scene.sidecar()
        assert await sidecar.get() == 200
        assert "access_log" not in str(await sidecar.json("/config_dump?resource=dynamic_listeners"))


@in_loop
async def test_an_envoy_without_a_place_is_turned_away(tmp_path: Path) -> None:
    async with fleet(tmp_path, OK, OK) as scene:
        sidecar = await scene.sidecar()
        await until(lambda: scene.signals.status()[0].streams == 1)
        stray = asyncio.create_task(scene.sidecar("stray", "mars"))
        await until((tmp_path / "stray" / "log").exists)
        await until(lambda: "the policy has no place for this node" in (tmp_path / "stray" / "log").read_text())
        stray.cancel()
        await asyncio.gather(stray, return_exceptions=True)
        assert await sidecar.get() == 200
        assert scene.signals.status()[0].streams == 1
