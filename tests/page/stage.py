"""A real control plane for the page to show: four regions whose backends are listening sockets, and its process.

A TCP probe needs nobody who accepts: the kernel completes the connection. So a region is a socket that listens, its
death is that socket closed (connection refused from then on), and its return the same port listened on again.
"""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from tests.support.control_plane import ControlPlane
from xds_server.demo.ports import Ports

REGIONS = ("ap-southeast-1", "eu-west-1", "sa-east-1", "us-east-1")
BACKLOG = 4096
"""Nobody accepts, so each probe of the test stays in it."""

POLICY = """\
version: 1
regions:
  us-east-1: {{latency: {{eu-west-1: 80ms, ap-southeast-1: 220ms, sa-east-1: 120ms}}}}
  eu-west-1: {{latency: {{ap-southeast-1: 160ms, sa-east-1: 190ms}}}}
  ap-southeast-1: {{latency: {{sa-east-1: 320ms}}}}
  sa-east-1: {{}}
defaults:
  health: {{type: tcp, interval: 200ms, timeout: 100ms, unhealthy_after: 2, healthy_after: 2}}
  ramp_up: 1s
fleets:
  default: {{listen: "127.0.0.1:{sidecar}"}}
services:
  checkout:
    hosts: [checkout.demo]
    demand: {{us-east-1: 400, eu-west-1: 250, ap-southeast-1: 200, sa-east-1: 150}}
    deployments:{checkout}
  search:
    hosts: [search.demo]
    demand: {{us-east-1: 40, eu-west-1: 30, ap-southeast-1: 20, sa-east-1: 10}}
    deployments:{search}
"""
CAPACITY = {"us-east-1": 1100, "eu-west-1": 700, "ap-southeast-1": 600, "sa-east-1": 100}


class Region:
    """One region's backend."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._listener: socket.socket | None = None
        self.restore()

    def kill(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def restore(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)


class Stage:
    """The control plane's process and its regions. Use it as a context manager."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self._flags = flags
        self.policy = directory / "policy.yaml"
        self._ports = Ports(len(REGIONS) + 1, random.Random())
        *ports, self._sidecar = self._ports.numbers
        self.regions = {name: Region(name, port) for name, port in zip(REGIONS, ports, strict=True)}
        self.admin = self.xds = "127.0.0.1:0"
        self._serving: ControlPlane | None = None

    def __enter__(self) -> Stage:
        self.policy.write_text(self.policy_text())
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for region in self.regions.values():
            region.kill()
        self._ports.close()

    @property
    def base(self) -> str:
        return f"http://{self.admin}"

    def policy_text(self) -> str:
        """Return the policy: search has a tenth of the capacity, and is not in sa-east-1."""
        lines = [
            f'\n      {r.name}: {{endpoints: ["127.0.0.1:{r.port}"], capacity: {CAPACITY[r.name]}}}'
            for r in self.regions.values()
        ]
        tenth = [line.replace("00}", "0}") for line in lines if "sa-east-1" not in line]
        return POLICY.format(checkout="".join(lines), search="".join(tenth), sidecar=self._sidecar)

    def start(self) -> None:
        """Start the process: the first time on a free port, then on the same."""
        self._serving = ControlPlane(self.policy, "--admin", self.admin, *self._flags)
        self.admin, self.xds = self._serving.admin, self._serving.xds

    def stop(self) -> None:
        if self._serving is not None:
            self._serving.stop()
            self._serving = None

    def api(self, path: str, body: object = None) -> Any:
        """Ask the HTTP API, or with a body post to it, as a program does."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.base + path, data, {"content-type": "application/json"})
        with build_opener(ProxyHandler({})).open(request, timeout=30) as response:
            return json.load(response)
