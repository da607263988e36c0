"""The running parts of one demo, and what a fault does to them.

The demo is a user of the product: it starts `xds-server bootstrap` and `xds-server serve`, writes a policy file, and
knows nothing that a stranger with the same command line would not.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from xds_server.demo.faults import Fault, Kind
from xds_server.demo.http1 import UnreachableError, fetch
from xds_server.demo.processes import INSTALL, Child, DemoError, check, stop_all, until
from xds_server.demo.topology import (
    CONTROL_PLANE,
    DEMAND_SHARE,
    HOST,
    REGIONS,
    Topology,
    fleet,
    policy_text,
    rtt_ms,
)
from xds_server.demo.watch import ControlPlaneWatch, EnvoyWatch

_START_LIMIT_S = 40.0


def script(name: str) -> str:
    """Return the path of a program that was installed beside this Python, or that is on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DemoError(f"the demo needs the program {name!r}, which is not installed: {INSTALL}")
    return found


class Site:
    """All child processes of one run, in one directory."""

    def __init__(self, directory: Path, topology: Topology, *, shed_header: bool = False) -> None:
        self.directory = directory
        self.topology = topology
        self.policy = directory / "policy.yaml"
        self.control_plane = self._control_plane()
        self.backends = {region: self._backends(region, shed_header) for region in REGIONS}
        self.envoys = {region: self._envoy(region) for region in REGIONS}
        self.load: Child | None = None
        self.control_plane_watch = ControlPlaneWatch(topology.admin_port)
        self.envoy_watch = EnvoyWatch(topology.envoy_admin_ports)

    @property
    def children(self) -> list[Child]:
        """Everything that was or may be started."""
        backends = [child for children in self.backends.values() for child in children]
        load = [] if self.load is None else [self.load]
        return [*load, *self.envoys.values(), self.control_plane, *backends]

    @property
    def backend_names(self) -> tuple[str, ...]:
        """The names under which the backends take notes."""
        return tuple(f"{region}-{port}" for region, ports in self.topology.backend_ports.items() for port in ports)

    def check(self) -> None:
        """Raise DemoError if a part ended by itself."""
        check(self.children)

    def stop(self) -> None:
        """End everything."""
        stop_all(self.children)

    async def start(self, progress: Callable[[str], None]) -> None:
        """Start all but the load, and wait until every Envoy has its routes."""
        self.policy.write_text(policy_text(self.topology))
        progress(f"starting {len(self.backend_names)} backends and the control plane")
        backends = [child for children in self.backends.values() for child in children]
        for child in [*backends, self.control_plane]:
            child.start()
        progress(f"writing {len(REGIONS)} Envoy bootstraps")
        await asyncio.gather(*(self._bootstrap(region) for region in REGIONS))
        await asyncio.gather(*(self._answering(region) for region in REGIONS), self._control_plane_ready())
        progress(f"starting {len(REGIONS)} Envoys")
        for envoy in self.envoys.values():
            envoy.start()
        await until(
            self.envoy_watch.ready, _START_LIMIT_S, [*self.envoys.values(), self.control_plane], "Envoys have routes"
        )
        progress("waiting for the first verdicts")
        await until(
            self._settled, _START_LIMIT_S, self.children, "every region is healthy and the Envoys have its weights"
        )

    def start_load(self, duration_s: float | None, drain_s: float) -> Child:
        """Start the load."""
        t = self.topology
        argv = [sys.executable, "-m", "xds_server.demo.load", "--rps", f"{t.rps:g}", "--host", HOST]
        argv += ["--drain", f"{drain_s:g}"] + (["--duration", f"{duration_s:g}"] if duration_s else [])
        for view in REGIONS:
            argv += ["--sidecar", f"{view}={t.sidecar_ports[view]}", "--share", f"{view}={DEMAND_SHARE[view]}"]
        self.load = Child("the load", argv, self.directory / "load.log", piped=True)
        self.load.start()
        return self.load

    async def apply(self, fault: Fault) -> None:
        """Do to the target what the fault says. A restored target answers when this returns."""
        children = [self.control_plane] if fault.target == CONTROL_PLANE else self.backends[fault.target]
        if fault.kind is Kind.KILL:
            for child in children:
                child.kill()
        elif fault.kind is Kind.BLACKHOLE:
            for child in children:
                child.pause()
        elif fault.kind is Kind.RESTORE:
            await self._restore(fault.target, children)
        elif fault.kind is Kind.CUT:
            await self._settings(fault.target, f"cut_off={self.envoys[str(fault.arg)].pid}")
        else:
            await self._settings(fault.target, _SETTING[fault.kind].format(fault.arg))

    async def _restore(self, target: str, children: list[Child]) -> None:
        for child in children:
            if not child.running:
                child.start()
            elif child.stopped:
                child.resume()
        if target == CONTROL_PLANE:
            await self._control_plane_ready()
        else:
            await self._answering(target)
            await self._settings(target, "reset")

    async def _settings(self, region: str, query: str) -> None:
        for port in self.topology.backend_ports[region]:
            try:
                response = await fetch(port, f"/_control?{query}", method="POST")
            except UnreachableError as problem:
                raise DemoError(f"a backend of {region} does not take its settings: {problem}") from None
            if response.status != 200:
                raise DemoError(f"a backend of {region} refused its settings: {response.body.decode()}")

    async def _answering(self, region: str) -> None:
        async def answering() -> bool:
            try:
                return all([(await fetch(port, "/_control")).status == 200 for port in ports])
            except UnreachableError:
                return False

        ports = self.topology.backend_ports[region]
        await until(answering, _START_LIMIT_S, self.backends[region], f"the backends of {region} answer")

    async def _control_plane_ready(self) -> None:
        ready = self.control_plane_watch.ready
        await until(ready, _START_LIMIT_S, [self.control_plane], "the control plane is ready")

    async def _settled(self) -> bool:
        """Return whether all regions are healthy and each Envoy has the weights of the decision."""
        await self.control_plane_watch.update()
        await self.envoy_watch.update()
        decision = self.control_plane_watch.decision
        if decision is None or any(region["health"] != "healthy" for region in decision["regions"]):
            return False
        decided = {view["view"]: view["weights"] for view in decision["services"][0]["views"]}
        return all(
            all(row.get(region, 0) == decided[view].get(region, 0) for region in REGIONS)
            for view, row in self.envoy_watch.weights.items()
        )

    async def _bootstrap(self, region: str) -> None:
        t = self.topology
        argv = [script("xds-server"), "bootstrap", "--region", region, "--cluster", fleet(region)]
        argv += ["--id", f"{region}-1", "--xds", f"127.0.0.1:{t.xds_port}"]
        argv += ["--admin-port", str(t.envoy_admin_ports[region])]
        name = f"the bootstrap of {region}"
        child = Child(name, argv, self.directory / f"bootstrap-{region}.log", stdout=self._envoy_config(region))
        child.start()
        await until(_ended(child), _START_LIMIT_S, [], name)
        if child.exit_status:
            raise DemoError(f"xds-server bootstrap ended with status {child.exit_status}:\n{child.tail()}")

    def _envoy_config(self, region: str) -> Path:
        return self.directory / f"envoy-{region}.yaml"

    def _control_plane(self) -> Child:
        t = self.topology
        argv = [script("xds-server"), "serve", str(self.policy), "--xds", f"127.0.0.1:{t.xds_port}"]
        argv += ["--admin", f"127.0.0.1:{t.admin_port}", "--state-dir", str(self.directory / "state")]
        return Child("the control plane", argv, self.directory / "controlplane.log")

    def _backends(self, region: str, shed_header: bool) -> list[Child]:
        def backend(port: int) -> Child:
            argv = [sys.executable, "-m", "xds_server.demo.backend", "--region", region, "--port", str(port)]
            argv += ["--capacity", str(self.topology.limit_of(region))]
            argv += ["--notes", str(self.directory)] + (["--shed-header"] if shed_header else [])
            argv += ["--rtt", *(f"{view}={rtt_ms(view, region):g}" for view in REGIONS)]
            return Child(f"the backend {region}:{port}", argv, self.directory / f"backend-{region}-{port}.log")

        return [backend(port) for port in self.topology.backend_ports[region]]

    def _envoy(self, region: str) -> Child:
        argv = [script("envoy"), "-c", str(self._envoy_config(region)), "--concurrency", "1", "--log-level", "warning"]
        argv += ["--disable-hot-restart"]
        return Child(f"the Envoy of {region}", argv, self.directory / f"envoy-{region}.log")


def _ended(child: Child) -> Callable[[], Awaitable[bool]]:
    async def ended() -> bool:
        return not child.running

    return ended


_SETTING = {Kind.ERRORS: "error_rate={}", Kind.SLOW: "delay_ms={}", Kind.UNHEALTHY: "healthy=false"}
