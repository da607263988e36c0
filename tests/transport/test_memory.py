"""How often the interpreter looks for garbage while clients come and go, and that they leave none."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.protocol.talk import world
from tests.transport.test_server import VIEW, house, run, until
from xds_server.protocol.events import Acked
from xds_server.transport.clients import Closed
from xds_server.transport.memory import NEW_OBJECTS, NEW_OBJECTS_A_CLIENT


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*before)


def test_the_interpreter_looks_for_garbage_the_more_seldom_the_more_clients_there_are() -> None:
    async def talk() -> None:
        async with house(collect_seldom=True) as home:
            assert gc.get_threshold()[0] == NEW_OBJECTS
            async with home.client() as client:
                await client.asks("C")
                await until(lambda: bool(home.server.clients()))
                assert gc.get_threshold()[0] == NEW_OBJECTS + NEW_OBJECTS_A_CLIENT
            await until(lambda: bool(home.said(Closed)))
            await until(lambda: gc.get_threshold()[0] == NEW_OBJECTS)

    run(talk)


def test_a_library_does_not_touch_the_interpreter_unasked() -> None:
    async def talk() -> None:
        before = gc.get_threshold()
        async with house() as home, home.client() as client:
            await client.asks("C")
            await until(lambda: bool(home.server.clients()))
            assert gc.get_threshold() == before

    run(talk)


def test_a_client_that_left_is_freed_without_a_search() -> None:
    async def talk() -> None:
        async with house() as home:
            home.publisher.publish({VIEW: world("C a=1")})
            gc.collect()
            gc.disable()
            async with home.client() as client:
                await client.asks("C")
                await client.acks(await client.reads())
                await until(lambda: bool(home.said(Acked)))
                assert _streams()
            await until(lambda: not _streams())

    run(talk)


def _streams() -> list[object]:
    return [thing for thing in gc.get_objects() if type(thing).__name__ in {"ClientStream", "SotwStream"}]
