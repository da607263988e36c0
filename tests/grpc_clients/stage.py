"""The world of these tests: `xds-server serve`, three regions of real gRPC servers, two gRPC clients without a proxy.

The clients are C-core (Python's grpcio) and grpc-js, both in us-east-1. Every part is a process, so that it can be
killed. Waiting means asking the admin address again until a condition holds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from xds_server.demo.ports import Ports

HERE = Path(__file__).parent
JS = HERE.parent / "grpc_js"
PROGRAM = Path(sys.executable).with_name("xds-server")
LIMIT_S = 90.0
PAUSE_S = 0.05

HOME, NEXT, LAST = "us-east-1", "eu-west-1", "sa-east-1"
HOST = "checkout.demo"
CLIENTS = ("grpcio", "grpc-js")

POLICY = """
version: 1
regions:
  us-east-1: {{latency: {{eu-west-1: 80ms, sa-east-1: 120ms}}}}
  eu-west-1: {{latency: {{sa-east-1: 190ms}}}}
  sa-east-1: {{}}
defaults:
  protocol: grpc
  health: {{type: grpc, interval: 500ms, timeout: 400ms, unhealthy_after: 2, healthy_after: 2}}
  reserve: 0%
  ramp_up: 0s
services:
  checkout:
    hosts: [checkout.demo, checkout.other]
    demand: {{us-east-1: 100, eu-west-1: 20, sa-east-1: 20}}
    deployments:
      us-east-1: {{endpoints: {us}, capacity: {home}}}
      eu-west-1: {{endpoints: {eu}, capacity: {next}}}
      sa-east-1: {{endpoints: {sa}, capacity: {last}}}
    overload: {{mode: shed, classes: [{{name: batch, headers: {{x-class: batch}}, share: 30%}}]}}
"""


PAGE = (HERE.parents[1] / "docs" / "own-resources.md").read_text()
OWN_HOST = "reports.demo"
OWN = next(text for text in PAGE.split("```") if OWN_HOST in text and text.startswith("yaml")).removeprefix("yaml\n")
"""A listener of the operator's own for gRPC clients, as the docs have it: its routes go to one region."""


class Process:
    """One child process; `start` may be called again after it has ended."""

    def __init__(self, *argv: str, **environment: str) -> None:
        self._argv = argv
        self._environment = {**os.environ, **environment}
        self._popen: subprocess.Popen[str] | None = None

    def start(self) -> Process:
        self._popen = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        return self

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def write(self, text: str) -> None:
        assert self._popen is not None
        assert self._popen.stdin is not None
        self._popen.stdin.write(text)
        self._popen.stdin.flush()

    def read(self) -> Any:
        """Return the next line, as JSON; the process is killed, and the line is then missing, after the limit."""
        assert self._popen is not None
        assert self._popen.stdout is not None
        watch = threading.Timer(LIMIT_S, self._popen.kill)
        watch.start()
        line = self._popen.stdout.readline()
        watch.cancel()
        assert line, f"{self._argv} ended or said nothing in {LIMIT_S} s"
        return json.loads(line)

    def send(self, number: signal.Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(number)

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.communicate()


class Counts:
    """What became of a number of calls."""

    def __init__(self, said: Any) -> None:
        self.served: dict[str, int] = said["served"]
        self.failed: dict[str, int] = said["failed"]

    def share(self, region: str) -> float:
        return self.served.get(region, 0) / sum(self.served.values())


class Caller:
    """A client process that makes calls when it is told to."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def begin(self, calls: int) -> None:
        """Make calls; return when a tenth of them is over."""
        self._process.write(f"{calls}\n")
        assert self._process.read() == {"begun": True}

    def end(self) -> Counts:
        return Counts(self._process.read())

    def call(self, calls: int) -> Counts:
        self.begin(calls)
        return self.end()


class Stage:
    """A running world."""

    def __init__(self, directory: Path, ports: tuple[int, ...], stack: ExitStack) -> None:
        self._directory = directory
        self._policy = directory / "policy.yaml"
        self._ports = {HOME: ports[0:2], NEXT: ports[2:4], LAST: ports[4:6]}
        self._xds, self._admin = f"127.0.0.1:{ports[6]}", f"127.0.0.1:{ports[7]}"
        self.backends = {
            region: Process(sys.executable, "-m", "tests.grpc_clients.backend", region, *map(str, found))
            for region, found in self._ports.items()
        }
        self.capacities(70, 60)
        state = str(directory / "state")
        own = directory / "own"
        own.mkdir()
        (own / "reports.yaml").write_text(OWN)
        arguments = [str(self._policy), "--xds", self._xds, "--admin", self._admin, "--state-dir", state]
        arguments += ["--resources", str(own)]
        self.control_plane = Process(str(PROGRAM), "serve", *arguments, "--log-level", "error")
        for process in (*self.backends.values(), self.control_plane):
            stack.callback(process.kill)
            process.start()
        self.control_plane.read()
        self.callers = {name: stack.enter_context(self.another(name, HOST)) for name in CLIENTS}

    @contextmanager
    def another(self, name: str, host: str) -> Iterator[Caller]:
        """Run a client of that library, which calls that host."""
        made = [str(PROGRAM), "bootstrap", "--grpc", "--region", HOME, "--id", name, "--xds", self._xds]
        bootstrap = self._directory / f"{name}.json"
        bootstrap.write_text(subprocess.run(made, check=True, capture_output=True, text=True).stdout)
        argv = {
            "grpcio": [sys.executable, "-m", "tests.grpc_clients.caller"],
            "grpc-js": ["node", str(JS / "caller.js")],
        }
        process = Process(*argv[name], f"xds:///{host}", GRPC_XDS_BOOTSTRAP=str(bootstrap)).start()
        try:
            yield Caller(process)
        finally:
            process.kill()

    def capacities(self, home: int, following: int, last: int = 200) -> None:
        """Edit the policy: us-east-1 sends 100 requests per second; what it cannot serve goes to the next region."""
        at = {region: str([f"127.0.0.1:{port}" for port in found]) for region, found in self._ports.items()}
        text = POLICY.format(us=at[HOME], eu=at[NEXT], sa=at[LAST], home=home, next=following, last=last)
        beside = self._policy.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self._policy)

    def api(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self._admin}/api/v1/{path}", timeout=LIMIT_S) as response:
            return json.load(response)

    def weights(self) -> dict[str, int]:
        """Return the weights that us-east-1 gets, in percent, without zeros."""
        views = self.api("decision")["services"][0]["views"]
        (row,) = (view["weights"] for view in views if view["view"] == HOME)
        return {region: weight // 100 for region, weight in row.items() if weight}

    def clients(self) -> dict[str, Any]:
        return {client["id"]: client for client in self.api("fleet")["clients"]}

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        paused = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not in {LIMIT_S} s; {self.api('events?limit=8')}"
            paused.wait(PAUSE_S)

    def follows(self, **wanted: int) -> None:
        """Wait until weights are decided so, and both clients have acknowledged them."""
        expected = {name.replace("_", "-"): weight for name, weight in wanted.items()}
        self.until(f"weights {expected}", lambda: self.weights() == expected)
        self.until("the clients have them", self._acknowledged)

    def synced(self) -> bool:
        """Return whether the clients have acknowledged all there is."""
        types = [said for client in self.clients().values() for said in client["types"].values()]
        return all(said["synced"] for said in types)

    def _acknowledged(self) -> bool:
        found = [client["types"].get("RDS") for client in self.clients().values()]
        versions = {(said["sent"], said["acked"]) for said in found if said is not None}
        return len(found) == len(CLIENTS) and len(versions) == 1 and all(sent == acked for sent, acked in versions)

    def restore(self) -> None:
        """Start again what was killed; the next test sets the weights it wants."""
        if not self.control_plane.running:
            self.control_plane.start()
            self.control_plane.read()
        for process in self.backends.values():
            if process.running:
                process.send(signal.SIGCONT)
            else:
                process.start()
        self.capacities(70, 60)
        self.until("all is well again", self._well)

    def _well(self) -> bool:
        regions = self.api("decision")["regions"]
        return all(region["health"] == "healthy" for region in regions) and self.weights() == {HOME: 70, NEXT: 30}


@contextmanager
def new_stage(directory: Path) -> Iterator[Stage]:
    """Start everything; leave nothing behind."""
    assert (JS / "node_modules").is_dir(), "tests/grpc_js is not installed: `make test` does that"
    ports = Ports(8, random.Random())
    with ExitStack() as stack:
        stack.callback(ports.close)
        yield Stage(directory, ports.numbers, stack)
