"""A real Envoy on our port: it takes what it is sent, loses no request while services come and go, and comes back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.transport.envoy_world import ADS, bootstrap, each_type, snapshot
from tests.transport.test_server import VIEW, assign, until
from xds_server.protocol.events import Nacked, Sent
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.transport.clients import ClientEvent
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import XdsServer

pytestmark = pytest.mark.envoy
LIMIT = 60.0
DUMPED = (TypeUrl.CLUSTER, TypeUrl.LISTENER, TypeUrl.ROUTE)
VARIANTS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
ENVOY = Path(sys.executable).with_name("envoy")


@dataclass
class Scene:
    """A server, an Envoy that follows it, two backends `a` and `b`, and a client of that Envoy."""

    publisher: Publisher
    server: XdsServer
    port: int
    heard: list[ClientEvent]
    http: aiohttp.ClientSession
    admin: str
    backends: dict[str, int]

    def said(self, kind: type[Any]) -> list[Any]:
        return [event.what for event in self.heard if isinstance(event.what, kind)]

    def publish(self, new: Snapshot) -> Snapshot:
        self.publisher.publish({VIEW: new})
        return new

    async def follows(self, new: Snapshot) -> None:
        """Wait until the server has heard that the Envoy has all of it."""
        await until(lambda: self._synced() == dict(new.versions))

    def _synced(self) -> dict[str, str]:
        return {status.type_url: status.synced for client in self.server.clients() for status in client.types}

    async def get(self, path: str) -> Any:
        async with self.http.get(f"http://{self.admin}{path}") as response:
            return await response.json()

    async def stats(self) -> dict[str, int]:
        found = (await self.get("/stats?format=json"))["stats"]
        return {stat["name"]: stat["value"] for stat in found if isinstance(stat.get("value"), int)}

    async def warmed(self) -> None:
        """Wait until every cluster has its endpoints: on streams of their own, acknowledged clusters may still wait."""
        while (await self.stats())["cluster_manager.warming_clusters"]:  # noqa: ASYNC110  (Envoy sets no event)
            await asyncio.sleep(0.02)

    async def rejected(self) -> dict[str, int]:
        stats = await self.stats()
        assert any(name.endswith("update_rejected") for name in stats)
        return {name: value for name, value in stats.items() if name.endswith("update_rejected") and value}

    async def versions(self) -> set[str]:
        """Return all versions in the Envoy's configuration dump."""
        found: set[str] = set()

        def collect(node: Any) -> None:
            if isinstance(node, dict):
                found.update(value for key, value in node.items() if key == "version_info")
                node = list(node.values())
            if isinstance(node, list):
                for child in node:
                    collect(child)

        collect(await self.get("/config_dump"))
        return found

    async def address(self) -> str:
        """Return where the Envoy listens."""
        statuses: list[Any] = []
        while not statuses:
            statuses = (await self.get("/listeners?format=json")).get("listener_statuses", [])
        return f"127.0.0.1:{statuses[0]['local_address']['socket_address']['port_value']}"

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Counter[str]]:
        """Send requests one after the other, and count the answers."""
        url, answers, on = f"http://{await self.address()}/", Counter[str](), True

        async def send() -> None:
            while on:
                async with self.http.get(url) as response:
                    answers[f"{response.status} {await response.text()}"] += 1

        senders = [asyncio.create_task(send()) for _ in range(4)]
        try:
            yield answers
        finally:
            on = False
            await asyncio.gather(*senders)


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode())
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def envoy(directory: Path, start: dict[str, object]) -> AsyncIterator[str]:
    """Run an Envoy; yield the address of its admin page."""
    config, admin, log = directory / "envoy.json", directory / "admin", directory / "log"
    config.write_text(json.dumps(start))
    options = ["--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            ENVOY, "-c", config, "--admin-address-path", admin, *options, stdout=out, stderr=out
        )
    try:
        await until(lambda: process.returncode is not None or (admin.exists() and bool(admin.read_text())))
        assert process.returncode is None, log.read_text()
        yield admin.read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def new_server(publisher: Publisher, heard: list[ClientEvent], port: int = 0) -> XdsServer:
    return XdsServer(f"127.0.0.1:{port}", assign=assign, publisher=publisher, on_event=heard.append)


def play(
    directory: Path,
    test: Callable[[Scene], Awaitable[None]],
    *,
    delta: bool = False,
    source: Mapping[str, Any] = ADS,
) -> None:
    async def staged() -> None:
        async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
            publisher, heard = Publisher(), list[ClientEvent]()
            server = new_server(publisher, heard)
            port = await server.start()
            backends = {name: await stack.enter_async_context(backend(name)) for name in "ab"}
            http = await stack.enter_async_context(aiohttp.ClientSession())
            admin = await stack.enter_async_context(envoy(directory, bootstrap(port, delta=delta, source=source)))
            scene = Scene(publisher, server, port, heard, http, admin, backends)
            try:
                await test(scene)
            finally:
                await scene.server.stop()

    asyncio.run(staged())


@VARIANTS
def test_services_come_go_and_change_under_load_without_a_lost_request(tmp_path: Path, *, delta: bool) -> None:
    async def test(scene: Scene) -> None:
        a, b = ({name: scene.backends[name]} for name in "ab")
        await scene.follows(scene.publish(snapshot(a, {"a": 1})))
        async with scene.load() as answers:
            for turn in range(8):
                await scene.follows(scene.publish(snapshot(a | b, {"a": 1, "b": 1})))  # b comes
                await scene.follows(scene.publish(snapshot(b, {"b": 1})))  # a goes
                await scene.follows(scene.publish(snapshot(a, {"a": 1})))  # one replaces the other
                await scene.follows(scene.publish(snapshot(a, {"a": 1}, timeout=f"{turn + 2}s")))  # it changes
                last = scene.publish(snapshot(a, {"a": 1}, timeout=f"{turn + 3}s"))
                await scene.follows(last)
            before = answers.total()
            await until(lambda: answers.total() > before + 20)
        assert set(answers) == {"200 a", "200 b"}
        assert scene.said(Nacked) == []
        assert await scene.rejected() == {}
        assert (await scene.stats())["cluster_manager.warming_clusters"] == 0
        whole = {last.versions[url] for url in DUMPED}
        each = {resource.version for url in DUMPED for resource in last.resources[url].values()}
        assert (each if delta else whole) <= await scene.versions()

    play(tmp_path, test, delta=delta)


@VARIANTS
def test_an_envoy_that_comes_back_to_another_server_is_sent_only_what_changed(tmp_path: Path, *, delta: bool) -> None:
    async def test(scene: Scene) -> None:
        both = snapshot(scene.backends, {"a": 1})
        await scene.follows(scene.publish(both))
        async with scene.load() as answers:
            await scene.server.stop()
            scene.heard.clear()
            scene.publisher = Publisher()
            scene.publish(both)
            scene.server = new_server(scene.publisher, scene.heard, scene.port)
            await scene.server.start()
            await scene.follows(both)
            assert scene.said(Sent) == []
            moved = scene.publish(snapshot(scene.backends, {"b": 1}))
            await scene.follows(moved)
            assert [sent.type_url for sent in scene.said(Sent)] == [TypeUrl.ROUTE]
            await until(lambda: "200 b" in answers)
        assert set(answers) == {"200 a", "200 b"}

    play(tmp_path, test, delta=delta)


@VARIANTS
def test_what_envoy_rejects_is_told_in_its_words_and_weights_still_flow(tmp_path: Path, *, delta: bool) -> None:
    async def test(scene: Scene) -> None:
        await scene.follows(scene.publish(snapshot(scene.backends, {"a": 1})))
        async with scene.load() as answers:
            scene.publish(snapshot(scene.backends, {"a": 1}, bad="ab"))
            await until(lambda: len(scene.said(Nacked)) == 3)  # both clusters, then each alone
            scene.publish(snapshot(scene.backends, {"b": 1}, bad="ab"))
            await until(lambda: "200 b" in answers)
        assert all("no.such.policy" in nack.error for nack in scene.said(Nacked))
        assert [len(nack.resources) for nack in scene.said(Nacked)] == [2, 1, 1]
        assert set(answers) == {"200 a", "200 b"}

    play(tmp_path, test, delta=delta)


@VARIANTS
def test_a_bad_cluster_holds_up_neither_a_new_one_nor_its_route(tmp_path: Path, *, delta: bool) -> None:
    async def test(scene: Scene) -> None:
        a = {"a": scene.backends["a"]}
        await scene.follows(scene.publish(snapshot(a, {"a": 1})))
        async with scene.load() as answers:
            scene.publish(snapshot(scene.backends, {"a": 1, "b": 1}, timeout="2s", bad="a"))
            await until(lambda: "200 b" in answers)
            mended = scene.publish(snapshot(scene.backends, {"b": 1}, timeout="2s"))
            await scene.follows(mended)
        assert set(answers) == {"200 a", "200 b"}
        assert (await scene.stats())["cluster_manager.warming_clusters"] == 0

    play(tmp_path, test, delta=delta)


@VARIANTS
def test_an_envoy_with_a_stream_for_each_type_follows_in_the_order_of_what_is_published(
    tmp_path: Path, *, delta: bool
) -> None:
    source = each_type(delta=delta)

    async def test(scene: Scene) -> None:
        a, both = {"a": scene.backends["a"]}, scene.backends
        await scene.follows(scene.publish(snapshot(a, {"a": 1}, source=source)))
        async with scene.load() as answers:
            for backends, weights in ((both, {"a": 1}), (both, {"b": 1}), (both, {"a": 1}), (a, {"a": 1})):
                await scene.follows(scene.publish(snapshot(backends, weights, source=source)))
                await scene.warmed()
                if "b" in weights:
                    await until(lambda: "200 b" in answers)
        assert set(answers) == {"200 a", "200 b"}
        assert scene.said(Nacked) == []
        assert await scene.rejected() == {}
        assert len(scene.server.clients()) >= 4

    play(tmp_path, test, delta=delta, source=source)
