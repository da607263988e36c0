"""Probes by TLS: all three kinds shake hands and verify the name, and say in words what was wrong."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from tests.signals.test_content_probes import HealthService
from tests.signals.world import Probing, http_answer, in_loop, target
from tests.support.certificates import Authority, Files
from xds_server.model import Address, Observation
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.signals.probes import Prober
from xds_server.signals.tls_files import TlsFiles, TlsPaths, read_tls

NAME = "shop.example"


@asynccontextmanager
async def web(shown: Files, authority: Authority) -> AsyncIterator[Address]:
    """An HTTPS server that wants client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shown)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(http_answer("200 OK"), "127.0.0.1", 0, ssl=context)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])


@asynccontextmanager
async def health_service(shown: Files, authority: Authority) -> AsyncIterator[Address]:
    server = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(HealthService(server=1).check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    pair = (shown.key.read_bytes(), shown.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.pem, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield Address("127.0.0.1", port)
    finally:
        await server.stop(0)


async def seen(address: Address, kind: ProbeKind, files: TlsFiles, name: str = NAME) -> Observation:
    """Return what the first probe says."""
    found: list[Observation] = []
    prober = Prober(found.append, time.monotonic)
    one = target(address)
    prober.set_targets(
        {one: HealthCheck(kind, path="/", timeout_ms=30_000, interval_ms=60_000, tls=True, server_name=name)}
    )
    prober.set_tls({one.service: files})
    task = asyncio.get_running_loop().create_task(prober.run())
    try:
        return await Probing(prober, found).first(one)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def files(directory: Path, authority: Authority) -> TlsFiles:
    shown = authority.issue("prober", "prober.example")
    found = read_tls(TlsPaths(*shown, authority.file), time.time())
    assert isinstance(found, TlsFiles)
    return found


@pytest.mark.parametrize("kind", list(ProbeKind))
def test_a_good_name_is_well_and_another_is_not(kind: ProbeKind, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown, known = authority.issue("shop", NAME), files(tmp_path, authority)

    @in_loop
    async def run() -> None:
        serve = health_service if kind is ProbeKind.GRPC else web
        async with serve(shown, authority) as address:
            good = await seen(address, kind, known)
            assert (good.healthy, good.detail) == (True, "")
            bad = await seen(address, kind, known, "other.example")
            assert not bad.healthy
            assert ("gRPC UNAVAILABLE" if kind is ProbeKind.GRPC else "TLS: Hostname mismatch") in bad.detail

    run()


@in_loop
async def test_an_authority_that_is_not_known_is_named(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    async with web(stranger.issue("shop", NAME), authority) as address:
        found = await seen(address, ProbeKind.HTTP, files(tmp_path, authority))
        assert found.detail == "TLS: unable to get local issuer certificate"
