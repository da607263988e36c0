"""Connections that say nothing: how long they are held, how many, and who is answered meanwhile."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.access.world import served, until
from tests.operator.world import Process
from tests.signals.world import in_loop
from tests.support.certificates import Authority
from tests.support.control_plane import LIMIT_S
from xds_server.operator.access import Door
from xds_server.operator.admin_server import AdminServer
from xds_server.operator.doorstep import Limits, limits_of, who_leaves
from xds_server.operator.https import Https

LIVE = b"GET /live HTTP/1.1\r\nhost: localhost\r\n"
FOLLOW = b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Guest:
    """One connection to the admin side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, words: bytes) -> None:
        self._writer.write(words)

    async def hears(self, words: bytes) -> bool:
        """Return whether these words come before the end."""
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._reader.readuntil(words)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    async def is_closed(self) -> bool:
        return not await self.hears(b"never said")

    def leave(self) -> None:
        self._writer.close()


class House:
    """An admin side with limits of the test's, and who comes to it."""

    def __init__(self, port: int, counted: list[str]) -> None:
        self.port = port
        self.counted = counted
        self.guests: list[Guest] = []

    async def guest(self, words: bytes = b"") -> Guest:
        guest = Guest(*await asyncio.open_connection("127.0.0.1", self.port))
        self.guests.append(guest)
        guest.say(words)
        return guest


@asynccontextmanager
async def house(most: Limits, https: Https | None = None) -> AsyncIterator[House]:
    counted: list[str] = []
    server = AdminServer(Process(), "127.0.0.1", 0, door=Door(count=counted.append), https=https, most=most)
    found = House((await server.start()).port, counted)
    try:
        yield found
    finally:
        for guest in found.guests:
            guest.leave()
        await server.stop()


@in_loop
async def test_who_does_not_ask_in_time_is_closed_and_who_asks_is_answered() -> None:
    async with house(Limits(100, 25, patience_s=1.0)) as here:
        silent, slow, served_once = await here.guest(), await here.guest(LIVE), await here.guest(LIVE + b"\r\n")
        follower = await here.guest(FOLLOW)
        assert await served_once.hears(b"live\n")
        served_once.say(LIVE)  # half of the next, which ends uvicorn's own patience with it
        assert await silent.is_closed()
        assert await slow.is_closed()
        assert await served_once.is_closed()
        assert await follower.hears(b"event: hello")
        follower.say(b"\r\n")
        assert await follower.hears(b"event: decision")


@in_loop
async def test_a_handshake_has_no_longer(tmp_path: Path) -> None:
    own = Authority(tmp_path).issue("admin", "127.0.0.1")
    async with house(Limits(100, 25, patience_s=0.3), Https(own.certificate, own.key, None)) as here:
        assert await (await here.guest()).is_closed()
        assert await (await here.guest(b"\x16\x03\x01")).is_closed()


@in_loop
async def test_a_probe_is_answered_while_others_sit_silent_and_nobody_is_dropped_for_it_who_is_answered() -> None:
    async with house(Limits(4, 1)) as here:
        followers = [await here.guest(FOLLOW) for _ in range(2)]
        assert [await one.hears(b"event: hello") for one in followers] == [True, True]
        silent = [await here.guest() for _ in range(20)]
        assert await (await here.guest(LIVE + b"\r\n")).hears(b"live\n")
        assert await silent[0].is_closed()
        followers += [await here.guest(FOLLOW) for _ in range(2)]
        assert [await one.hears(b"event: hello") for one in followers[2:]] == [True, True]
        assert here.counted == []
        assert await (await here.guest(LIVE + b"\r\n")).is_closed()
        assert here.counted == ["crowded"]


def test_one_address_makes_room_among_its_own_and_this_machine_has_all() -> None:
    far, near, most = "192.0.2.7", "127.0.0.1", Limits(4, 2)
    held = {"a": ("192.0.2.8", 1.0), "b": (far, 3.0), "c": (far, 2.0)}
    assert who_leaves(held, far, most) == ("c",)
    assert who_leaves(held, near, most) == ()
    assert who_leaves({**held, "d": (near, 4.0)}, near, most) == ("a",)
    assert who_leaves({"b": (far, None), "c": (far, None)}, far, most) is None
    assert who_leaves(dict.fromkeys("abc", (near, 1.0)), "::1", most) == ()


def test_a_process_with_few_descriptors_keeps_most_of_them_for_others() -> None:
    assert limits_of(220) == Limits(55, 13)
    assert limits_of(-1) == limits_of(65_536) == Limits(256, 64)


def test_without_descriptors_it_waits_and_says_so_once(tmp_path: Path) -> None:
    with served(tmp_path) as server, ExitStack() as stack:
        pid, (host, port) = server.process.pid, server.admin.split(":")
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_ones = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_ones, before[1]))
        for _ in range(20):
            stack.enter_context(socket.create_connection((host, int(port))))
        until(lambda: server.logged("event=admin.denied", "a connection from somewhere", "too many open files"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert server.ask("/live").status == 200
        assert len(server.log.splitlines()) < 20


@in_loop
async def test_what_anybody_may_send_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with house(Limits(100, 25)) as here:
        for words in (b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", b"upgrade: websocket\r\n\r\n"):
            assert await (await here.guest(LIVE + words)).hears(b"live\n")
        assert await (await here.guest(b"nonsense\r\n\r\n")).hears(b"400 Bad Request")
    assert not caplog.records
