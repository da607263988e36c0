"""The processes that benchmarks start: the control plane, Envoys, upstreams; all on free loopback ports, all ended.

A policy of made-up services whose endpoints are eight loopback ports that all services share; each service has targets
of its own there, so 100 services mean 800 probes a second. Started with the demo's `Child`: none outlives this process.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.bare_envoy import ANSWERS, config, listener
from bench.run import Run, program
from bench.world import ENDPOINTS_PER_REGION, FOUR, UTILISATION, policy_text
from xds_server.demo.http1 import UnreachableError, fetch
from xds_server.demo.ports import Ports
from xds_server.demo.processes import Child, DemoError, stop_all, until

LIMIT_S = 60.0

Condition = Callable[[], Awaitable[bool]]


class Ready(NamedTuple):
    """Where a control plane listens: the address of xDS, the port of its admin page."""

    xds: str
    admin_port: int


class Stage:
    """One benchmark's processes. `listen` is where the fleet's sidecars take requests, `spare` a port more."""

    def __init__(self, run: Run, services: int, ports: Sequence[int]) -> None:
        upstreams = len(FOUR) * ENDPOINTS_PER_REGION
        self.upstream_ports = tuple(ports[:upstreams])
        self.admin_ports = dict(zip(FOUR, ports[upstreams:], strict=False))
        self.listen, self.spare = ports[-2:]
        self.children: list[Child] = []
        self._run = run
        self._services = services
        self._policy = self.file("policy.yaml")
        self.write_policy(UTILISATION)

    def file(self, name: str) -> Path:
        """Return a path in the benchmark's directory."""
        return self._run.directory / name

    def write_policy(self, utilisation: float) -> None:
        """Write the policy, with demand at that part of the capacity."""
        listen = f"127.0.0.1:{self.listen}"
        wanted = policy_text(self._services, FOUR, ports=self.upstream_ports, listen=listen, utilisation=utilisation)
        self._policy.write_text(wanted)

    def child(self, name: str, argv: Sequence[str], *, piped: bool = False) -> Child:
        """Start a process."""
        child = Child(name, argv, self.file(f"{name.replace(' ', '-')}.log"), piped=piped)
        child.start()
        self.children.append(child)
        return child

    def serve(self) -> tuple[Child, Ready, float]:
        """Start the control plane; return it, its addresses, and the seconds until it said that it is ready."""
        started = time.perf_counter()
        argv = [program("xds-server"), "serve", str(self._policy), "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        child = self.child("control plane", argv, piped=True)
        line = child.output.readline()
        seconds = time.perf_counter() - started
        if not line:
            raise DemoError(f"the control plane did not start:\n{child.tail()}")
        said = json.loads(line)
        return child, Ready(said["xds"], int(said["admin"].rpartition(":")[2])), seconds

    async def upstream(self) -> None:
        """Start what answers for all endpoints of all services."""
        self._run.say("starting the upstream")
        self.envoy("upstream", config([listener(port, ANSWERS) for port in self.upstream_ports]))
        await until(answering(self.upstream_ports), LIMIT_S, self.children, "the upstream answers")

    async def backends(self) -> None:
        """Start the demo's backends for all endpoints of all services instead: they take two milliseconds to answer."""
        self._run.say(f"starting {len(self.upstream_ports)} backends")
        for port in self.upstream_ports:
            argv = [sys.executable, "-m", "xds_server.demo.backend", "--region", "any", "--port", str(port)]
            self.child(f"backend {port}", [*argv, "--notes", str(self._run.directory)])
        await until(answering(self.upstream_ports), LIMIT_S, self.children, "the backends answer")

    async def sidecar(self, region: str, xds: str) -> Child:
        """Start an Envoy of the one fleet; those of several regions share its port, as SO_REUSEPORT lets them."""
        file = self.file(f"sidecar-{region}.yaml")
        argv = [program("xds-server"), "bootstrap", "--region", region, "--xds", xds]
        argv += ["--admin-port", str(self.admin_ports[region])]
        writer = Child(f"bootstrap of {region}", argv, self.file("bootstrap.log"), stdout=file)
        writer.start()
        await until(_ended(writer), LIMIT_S, [], writer.name)
        return self._envoy(f"sidecar of {region}", file)

    def envoy(self, name: str, config: Mapping[str, Any]) -> Child:
        """Start an Envoy with a configuration of our own."""
        file = self.file(f"{name}.json")
        file.write_text(json.dumps(config))
        return self._envoy(name, file)

    def _envoy(self, name: str, file: Path) -> Child:
        argv = [program("envoy"), "-c", str(file), "--concurrency", "1", "--log-level", "warning"]
        return self.child(name, [*argv, "--disable-hot-restart"])


@contextmanager
def stage(run: Run, services: int) -> Iterator[Stage]:
    """Set a stage, and clear it."""
    ports = Ports(len(FOUR) * (ENDPOINTS_PER_REGION + 1) + 2, random.Random())
    here = Stage(run, services, ports.numbers)
    try:
        yield here
    finally:
        stop_all(here.children)
        ports.close()


def listening(admin_ports: Sequence[int]) -> Condition:
    """Return whether each of these Envoys has its listener, which it gets when routes and clusters are there."""

    async def configured() -> bool:
        texts = [await text(port, "/stats?filter=listener_manager.total_listeners_active") for port in admin_ports]
        return all(found.strip().endswith(": 1") for found in texts)

    return configured


def answering(ports: Sequence[int], path: str = "/healthz") -> Condition:
    """Return whether something on each of these ports answers "ok"."""

    async def answered() -> bool:
        return all([await text(port, path) == "ok" for port in ports])

    return answered


def accepting(port: int) -> Condition:
    """Return whether a connection can be made: an Envoy says that it has a listener a moment before that."""

    async def accepted() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    return accepted


def _ended(child: Child) -> Condition:
    async def ended() -> bool:
        return not child.running

    return ended


async def text(port: int, path: str) -> str:
    """Return what a port answers, empty if nothing does."""
    try:
        return (await fetch(port, path, timeout_s=5.0)).body.decode()
    except UnreachableError:
        return ""
