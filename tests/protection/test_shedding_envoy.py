"""What a real Envoy refuses in an overload: the right class, the right share, without asking or tiring any backend."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.protection.scene import becomes, decide, publish, sent
from tests.signals.fleet import AWAY, HOME, LIMIT_S, Scene, Sidecar, fleet
from tests.signals.world import http_answer, in_loop, until
from tests.support import decisions as made
from xds_server.model import TOTAL_WEIGHT, Shed, ShedClass
from xds_server.policy.types import Overload, OverloadMode, TrafficClass

pytestmark = pytest.mark.envoy

BATCH = TrafficClass("batch", (("x-class", "batch"),), 0.5)
OVERLOAD = Overload(OverloadMode.SHED, 7_000, (BATCH,))
REQUESTS = 2_000


def refusing(scene: Scene, shed: Shed | None, overload: Overload = OVERLOAD) -> None:
    checkout = replace(scene.policy.services["checkout"], overload=overload)
    scene.policy = replace(scene.policy, services={"checkout": checkout})
    shares = {HOME: 60, AWAY: 40}
    publish(scene, decide(scene, shares, made.protection(), shed=(shed,) * len(made.REGIONS) if shed else ()))


async def routes_become(sidecar: Sidecar, names: list[str]) -> None:
    def has(dump: dict[str, object]) -> bool:
        return all(name in str(dump) for name in names) and ("shed" in str(dump)) == bool(names)

    await becomes(sidecar, "/config_dump?resource=dynamic_route_configs", has)


@in_loop
async def test_a_class_is_refused_at_its_share_and_the_rest_keeps_its_weights(tmp_path: Path) -> None:
    async with fleet(tmp_path, http_answer("200 OK", b"home"), http_answer("200 OK", b"away")) as scene:
        refusing(scene, Shed(20, (ShedClass("batch", 40),), ""))
        sidecar = await scene.sidecar()
        batch = await sent(sidecar, REQUESTS, {"x-class": "batch"})
        others = await sent(sidecar, REQUESTS // 4, {})
        assert others.total() == others[200, "home", None] + others[200, "away", None]
        assert batch.keys() == {(200, "home", None), (200, "away", None), (503, "", "7")}
        refused, home = batch[503, "", "7"], batch[200, "home", None]
        assert abs(refused / REQUESTS - 0.4) < 0.06, batch
        assert abs(home / (REQUESTS - refused) - 0.6) < 0.06, "one random number for both must not tilt the weights"
        assert await retries(sidecar) == 0
        await until(lambda: sum(a.requests for a in scene.accesses(HOME) + scene.accesses(AWAY)) >= others.total())
        assert unknown_entries(scene) == 0
        refusing(scene, None)
        await routes_become(sidecar, [])
        assert {status for status, *_ in await sent(sidecar, 100, {"x-class": "batch"})} == {200}


@in_loop
async def test_without_classes_assignments_drop_and_load_reports_count_it(tmp_path: Path) -> None:
    plain = replace(OVERLOAD, classes=())
    async with fleet(tmp_path, http_answer("200 OK", b"home"), http_answer("200 OK", b"away")) as scene:
        refusing(scene, None, plain)
        sidecar = await scene.sidecar()
        await until(lambda: scene.signals.status()[0].messages >= 2)
        await sent(sidecar, 100, {})
        refusing(scene, Shed(90, (), ""), plain)
        await refuses_about(sidecar, 0.9)
        refusing(scene, Shed(30, (), ""), plain)
        found = await refuses_about(sidecar, 0.3)
        refused = found[503, "", None]
        assert abs(refused / REQUESTS - 0.3) < 0.06, found
        assert abs(found[200, "home", None] / (REQUESTS - refused) - 0.6) < 0.06
        assert await retries(sidecar) == 0
        await until(lambda: sum(load.dropped for load in scene.loads(HOME) + scene.loads(AWAY)) >= refused)
        assert unknown_entries(scene) == 0
        assert await sidecar.stat("cluster_manager.cluster_modified") == 0
        assert await sidecar.stat(f"cluster.checkout@{HOME}.upstream_cx_destroy_local") == 0


async def refuses_about(sidecar: Sidecar, share: float) -> Counter[tuple[int, str, str | None]]:
    """Send many requests, again until the Envoy has the share; return what became of them."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = await sent(sidecar, 50, {})
            if abs(found[503, "", None] / 50 - share) < 0.25:
                return await sent(sidecar, REQUESTS, {})


def unknown_entries(scene: Scene) -> int:
    """Return how many access log entries were taken for strangers."""
    return {status.source: status.ignored for status in scene.signals.status()}["als"]


async def retries(sidecar: Sidecar) -> int:
    return sum([await sidecar.stat(f"cluster.checkout@{region}.upstream_rq_retry") for region in (HOME, AWAY)])


@in_loop
async def test_a_half_open_region_gets_reads_and_no_plain_write_and_loses_none(tmp_path: Path) -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with fleet(tmp_path, http_answer("200 OK", b"home"), refuses) as scene:
        trickle = made.row({HOME: 90, AWAY: 10})
        decided = decide(scene, {HOME: 1}, made.protection(), half_open=(trickle,) * len(made.REGIONS))
        assert decided.services[0].weights[0][made.REGIONS.index(HOME)] == TOTAL_WEIGHT
        publish(scene, decided)
        sidecar = await scene.sidecar()
        assert await sent(sidecar, 300, {}, "POST") == {(200, "home", None): 300}
        assert await sidecar.stat(f"cluster.checkout@{AWAY}.upstream_rq_total") == 0
        assert await sent(sidecar, 300, {}, "GET") == {(200, "home", None): 300}
        assert await sidecar.stat(f"cluster.checkout@{AWAY}.upstream_rq_total") > 10
