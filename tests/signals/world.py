"""Real endpoints for probes: one asyncio server whose answer each test chooses, and a place to wait for results."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import ParamSpec

from xds_server.model import Address, Observation, Target
from xds_server.policy.types import HealthCheck
from xds_server.signals.probes import Prober

LIMIT_S = 20.0
"""Generous: only a broken test waits this long."""

P = ParamSpec("P")

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def in_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run an async test in a fresh event loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; fail when it does not come true within the limit."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - conditions here are of several kinds, few are events
            await asyncio.sleep(0.005)


def target(address: Address, service: str = "checkout", region: str = "eu-west-1") -> Target:
    return Target(service, region, address)


def http_answer(status: str, body: bytes = b"ok\n", headers: str = "") -> Answer:
    """Answer every request on a connection like this."""
    text = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request_of(reader):
            writer.write(text)

    return answer


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take requests and never answer."""
    while await request_of(reader):
        pass


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """Return the head of the next request on a connection; nothing at its end."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


class Endpoint:
    """A listening endpoint; counts connections, keeps requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.address = Address("127.0.0.1", 0)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.answer(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()


@asynccontextmanager
async def endpoint(answer: Answer, ip: str = "127.0.0.1") -> AsyncIterator[Endpoint]:
    """Serve `answer` on a free port."""
    made = Endpoint(answer)
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(made.handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, ip, 0, family=family, backlog=4096)
    made.address = Address(ip, server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the turn in which aborted transports close their sockets


@contextmanager
def black_hole() -> Iterator[Address]:
    """Listen and never accept: connections open, requests are never read."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        yield Address("127.0.0.1", listener.getsockname()[1])


def closed_port() -> Address:
    """Return an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])


@asynccontextmanager
async def probing(targets: dict[Target, HealthCheck], concurrency: int = 256) -> AsyncIterator[Probing]:
    """Run a prober over `targets`."""
    seen: list[Observation] = []
    prober = Prober(seen.append, time.monotonic, concurrency)
    prober.set_targets(targets)
    task = asyncio.get_running_loop().create_task(prober.run())
    try:
        yield Probing(prober, seen)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Probing:
    """A running prober and what it has said so far."""

    def __init__(self, prober: Prober, seen: list[Observation]) -> None:
        self.prober = prober
        self.seen = seen

    def of(self, one: Target) -> list[Observation]:
        return [observation for observation in self.seen if observation.target == one]

    async def first(self, one: Target) -> Observation:
        await until(lambda: self.of(one))
        return self.of(one)[0]
