"""examples/own_decisions.py as a person runs it: a real Envoy follows each step, a rejected step is put back."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from tests.support.envoy import LIMIT_S, EnvoyProcess
from tests.transport.envoy_world import bootstrap
from xds_server.snapshot.resource import TypeUrl
from xds_server.transport.services import ADS

PROGRAM = Path(__file__).parents[2] / "examples" / "own_decisions.py"


class Program:
    """The example, running. Its lines are read as they come; `confirm` lets it go on."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, str(PROGRAM), "--xds", "127.0.0.1:0", "--group", "web", "--confirm", *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._watchdog = threading.Timer(2 * LIMIT_S, self._process.kill)

    def __enter__(self) -> Program:
        self._watchdog.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=LIMIT_S)
        self._watchdog.cancel()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def xds_port(self) -> int:
        line = self.line()
        assert line.startswith("serving xDS on "), line
        return int(line.rpartition(":")[2])

    def confirm(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def status(self) -> int:
        return self._process.wait(LIMIT_S)


@contextmanager
def backend(name: str) -> Iterator[str]:
    """A server that answers with its name; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def weights(envoy: EnvoyProcess) -> dict[str, int]:
    """Return what the Envoy's route says."""
    (dump,) = (c for c in envoy.admin_json("/config_dump")["configs"] if c["@type"].endswith(".RoutesConfigDump"))
    (route,) = dump["dynamic_route_configs"][0]["route_config"]["virtual_hosts"][0]["routes"]
    return {c["name"]: c.get("weight", 0) for c in route["route"]["weighted_clusters"]["clusters"]}


def answers(envoy: EnvoyProcess, count: int) -> Counter[str]:
    port = envoy.listener_port("shift")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return Counter(opener.open(f"http://127.0.0.1:{port}/", timeout=LIMIT_S).read().decode() for _ in range(count))


@pytest.mark.envoy
def test_traffic_moves_from_blue_to_green_step_by_step(tmp_path: Path) -> None:
    with (
        backend("blue") as blue,
        backend("green") as green,
        Program("--blue", blue, "--green", green, "--steps", "25,100", "--listen", "127.0.0.1:0") as program,
        EnvoyProcess(tmp_path, json.dumps(bootstrap(program.xds_port())), suffix="json") as envoy,
    ):
        assert program.line() == "0 % green, taken by 1"
        assert weights(envoy) == {"blue": 100, "green": 0}
        assert answers(envoy, 40) == {"blue": 40}
        program.confirm()
        assert program.line() == "25 % green, taken by 1"
        assert weights(envoy) == {"blue": 75, "green": 25}
        assert answers(envoy, 150).keys() == {"blue", "green"}
        program.confirm()
        assert program.line() == "100 % green, taken by 1"
        assert weights(envoy) == {"blue": 0, "green": 100}
        assert answers(envoy, 40) == {"green": 40}
        assert program.line() == "done; serving until Ctrl-C"
        assert not any(envoy.stats("update_rejected").values())


def test_a_step_that_a_client_rejects_is_put_back() -> None:
    with Program("--blue", "127.0.0.1:1", "--green", "127.0.0.1:2", "--steps", "50") as program:
        asyncio.run(asyncio.wait_for(_reject_a_step(program), LIMIT_S))
        assert program.status() == 1


async def _reject_a_step(program: Program) -> None:
    node = base_pb2.Node(id="edge-1", cluster="web")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{program.xds_port()}") as channel:
        call: Any = channel.stream_stream(
            f"/{ADS}/StreamAggregatedResources",
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )()
        asked = discovery_pb2.DiscoveryRequest(node=node, type_url=TypeUrl.ROUTE, resource_names=["shift"])
        await call.write(asked)
        first = await call.read()
        asked.response_nonce, asked.version_info = first.nonce, first.version_info
        await call.write(asked)
        assert await asyncio.to_thread(program.line) == "0 % green, taken by 1"
        program.confirm()
        second = await call.read()
        assert second.version_info == "green-50"
        asked.response_nonce, asked.error_detail.message = second.nonce, "I do not like green"
        await call.write(asked)
        assert await asyncio.to_thread(program.line) == "0 % green, taken by 1"
        assert await asyncio.to_thread(program.line) == "stopped: edge-1: I do not like green"
