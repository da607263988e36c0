"""A backend, a control plane with a folder of own resources, and a real Envoy that follows it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.support.control_plane import LIMIT_S, ControlPlane
from tests.support.envoy import EnvoyProcess
from tests.support.waiting import wait_until
from xds_server.demo.ports import Ports

PROGRAM = [sys.executable, "-m", "xds_server"]
LAYER = "operations"


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked, and with the header that only an injected secret can have set."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "credential": self.headers.get("authorization", "")}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def backend() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class World:
    """Everything that runs, and the folder."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.folder = directory / "resources"
        self.folder.mkdir()
        self.policy = directory / "policy.yaml"
        self.port = stack.enter_context(backend())
        self._stack = stack
        self._write_policy()

    def start(self, *options: str) -> None:
        """Start everything; `options` are for the bootstrap."""
        self.serve()
        self.envoy = self._stack.enter_context(EnvoyProcess(self.directory, self._bootstrap(options)))

    def serve(self) -> None:
        flags = ("--resources", self.folder, "--state-dir", self.directory / "state")
        self.control_plane = ControlPlane(self.policy, *flags)
        self._stack.callback(self.control_plane.stop)

    def write(self, name: str, resources: list[dict[str, Any]], **more: Any) -> None:
        (self.folder / name).write_text(json.dumps({"resources": resources, **more}))

    def get(self, listener: str, path: str, host: str = "own.example") -> tuple[int, str]:
        """Ask through one of Envoy's listeners; (0, …) while there is none."""
        statuses = self.envoy.admin_json("/listeners?format=json").get("listener_statuses", [])
        ports = [s["local_address"]["socket_address"]["port_value"] for s in statuses if s["name"] == listener]
        if not ports:
            return 0, "no such listener"
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{ports[0]}{path}", headers={"host": host})
            with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError as error:
            return 0, str(error.reason)

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for a condition; the error shows what the control plane and Envoy said."""
        wait_until(condition, LIMIT_S, lambda: f"no {what}\n{self.control_plane.log}\n{self.envoy.log}")

    def _write_policy(self) -> None:
        ports = Ports(1, random.Random())
        self._stack.callback(ports.close)
        listen = ports.numbers[0]
        text = f"""
version: 1
regions: {{us-east-1: {{}}}}
fleets: {{default: {{listen: "127.0.0.1:{listen}"}}}}
rollout: {{timeout: 20s}}
services:
  checkout:
    health: {{path: /, interval: 1s, timeout: 500ms}}
    deployments: {{us-east-1: {{endpoints: ["127.0.0.1:{self.port}"], capacity: 1000}}}}
"""
        self.policy.write_text(text)

    def _bootstrap(self, options: Sequence[str]) -> str:
        """Return our own bootstrap, with a runtime layer that asks for ours."""
        command = [*PROGRAM, "bootstrap", "--region", "us-east-1", "--admin-port", "0", *options]
        command += ["--xds", self.control_plane.ready["xds"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
        bootstrap = yaml.safe_load(done.stdout)
        source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}
        layer = {"name": LAYER, "rtds_layer": {"name": LAYER, "rtds_config": source}}
        bootstrap["layered_runtime"]["layers"].insert(0, layer)
        return yaml.safe_dump(bootstrap)


@contextmanager
def world(directory: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(directory, stack)
