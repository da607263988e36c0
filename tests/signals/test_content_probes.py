"""Probes that look at what is said: gRPC health, and the body of an HTTP answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from tests.signals.world import closed_port, endpoint, http_answer, in_loop, probing, target, until
from xds_server.model import Address
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.signals.checks import SEARCHED
from xds_server.signals.grpc_check import status_of

FAST = HealthCheck(interval_ms=20, timeout_ms=2_000)
GRPC = replace(FAST, kind=ProbeKind.GRPC)


class HealthService:
    """grpc.health.v1 with a status for each service; asked for another, it answers NOT_FOUND as the protocol says."""

    def __init__(self, **statuses: int) -> None:
        self.statuses = statuses
        self.asked: list[bytes] = []

    async def check(self, request: bytes, context: Any) -> bytes:
        self.asked.append(request)
        status = self.statuses.get(request[2:].decode() or "server")
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes((0x08, status or 0))


@asynccontextmanager
async def grpc_endpoint(service: HealthService, port: int = 0) -> AsyncIterator[Address]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {"Check": grpc.unary_unary_rpc_method_handler(service.check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Address("127.0.0.1", port)
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        ("", ""),
        ("shop", ""),
        ("ill", "gRPC health: NOT_SERVING"),
        ("odd", "gRPC health: UNKNOWN"),
        ("no", "gRPC NOT_FOUND: unknown service"),
    ],
)
@in_loop
async def test_a_grpc_endpoint_says_how_it_is(asks: str, says: str) -> None:
    async with grpc_endpoint(HealthService(server=1, shop=1, ill=2, odd=99)) as address:
        one = target(address)
        async with probing({one: replace(GRPC, grpc_service=asks)}) as probes:
            seen = await probes.first(one)
    assert (seen.healthy, seen.detail) == (not says, says)


@in_loop
async def test_a_long_service_name_arrives_whole() -> None:
    name = "x" * 200
    async with grpc_endpoint(HealthService(**{"x" * 200: 1})) as address:
        health = HealthService(server=1)
        async with grpc_endpoint(health) as other:
            long, short = target(address), target(other, service="short")
            async with probing({long: replace(GRPC, grpc_service=name), short: replace(GRPC, grpc_service=name)}) as p:
                await p.first(long)
                await p.first(short)
    assert health.asked[0][:1] == b"\x0a"
    assert health.asked[0][3:] == name.encode()


@in_loop
async def test_a_grpc_endpoint_that_comes_back_is_seen_within_a_probe_or_two() -> None:
    async with grpc_endpoint(HealthService(server=1)) as address:
        one = target(address)
    async with probing({one: replace(GRPC, interval_ms=100)}) as probes:
        await until(lambda: len(probes.of(one)) >= 20)  # long enough for gRPC's own back-off to have grown past 2 s
        assert {seen.detail for seen in probes.of(one)} == {"connection refused"}
        async with grpc_endpoint(HealthService(server=1), address.port):
            back = len(probes.of(one))
            await until(lambda: probes.of(one)[-1].healthy)
            assert len(probes.of(one)) - back <= 5


@in_loop
async def test_a_closed_port_and_an_http1_server_are_told_apart() -> None:
    closed = target(closed_port())
    async with endpoint(http_answer("200 OK")) as served:
        http1 = target(served.address, service="http1")
        async with probing({closed: GRPC, http1: GRPC}) as probes:
            assert (await probes.first(closed)).detail == "connection refused"
            said = await probes.first(http1)
    assert not said.healthy
    assert "gRPC" in said.detail or "no answer" in said.detail


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"status": "ok"}', ""),
        (b'{"status": "sick"}', "HTTP 200 without the expected body"),
        (b"", "HTTP 200 without the expected body"),
        (b"." * (SEARCHED - 4) + b'"ok"', ""),
        (b"." * SEARCHED + b'"ok"', "HTTP 200 without the expected body"),
    ],
)
@in_loop
async def test_the_expected_body_is_looked_for(body: bytes, says: str) -> None:
    async with endpoint(http_answer("200 OK", body)) as served:
        one = target(served.address)
        async with probing({one: replace(FAST, body='"ok"')}) as probes:
            seen = await probes.first(one)
    assert (seen.healthy, seen.detail) == (not says, says)


@in_loop
async def test_a_bad_status_is_named_rather_than_its_body() -> None:
    async with endpoint(http_answer("503 Service Unavailable", b"ok")) as served:
        one = target(served.address)
        async with probing({one: replace(FAST, body="ok")}) as probes:
            assert (await probes.first(one)).detail == "HTTP 503"


def test_a_health_answer_is_read_from_its_bytes() -> None:
    assert [status_of(bytes((8, n))) for n in range(4)] == ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
    assert status_of(b"") == status_of(b"\x12\x01x") == "UNKNOWN"
