"""Probes against real sockets: what each kind of endpoint looks like, and that no target delays another."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.signals.world import (
    Answer,
    black_hole,
    closed_port,
    endpoint,
    hang,
    http_answer,
    in_loop,
    probing,
    target,
    until,
)
from xds_server.model import Address, Observation
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.signals.probes import STALL_S, Prober

FAST = HealthCheck(interval_ms=20, timeout_ms=2_000)
TCP = replace(FAST, kind=ProbeKind.TCP)


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hang up on the first request."""
    await reader.readline()


async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak something else."""
    await reader.readline()
    writer.write(b"220 mail.example ESMTP ready\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (http_answer("200 OK"), ""),
        (http_answer("503 Service Unavailable"), "HTTP 503"),
        (http_answer("302 Found", headers="location: /elsewhere\r\n"), "HTTP 302"),
        (http_answer("200 OK", body=b"x" * 1_000_000), ""),
        (close_at_once, "connection closed without an answer"),
        (gibberish, "not an HTTP answer"),
    ],
    ids=["200", "503", "redirect", "large body", "hangs up", "not http"],
)
@in_loop
async def test_an_http_probe_says_what_it_saw(answer: Answer, detail: str) -> None:
    async with endpoint(answer) as served, probing({target(served.address): FAST}) as probes:
        first = await probes.first(target(served.address))
    assert (first.healthy, first.detail) == (not detail, detail)
    assert first.vantage == "controlplane"
    assert first.latency_ms is not None
    assert 0 < first.latency_ms < 2_000


@in_loop
async def test_other_statuses_can_count_as_healthy() -> None:
    check = replace(FAST, statuses=frozenset({204, 503}))
    async with (
        endpoint(http_answer("503 Service Unavailable")) as served,
        probing({target(served.address): check}) as probes,
    ):
        assert (await probes.first(target(served.address))).healthy


@pytest.mark.parametrize("check", [FAST, TCP], ids=["http", "tcp"])
@in_loop
async def test_a_closed_port_is_a_refused_connection(check: HealthCheck) -> None:
    one = target(closed_port())
    async with probing({one: check}) as probes:
        first = await probes.first(one)
    assert (first.healthy, first.detail) == (False, "connection refused")


@in_loop
async def test_a_hanging_endpoint_fails_at_its_deadline() -> None:
    async with endpoint(hang) as served:
        one = target(served.address)
        started = time.monotonic()
        async with probing({one: replace(FAST, timeout_ms=120)}) as probes:
            first = await probes.first(one)
    assert (first.healthy, first.detail, first.latency_ms) == (False, "no answer in 120 ms", None)
    assert first.at >= started + 0.12


@in_loop
async def test_an_answer_that_drips_is_cut_off_by_the_same_deadline() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx")
        await hang(reader, writer)

    async with endpoint(drip) as served:
        one = target(served.address)
        async with probing({one: replace(FAST, timeout_ms=100)}) as probes:
            assert (await probes.first(one)).detail == "no answer in 100 ms"


@in_loop
async def test_a_tcp_probe_only_connects() -> None:
    async with endpoint(hang) as served, probing({target(served.address): TCP}) as probes:
        assert (await probes.first(target(served.address))).healthy


@in_loop
async def test_ipv6_endpoints_are_probed() -> None:
    async with endpoint(http_answer("200 OK"), ip="::1") as served, probing({target(served.address): FAST}) as probes:
        assert (await probes.first(target(served.address))).healthy


@in_loop
async def test_the_request_carries_path_and_host_on_one_kept_connection() -> None:
    requests: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    check = replace(FAST, path="/deep/healthz?full=%2F", host="checkout.demo")
    async with endpoint(record) as served, probing({target(served.address): check}) as probes:
        await until(lambda: len(probes.seen) >= 5)
        assert served.connections == 1
    assert requests[0].startswith(b"GET /deep/healthz?full=%2F HTTP/1.1\r\n")
    assert b"host: checkout.demo\r\n" in requests[0].lower()


@in_loop
async def test_a_kept_connection_that_went_stale_is_no_failure() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.readline()  # the next request, cut off: what an idle timeout looks like from outside

    async with endpoint(once) as served, probing({target(served.address): FAST}) as probes:
        await until(lambda: served.connections >= 4)
        assert all(observation.healthy for observation in probes.seen)


@in_loop
async def test_the_port_of_the_check_wins() -> None:
    async with endpoint(http_answer("200 OK")) as served:
        one = target(Address("127.0.0.1", 1))
        async with probing({one: replace(FAST, port=served.address.port)}) as probes:
            assert (await probes.first(one)).healthy


@in_loop
async def test_two_thousand_hanging_targets_do_not_delay_a_healthy_one() -> None:
    slow = HealthCheck(interval_ms=2_000, timeout_ms=1_900)
    with black_hole() as stuck:
        crowd = {target(stuck, service=f"stuck-{n}"): slow for n in range(2_000)}
        async with endpoint(http_answer("200 OK")) as served:
            one = target(served.address)
            async with probing({**crowd, one: replace(FAST, interval_ms=100)}, concurrency=64) as probes:
                await until(lambda: len(probes.of(one)) >= 20)
                seen = probes.of(one)
    assert all(observation.healthy for observation in seen)
    gaps = sorted(b.at - a.at for a, b in pairwise(seen))
    assert gaps[len(gaps) // 2] < 0.5


@in_loop
async def test_an_unchanged_target_keeps_its_schedule_and_a_removed_one_stops() -> None:
    slow = replace(FAST, interval_ms=3_600_000)
    async with endpoint(http_answer("200 OK")) as served:
        kept, removed, added = (target(served.address, service=name) for name in ("kept", "removed", "added"))
        async with probing({kept: slow, removed: FAST}) as probes:
            await until(lambda: probes.of(kept) and len(probes.of(removed)) >= 3)
            probes.prober.set_targets({kept: slow, added: FAST})
            await probes.first(added)
            before = len(probes.of(removed))
            await until(lambda: len(probes.of(added)) >= 5)
            assert len(probes.of(removed)) == before
            assert len(probes.of(kept)) == 1


@in_loop
async def test_a_changed_check_takes_effect() -> None:
    async with endpoint(http_answer("200 OK")) as served:
        one = target(served.address)
        async with probing({one: replace(FAST, interval_ms=3_600_000)}) as probes:
            await probes.first(one)
            probes.prober.set_targets({one: replace(FAST, statuses=frozenset({418}))})
            await until(lambda: len(probes.of(one)) >= 2)
            assert probes.of(one)[-1].detail == "HTTP 200"


@in_loop
async def test_a_process_that_was_stalled_does_not_blame_the_endpoint() -> None:
    """The clock jumps far past the deadline while a probe is under way, as after SIGSTOP and SIGCONT."""
    skipped = 0.0

    def now() -> float:
        return time.monotonic() + skipped

    seen: list[Observation] = []
    async with endpoint(hang) as served:
        prober = Prober(seen.append, now, chance=lambda: 0.0)
        prober.set_targets({target(served.address): HealthCheck(interval_ms=50, timeout_ms=150)})
        task = asyncio.get_running_loop().create_task(prober.run())
        await until(lambda: served.connections >= 1)
        assert not seen
        skipped = 10 * STALL_S
        await until(lambda: prober.void >= 1)
        assert all("no answer" in observation.detail for observation in seen[:1])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert prober.void == 1


@in_loop
async def test_running_out_of_descriptors_is_no_evidence() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with black_hole() as stuck:
        crowd = {target(stuck, service=f"s{n}"): replace(FAST, timeout_ms=10_000) for n in range(300)}
        async with probing(crowd) as probes:
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
            try:
                await until(lambda: probes.prober.void > 10)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert not probes.seen
