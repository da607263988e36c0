"""An edit of one service in a policy of 1,000 services in 8 regions: from the write of the file to the first client.

`xds-server serve` as a process, and one delta client in this one, which takes and acknowledges what an Envoy would. A
real Envoy is left out because it would need a gigabyte for 8,000 clusters. All endpoints are sixteen loopback ports,
probed by TCP once and then hourly: 16,000 probes a second would be measured instead.

A new policy goes on trial first, so the first client has it before it is in force; that time is told, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.figures import Figure
from bench.run import Run, cpu_ms, program
from bench.stage import text
from bench.world import EIGHT, ENDPOINTS_PER_REGION, Incident, policy_text
from xds_server.demo.meter import Meter
from xds_server.demo.ports import Ports
from xds_server.demo.processes import Child, DemoError, stop_all, until
from xds_server.model import ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import DEFAULT_FLEET, Policy
from xds_server.snapshot.listeners import ROUTE_CONFIGURATION
from xds_server.snapshot.resource import TypeUrl
from xds_server.step import Inputs
from xds_server.transport.server import SERVICE

_REACH_S = 2.0
_LIMIT_S = 180.0
_QUIET_S = 3.0
_FEW_PROBES = "defaults: {health: {type: tcp, interval: 1h, timeout: 20s}}"
_OPTIONS = [("grpc.max_receive_message_length", -1)]


def edit_at_scale(run: Run) -> list[Figure]:
    """Measure several edits, each of another service."""
    services, edits = run.pick((1_000, 7), (20, 2))
    return [*_steps(run, services), *asyncio.run(_measured(run, services, edits))]


def _steps(run: Run, services: int) -> list[Figure]:
    """Measure the two parts of it that are pure: reading the text, and the step that puts the policy on trial."""
    run.say("the pure parts")
    text = policy_text(services, EIGHT)
    edited = text.replace("  service-0000:\n", "  service-0000:\n    timeouts: {request: 20s}\n")
    incident = Incident()
    incident.begin(parse(text, "bench").policy, [ViewKey(DEFAULT_FLEET, EIGHT[0])])
    policies: list[Policy] = []
    read = cpu_ms(lambda: policies.append(parse(edited, "bench").policy), 1)
    tried = cpu_ms(lambda: incident.step(Inputs(policy=policies[0])), 1)
    size = f"{services:,} services × {len(EIGHT)}"
    return [
        Figure(f"reading the policy, {size}", "ms CPU", read),
        Figure(f"the controller's step that puts it on trial, one view, {size}", "ms CPU", tried),
    ]


async def _measured(run: Run, services: int, edits: int) -> list[Figure]:
    seconds: list[float] = []
    sizes: list[float] = []
    cpu: list[float] = []
    async with AsyncExitStack() as stack:
        probes = await stack.enter_async_context(_endpoints())
        site = await stack.enter_async_context(_site(run, services, probes.ports))
        run.say(f"serving {services:,} services; connecting")
        client = await stack.enter_async_context(_client(site.xds))
        await client.has(TypeUrl.VIRTUAL_HOST, f"{ROUTE_CONFIGURATION}/service-0000")
        await probes.over()
        for n in range(edits):
            name, meter = f"service-{n:04}", Meter()
            meter.start(site.child.pid)
            client.sizes.clear()
            started = time.perf_counter()
            site.edit(name, n)
            await client.has(TypeUrl.VIRTUAL_HOST, f"{ROUTE_CONFIGURATION}/{name}")
            seconds.append(time.perf_counter() - started)
            sizes.append(client.sizes.total())
            await site.in_force()
            meter.sample(site.child.pid)
            cpu.append(meter.usage.cpu_s)
            run.say(f"edit {n + 1}: {seconds[-1]:.2f} s, {sizes[-1]:,.0f} B; until in force {cpu[-1]:.2f} s of CPU")
    size = f"{services:,} services × {len(EIGHT)}"
    return [
        Figure(f"edit of one service → first client has it, {size}", "s", tuple(seconds), _REACH_S),
        Figure("control plane's CPU until that policy is in force", "s CPU", tuple(cpu)),
        Figure("bytes sent to that client", "B", tuple(sizes)),
    ]


class _Site:
    """The control plane's process, and the policy."""

    def __init__(self, run: Run, services: int, ports: Sequence[int]) -> None:
        self._policy = run.directory / "policy.yaml"
        wanted = policy_text(services, EIGHT, ports=ports).splitlines(keepends=True)
        self._lines = [f"{_FEW_PROBES}\n" if line.startswith("defaults:") else line for line in wanted]
        self._policy.write_text("".join(self._lines))
        self.child = self._serve(run.directory)
        line = self.child.output.readline()
        if not line:
            raise DemoError(f"the control plane did not start:\n{self.child.tail()}")
        said = json.loads(line)
        self.xds, self._admin_port = str(said["xds"]), int(said["admin"].rpartition(":")[2])
        self._accepted = 1

    def _serve(self, directory: Path) -> Child:
        argv = [program("xds-server"), "serve", str(self._policy), "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        child = Child("control plane", argv, directory / "control-plane.log", piped=True)
        child.start()
        return child

    def edit(self, service: str, number: int) -> None:
        """Give one service another timeout."""
        at = self._lines.index(f"  {service}:\n")
        self._lines.insert(at + 1, f"    timeouts: {{request: {20 + number}s}}\n")
        self._policy.write_text("".join(self._lines))

    async def in_force(self) -> None:
        """Wait until one more policy is in force."""
        self._accepted += 1

        async def accepted() -> bool:
            return (await text(self._admin_port, "/api/v1/events")).count('"policy.accepted"') >= self._accepted

        await until(accepted, _LIMIT_S, [self.child], "the edit is in force")


@asynccontextmanager
async def _site(run: Run, services: int, ports: Sequence[int]) -> AsyncIterator[_Site]:
    site = await asyncio.to_thread(_Site, run, services, ports)
    try:
        yield site
    finally:
        stop_all([site.child])


class _Endpoints:
    """What the probes meet."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = ports
        self._met = 0

    def answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hang up."""
        self._met += 1
        writer.close()

    async def over(self) -> None:
        """Wait until no more probes come: they are work of the start, not of an edit."""
        before = -1
        while before != self._met or not before:
            before = self._met
            await asyncio.sleep(_QUIET_S)


@asynccontextmanager
async def _endpoints() -> AsyncIterator[_Endpoints]:
    ports = Ports(len(EIGHT) * ENDPOINTS_PER_REGION, random.Random())
    endpoints = _Endpoints(ports.numbers)
    async with AsyncExitStack() as stack:
        stack.callback(ports.close)
        for port in ports.numbers:
            await stack.enter_async_context(await asyncio.start_server(endpoints.answer, "127.0.0.1", port))
        yield endpoints


class _Client:
    """An Envoy as far as the protocol goes. `sizes` counts bytes by type."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._came: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.sizes: Counter[str] = Counter()

    async def run(self) -> None:
        """Take and acknowledge everything."""
        node = base_pb2.Node(id="bench", cluster="default", user_agent_name="envoy", user_agent_version="1.40.0")
        node.locality.region = EIGHT[0]
        await self._ask(TypeUrl.CLUSTER, node=node)
        await self._ask(TypeUrl.LISTENER)
        await self._ask(TypeUrl.ROUTE, names=[ROUTE_CONFIGURATION])
        await self._ask(TypeUrl.VIRTUAL_HOST)
        while (data := await self._call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            self.sizes[response.type_url] += len(data)
            await self._ask(response.type_url, nonce=response.nonce)
            if response.type_url == TypeUrl.CLUSTER:
                await self._ask(TypeUrl.ENDPOINT, names=[resource.name for resource in response.resources])
            for resource in response.resources:
                self._came.put_nowait((response.type_url, resource.name))

    async def has(self, type_url: str, name: str) -> None:
        """Wait until a resource comes."""
        async with asyncio.timeout(_LIMIT_S):
            while await self._came.get() != (type_url, name):
                pass

    async def _ask(self, url: str, names: Sequence[str] = (), nonce: str = "", node: Any = None) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            node=node, type_url=url, resource_names_subscribe=names, response_nonce=nonce
        )
        await self._call.write(request.SerializeToString())


@asynccontextmanager
async def _client(xds: str) -> AsyncIterator[_Client]:
    async with grpc.aio.insecure_channel(xds, options=_OPTIONS) as channel:
        client = _Client(channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")())
        reading = asyncio.create_task(client.run())
        try:
            yield client
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
