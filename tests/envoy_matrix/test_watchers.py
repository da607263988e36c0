"""Every release looks at other regions for us as the policy says: where, by what name, and by which protocol."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.envoy_matrix.releases import binary
from tests.signals.fleet import AWAY, CHECK, fleet
from tests.signals.test_content_probes import HealthService, grpc_endpoint
from tests.signals.world import endpoint, http_answer, in_loop, request_of, until
from xds_server.model import Target
from xds_server.policy.types import ProbeKind

pytestmark = pytest.mark.envoy

OK = http_answer("200 OK")


@in_loop
async def test_watchers_ask_an_endpoint_by_its_own_name_at_whatever_port(tmp_path: Path, release: str) -> None:
    """A server that takes Host headers seriously answers 400 to any other, and would look dead from everywhere."""
    asked: list[bytes] = []

    async def by_name(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await request_of(reader):
            asked.append(next(line for line in request.split(b"\r\n") if line.lower().startswith(b"host:")))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with fleet(tmp_path, OK, by_name) as scene, endpoint(by_name) as other:
        await scene.sidecar("here", program=binary(release))
        await until(lambda: scene.looks("here"))
        assert set(asked) == {f"host: {scene.backends[AWAY].address}".encode()}
        scene.watch(replace(CHECK, host="checkout.demo", port=other.address.port))
        await until(lambda: other.connections and asked[-1] == b"host: checkout.demo")
        await until(lambda: scene.looks("here")[-1].healthy)


@in_loop
async def test_watchers_call_the_health_protocol_of_grpc(tmp_path: Path, release: str) -> None:
    health = HealthService(server=1, shop=2)
    async with fleet(tmp_path, OK, OK) as scene, grpc_endpoint(health) as address:
        target = Target("checkout", AWAY, address)
        await scene.sidecar("here", program=binary(release))
        for name, up in (("", True), ("shop", False), ("unknown", False)):
            check = replace(CHECK, kind=ProbeKind.GRPC, grpc_service=name)
            scene.seen.clear()
            scene.signals.set_targets({target: check})
            await until(lambda: scene.looks("here"))
            await until(lambda up=up: scene.looks("here")[-1].healthy == up)  # type: ignore[misc]
        assert {request[2:] for request in health.asked} == {b"", b"shop", b"unknown"}
        health.statuses = {"unknown": 1}
        await until(lambda: scene.looks("here")[-1].healthy)
