"""Name resolution: the real system resolver for what it knows, a chosen one for what must hang or fail."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from tests.signals.world import in_loop, until
from xds_server.model import Resolution
from xds_server.signals import dns
from xds_server.signals.dns import LookUp, Resolver, system_look_up


class Zone:
    """A name server in memory: each name has addresses, an error, or hangs until let go."""

    def __init__(self, **names: list[str] | OSError | threading.Event) -> None:
        self.names = names
        self.asked: list[str] = []

    def __call__(self, host: str) -> Iterable[str]:
        self.asked.append(host)
        answer = self.names[host]
        if isinstance(answer, threading.Event):
            answer.wait()
            return ["192.0.2.99"]
        if isinstance(answer, OSError):
            raise answer
        return answer


@asynccontextmanager
async def resolving(
    *names: str, look_up: LookUp = system_look_up, interval_s: float = 0.01, timeout_s: float = 5.0
) -> AsyncIterator[tuple[Resolver, list[Resolution]]]:
    seen: list[Resolution] = []
    resolver = Resolver(seen.append, time.monotonic, interval_s=interval_s, timeout_s=timeout_s, look_up=look_up)
    resolver.set_names(frozenset(names))
    task = asyncio.get_running_loop().create_task(resolver.run())
    try:
        yield resolver, seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def of(seen: list[Resolution], host: str) -> list[Resolution]:
    return [resolution for resolution in seen if resolution.host == host]


@in_loop
async def test_the_system_knows_localhost() -> None:
    async with resolving("localhost") as (_, seen):
        await until(lambda: len(seen) >= 2)
    assert set(seen[0].ips) & {"127.0.0.1", "::1"}
    assert seen[0].error == ""


@in_loop
async def test_a_name_that_does_not_exist_is_an_answer_with_an_error() -> None:
    async with resolving("no-such-host.invalid", "x" * 64 + ".example") as (_, seen):
        await until(lambda: len({resolution.host for resolution in seen}) == 2)
    assert all(not resolution.ips and resolution.error for resolution in seen)


@in_loop
async def test_answers_are_unique_canonical_and_sorted_v4_first() -> None:
    zone = Zone(pay=["2001:DB8::0:1", "10.0.0.10", "10.0.0.9", "10.0.0.10", "fe80::1%eth0"])
    async with resolving("pay", look_up=zone) as (_, seen):
        await until(lambda: seen)
    assert seen[0].ips == ("10.0.0.9", "10.0.0.10", "2001:db8::1")


@in_loop
async def test_a_changed_answer_is_seen_at_the_next_round() -> None:
    zone = Zone(pay=["10.0.0.1"])
    async with resolving("pay", look_up=zone) as (_, seen):
        await until(lambda: seen)
        zone.names["pay"] = ["10.0.0.2"]
        await until(lambda: seen[-1].ips == ("10.0.0.2",))


@in_loop
async def test_a_hung_name_fails_in_time_blocks_nobody_and_counts_when_it_answers_late() -> None:
    gate = threading.Event()
    stuck = {f"stuck{n}": gate for n in range(dns.THREADS - 1)}
    zone = Zone(**stuck, pay=["10.0.0.1"])
    async with resolving(*stuck, "pay", look_up=zone, timeout_s=0.05) as (_, seen):
        await until(lambda: len(of(seen, "pay")) >= 5 and of(seen, "stuck0"))
        assert of(seen, "stuck0") == [Resolution("stuck0", (), of(seen, "stuck0")[0].at, "no answer in 0.05 s")]
        assert zone.asked.count("stuck0") == 1
        gate.set()
        await until(lambda: len(of(seen, "stuck0")) >= 2)
        assert of(seen, "stuck0")[1].ips == ("192.0.2.99",)


@in_loop
async def test_names_that_hung_before_leave_half_of_the_threads_to_others() -> None:
    gates = [threading.Event(), threading.Event()]
    stuck = {f"stuck{n}": gates[0] for n in range(dns.THREADS)}
    zone = Zone(**stuck, pay=["10.0.0.1"])
    async with resolving(*stuck, look_up=zone, timeout_s=0.05) as (resolver, seen):
        await until(lambda: len(seen) >= dns.THREADS)
        zone.names.update(dict.fromkeys(stuck, gates[1]))
        gates[0].set()
        await until(lambda: len(zone.asked) >= dns.THREADS + dns.THREADS // 2)
        resolver.set_names(frozenset({*stuck, "pay"}))
        await until(lambda: len(of(seen, "pay")) >= 3)
        assert len(zone.asked) - zone.asked.count("pay") == dns.THREADS + dns.THREADS // 2
        gates[1].set()


@in_loop
async def test_a_removed_name_is_asked_no_more() -> None:
    zone = Zone(pay=["10.0.0.1"], cart=["10.0.0.2"])
    async with resolving("pay", "cart", look_up=zone) as (resolver, seen):
        await until(lambda: of(seen, "pay") and of(seen, "cart"))
        resolver.set_names(frozenset({"cart"}))
        asked = len(of(seen, "cart"))
        await until(lambda: len(of(seen, "cart")) >= asked + 2)
        before = zone.asked.count("pay")
        await until(lambda: len(of(seen, "cart")) >= asked + 6)
        assert zone.asked.count("pay") == before


def test_failures_are_tried_again_soon_and_then_ever_later() -> None:
    async def pauses() -> list[float]:
        resolver = Resolver(lambda _: None, time.monotonic, interval_s=5.0)
        return [resolver._pause(failures) for failures in range(9)]

    assert asyncio.run(pauses()) == [5.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
