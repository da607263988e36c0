"""A real Envoy on a delta stream takes its routes service by service: what is sent, and that nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import decisions as made
from tests.transport.test_envoy import Scene, new_server, play
from tests.transport.test_server import until
from xds_server.model import Decision, Endpoint, ViewKey
from xds_server.policy.types import DEFAULT_FLEET, Fleet, Policy, Service
from xds_server.protocol.events import Nacked, Sent
from xds_server.snapshot.build import build
from xds_server.snapshot.kinds import kind_of
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.transport.publisher import Publisher

pytestmark = pytest.mark.envoy

DELTA = kind_of("envoy", "1.40.0", delta=True)
A, B = "us-east-1", "eu-west-1"
"""The regions of the backends `a` and `b`."""


def service(scene: Scene, name: str, *hosts: str) -> Service:
    places = {A: [Endpoint("127.0.0.1", scene.backends["a"])], B: [Endpoint("127.0.0.1", scene.backends["b"])]}
    return made.service(name, places, hosts=hosts)


def world(
    services: Sequence[Service], shares: Mapping[str, int] | None = None, *, kind: str = DELTA, listen: int = 0
) -> Snapshot:
    """Return what Envoys get: every service all in region A, or as `shares` says for all of them."""
    uses = tuple(sorted(s.name for s in services))
    fleet = Fleet(DEFAULT_FLEET, "127.0.0.1", listen, uses)
    policy = made.policy(services or (made.service(),), fleets=[fleet])
    return build(policy, _decision(policy, shares or {A: 1}), ViewKey(DEFAULT_FLEET, A, kind), made.addresses(policy))


def _decision(policy: Policy, shares: Mapping[str, int]) -> Decision:
    return made.decision(*(made.service_decision(s, shares) for s in policy.services.values()))


async def follows(scene: Scene, new: Snapshot) -> None:
    """Wait until the Envoy has all of it but the runtime layer, which this bootstrap does not ask for."""

    def synced() -> bool:
        types = {status.type_url: status.synced for client in scene.server.clients() for status in client.types}
        return all(types.get(url) == version for url, version in new.versions.items() if url != TypeUrl.RUNTIME)

    await until(synced)


async def ask(scene: Scene, host: str) -> str:
    url = f"http://{await scene.address()}/"
    async with scene.http.get(url, headers={"host": host}) as response:
        return f"{response.status} {await response.text()}".strip()


@asynccontextmanager
async def load(scene: Scene, host: str) -> AsyncIterator[Counter[str]]:
    """Ask for a host, one request after the other, and count the answers."""
    url, answers, on = f"http://{await scene.address()}/", Counter[str](), True

    async def send() -> None:
        while on:
            async with scene.http.get(url, headers={"host": host}) as response:
                answers[f"{response.status} {await response.text()}"] += 1

    senders = [asyncio.create_task(send()) for _ in range(4)]
    try:
        yield answers
    finally:
        on = False
        await asyncio.gather(*senders)


def types_sent(scene: Scene) -> list[str]:
    return [sent.type_url for sent in scene.said(Sent)]


def test_a_change_of_weights_sends_one_virtual_host_and_requests_follow(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        services = [service(scene, f"s{n:02}", f"s{n:02}.demo") for n in range(20)]
        before = world(services)
        await follows(scene, scene.publish(before))
        assert await ask(scene, "s07.demo") == "200 a"
        scene.heard.clear()
        after = moved(before, world(services, {B: 1}), "outbound/s07")
        await follows(scene, scene.publish(after))
        (sent,) = scene.said(Sent)
        assert (sent.type_url, sent.resources) == (TypeUrl.VIRTUAL_HOST, 1)
        assert sent.size < 2_560  # of which a third is names of clusters
        assert [await ask(scene, f"s{n:02}.demo") for n in (6, 7, 8)] == ["200 a", "200 b", "200 a"]
        assert scene.said(Nacked) == []

    play(tmp_path, test, delta=True)


def moved(before: Snapshot, after: Snapshot, *names: str) -> Snapshot:
    """Return the snapshot with these virtual hosts as they are in another."""
    changed = [after.resources[TypeUrl.VIRTUAL_HOST][name] for name in names]
    kept = (r for of in before.resources.values() for r in of.values() if r.name not in names)
    return Snapshot.of([*kept, *changed])


def test_services_come_go_move_and_change_their_names_under_load_without_a_lost_request(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        shop, other = service(scene, "shop", "shop.demo"), service(scene, "other", "other.demo")
        both = service(scene, "other", "other.demo", "shop.demo")
        named = service(scene, "store", "shop.demo")
        await follows(scene, scene.publish(world([shop])))
        async with load(scene, "shop.demo") as answers:
            for _ in range(3):
                await follows(scene, scene.publish(world([shop, other])))  # another comes
                await follows(scene, scene.publish(world([both])))  # the host moves to it, its service goes
                await follows(scene, scene.publish(world([named, other], {B: 1})))  # and to one that is new
                await follows(scene, scene.publish(world([shop])))  # which is renamed, while the other goes
            before = answers.total()
            await until(lambda: answers.total() > before + 20)
        assert set(answers) == {"200 a", "200 b"}
        assert scene.said(Nacked) == []
        assert await scene.rejected() == {}

    play(tmp_path, test, delta=True)


def test_wildcards_ports_and_case_select_as_in_one_configuration(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        services = [service(scene, "exact", "shop.demo"), service(scene, "suffix", "*.demo")]
        await follows(scene, scene.publish(world(services)))
        hosts = ("shop.demo", "SHOP.demo", "shop.demo:8080", "x.y.demo", "shop.example")
        assert [await ask(scene, host) for host in hosts] == ["200 a"] * 4 + ["404"]
        await follows(scene, scene.publish(world([*services, service(scene, "all", "*")])))
        assert await ask(scene, "shop.example") == "200 a"

    play(tmp_path, test, delta=True)


def test_a_fleet_without_services_listens_and_answers_404_until_the_first_comes_and_after_the_last_has_gone(
    tmp_path: Path,
) -> None:
    async def test(scene: Scene) -> None:
        for _ in range(2):
            await follows(scene, scene.publish(world([])))
            assert await ask(scene, "shop.demo") == "404"
            await follows(scene, scene.publish(world([service(scene, "shop", "shop.demo")])))
            assert await ask(scene, "shop.demo") == "200 a"
        assert scene.said(Nacked) == []

    play(tmp_path, test, delta=True)


def test_an_envoy_that_comes_back_is_sent_the_one_virtual_host_that_changed_meanwhile(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        services = [service(scene, name, f"{name}.demo") for name in ("shop", "other", "third")]
        before = world(services)
        await follows(scene, scene.publish(before))
        async with load(scene, "shop.demo") as answers:
            await scene.server.stop()
            scene.heard.clear()
            scene.publisher = Publisher()
            after = scene.publish(moved(before, world(services, {B: 1}), "outbound/shop"))
            scene.server = new_server(scene.publisher, scene.heard, scene.port)
            await scene.server.start()
            await follows(scene, after)
            assert [(sent.type_url, sent.resources) for sent in scene.said(Sent)] == [(TypeUrl.VIRTUAL_HOST, 1)]
            await until(lambda: "200 b" in answers)
        assert set(answers) == {"200 a", "200 b"}

    play(tmp_path, test, delta=True)


def test_another_address_to_listen_on_keeps_the_routes(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        shop = [service(scene, "shop", "shop.demo")]
        await follows(scene, scene.publish(world(shop)))
        before = await scene.address()
        free = int(before.rpartition(":")[2])
        await follows(scene, scene.publish(world(shop, listen=free)))
        assert await ask(scene, "shop.demo") == "200 a"
        assert scene.said(Nacked) == []

    play(tmp_path, test, delta=True)
