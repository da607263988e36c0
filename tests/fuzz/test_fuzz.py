"""Mutated requests: what is wrong with them ends that stream with a status, and nothing else happens.

`python -m tests.fuzz.atheris_requests` feeds the same conversation by coverage, for as long as one likes.
"""

from __future__ import annotations

import asyncio

import grpc
from hypothesis import HealthCheck, example, given, settings

from tests.fuzz.requests import METHOD, SNAPSHOTS, TALKS, converse
from tests.protocol.talk import TYPES
from tests.transport.test_server import VIEW, Client, bodies, house, run, until
from xds_server.transport.clients import Closed
from xds_server.transport.services import METHODS, Method

EXPECTED = {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
"""A fault in the server would be UNKNOWN."""


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(METHOD, TALKS)
@example(METHODS[0], [b""])
@example(METHODS[1], [b"\xff" * 50])
def test_a_conversation_takes_anything(method: Method, talk: list[bytes]) -> None:
    converse(method, talk)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(METHOD, TALKS)
def test_the_server_takes_anything_and_keeps_nothing(method: Method, talk: list[bytes]) -> None:
    async def test() -> None:
        async with house() as home, home.client() as good:
            home.publisher.publish({VIEW: SNAPSHOTS[0]})
            await good.asks("C")
            first = await good.reads()
            assert await asyncio.to_thread(_says, home.port, method, talk) in EXPECTED
            await until(lambda: bool(home.said(Closed)))
            home.publisher.publish({VIEW: SNAPSHOTS[1]})
            await _still_served(good, first)
            assert len(home.server.clients()) == 1

    run(test)


def _says(port: int, method: Method, talk: list[bytes]) -> str:
    """Say it all on one stream and hear what comes; return how the stream ended.

    In a thread, because of grpc.aio's own client a task stays behind when it writes to a stream that has ended.
    """
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(f"/{method.service}/{method.name}")(iter(talk))
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        return str(call.code().name)


async def _still_served(good: Client, first: object) -> None:
    await good.acks(first)
    changed = await good.reads()
    assert (changed.type_url, bodies(changed)) == (TYPES["C"], [b"a=2", b"b=1"])
