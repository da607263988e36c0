"""A real Envoy, or several, whose signals come to us: two regions of backends, the xDS port, and what was emitted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from tests.signals.world import Answer, Endpoint, endpoint, until
from tests.support import decisions as made
from tests.support.envoy import ENVOY
from xds_server import model
from xds_server.decision.watchers import choose
from xds_server.model import AccessSummary, LoadReport, Observation, Target, ViewKey
from xds_server.policy.types import DEFAULT_FLEET, Fleet, HealthCheck, Policy
from xds_server.protocol.events import Identified
from xds_server.signals.services import Signal, SignalServices
from xds_server.snapshot.bootstrap import BootstrapOptions, bootstrap, to_json
from xds_server.snapshot.build import build
from xds_server.snapshot.health_checks import specifier
from xds_server.transport.publisher import Publisher
from xds_server.transport.server import XdsServer

HOME, AWAY = "us-east-1", "eu-west-1"
CHECK = HealthCheck(interval_ms=100, timeout_ms=100)

LIMIT_S = 30.0

S = TypeVar("S", bound=Signal)


class Sidecar:
    """One running Envoy."""

    def __init__(self, http: aiohttp.ClientSession, admin: str, process: asyncio.subprocess.Process) -> None:
        self._http = http
        self._admin = admin
        self.process = process
        self.url = ""

    async def json(self, path: str) -> Any:
        async with self._http.get(f"http://{self._admin}{path}") as response:
            return json.loads(await response.read())

    async def stat(self, name: str) -> int:
        found = (await self.json(f"/stats?format=json&filter=^{name}$"))["stats"]
        return int(found[0]["value"]) if found else 0

    async def listens(self) -> None:
        """Wait until it takes requests."""
        statuses: list[Any] = []
        async with asyncio.timeout(30):
            while not (statuses and (await self.json("/server_info"))["state"] == "LIVE"):
                statuses = (await self.json("/listeners?format=json")).get("listener_statuses", [])
        self.url = f"http://127.0.0.1:{statuses[0]['local_address']['socket_address']['port_value']}/"

    async def get(self, method: str = "GET") -> int:
        """Send one request; return its status."""
        async with self._http.request(method, self.url, headers={"host": "checkout.demo"}) as response:
            await response.read()
            return response.status

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


class Scene:
    """Everything around the sidecars."""

    def __init__(self, directory: Path, stack: AsyncExitStack, share: float) -> None:
        self.directory = directory
        self.stack = stack
        self.share = share
        self.seen: list[Signal] = []
        self.policy: Policy
        self.http: aiohttp.ClientSession
        self.backends: dict[str, Endpoint] = {}
        self.signals = SignalServices(self.seen.append, self._view_of, time.monotonic, choose, specifier)
        self.publisher = Publisher()
        self.port = 0

    def of(self, kind: type[S]) -> list[S]:
        return [signal for signal in self.seen if isinstance(signal, kind)]

    def loads(self, region: str, view: str = HOME) -> list[LoadReport]:
        return [load for load in self.of(LoadReport) if (load.view, load.region) == (view, region)]

    def accesses(self, region: str) -> list[AccessSummary]:
        return [access for access in self.of(AccessSummary) if access.region == region]

    def looks(self, vantage: str) -> list[Observation]:
        return [seen for seen in self.of(Observation) if seen.vantage == vantage]

    def target(self, region: str) -> Target:
        return Target("checkout", region, self.backends[region].address)

    def watch(self, check: HealthCheck = CHECK) -> None:
        """Have all backends watched."""
        self.signals.set_targets({self.target(region): check for region in self.backends})

    async def start(self, answers: dict[str, Answer]) -> None:
        for region, answer in answers.items():
            self.backends[region] = await self.stack.enter_async_context(endpoint(answer))
        self.http = await self.stack.enter_async_context(aiohttp.ClientSession())
        where = {r: [model.Endpoint(*b.address)] for r, b in self.backends.items()}
        fleet = Fleet(DEFAULT_FLEET, "127.0.0.1", 0, access_logs=self.share)
        self.policy = made.policy([made.service(endpoints=where)], fleets=[fleet])
        self.signals.follow(self.policy)
        self.signals.set_targets({self.target(region): CHECK for region in self.backends})
        self.weigh({HOME: 1})
        server = XdsServer(
            "127.0.0.1:0",
            assign=lambda node, _: ViewKey(DEFAULT_FLEET, node.region),
            publisher=self.publisher,
            on_event=lambda _: None,
            services=self.signals.handlers(),
        )
        self.port = await server.start()
        self.stack.push_async_callback(server.stop)
        self.stack.callback(self.signals.close)
        task = asyncio.create_task(self.signals.run())
        self.stack.callback(task.cancel)

    def weigh(self, shares: dict[str, int]) -> None:
        decision = made.decision(made.service_decision(self.policy.services["checkout"], shares))
        addresses = made.addresses(self.policy)
        views = [ViewKey(DEFAULT_FLEET, region) for region in self.policy.regions]
        self.publisher.publish({view: build(self.policy, decision, view, addresses) for view in views})

    async def sidecar(
        self,
        name: str = "sidecar-1",
        region: str = HOME,
        edit: Callable[[str], str] = str,
        program: Path = ENVOY,
        **options: Any,
    ) -> Sidecar:
        """Start an Envoy, and wait until it serves. `edit` may change the bootstrap's text."""
        directory = self.directory / name
        directory.mkdir()
        config, admin, log = directory / "envoy.json", directory / "admin", directory / "log"
        who = BootstrapOptions(region, name, DEFAULT_FLEET, "127.0.0.1", self.port, admin_port=0)
        config.write_text(edit(to_json(bootstrap(replace(who, **options)))))
        command: list[str | Path] = [
            program,
            "-c",
            config,
            "--admin-address-path",
            admin,
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
        ]
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(*command, "--log-level", "warning", stdout=out, stderr=out)
        running = Sidecar(self.http, "", process)
        self.stack.push_async_callback(running.stop)
        await until(lambda: process.returncode is not None or (admin.exists() and admin.read_text()))
        assert process.returncode is None, log.read_text()
        running._admin = admin.read_text()
        await running.listens()
        return running

    def _view_of(self, node: Identified) -> ViewKey | None:
        return ViewKey(DEFAULT_FLEET, node.region) if node.region in self.policy.regions else None


@asynccontextmanager
async def fleet(directory: Path, home: Answer, away: Answer, share: float = 1.0) -> AsyncIterator[Scene]:
    """Start backends and the control plane's port; sidecars are the test's to start."""
    async with AsyncExitStack() as stack:
        running = Scene(directory, stack, share)
        await running.start({HOME: home, AWAY: away})
        yield running
