"""CSDS over real gRPC: what each client has, who may ask, and for whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.service.status.v3 import csds_pb2
from envoy.type.matcher.v3 import node_pb2, regex_pb2, string_pb2

from tests.protocol.talk import LETTERS, world
from tests.transport.test_server import LIMIT, VIEW, Client, House, house, run, until
from xds_server.protocol.events import Acked, Nacked
from xds_server.transport.csds import MOST_CALLS, SERVICE, is_loopback

WORLD = world("C a=1", "C b=1", "S key=1")
ASKED = ("C", "S")
Row = tuple[str, str, str, str]


def matcher(**fields: Any) -> node_pb2.NodeMatcher:
    return node_pb2.NodeMatcher(node_id=string_pb2.StringMatcher(**fields))


async def fetch(port: int, *matchers: node_pb2.NodeMatcher, bare: bool = False) -> Any:
    request = csds_pb2.ClientStatusRequest(node_matchers=matchers, exclude_resource_contents=bare)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await channel.unary_unary(f"/{SERVICE}/FetchClientStatus")(request.SerializeToString())
    return csds_pb2.ClientStatusResponse.FromString(answer)


def rows(config: Any) -> set[Row]:
    state, client = csds_pb2.ConfigStatus.Name, csds_pb2.ClientConfig.GenericXdsConfig.DESCRIPTOR
    names = client.fields_by_name["client_status"].enum_type.values_by_number
    return {
        (f"{LETTERS[c.type_url]} {c.name}", c.version_info, state(c.config_status), names[c.client_status].name)
        for c in config.generic_xds_configs
    }


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[House, Client]]:
    """A server and a client that has its cluster and secret."""
    async with house() as home, home.client() as client:
        home.publisher.publish({VIEW: WORLD})
        await client.asks("C")
        await client.acks(await client.reads())
        await client.asks("S", "key")
        await client.acks(await client.reads(), "key")
        await until(lambda: len(home.said(Acked)) == len(ASKED))
        yield home, client


def test_each_resource_has_its_state_and_secrets_no_body() -> None:
    async def test() -> None:
        async with scene() as (home, _):
            (config,) = (await fetch(home.port)).config
            assert (config.node.id, config.node.locality.region) == ("n1", "us-east-1")
            assert rows(config) == {(name, "1", "SYNCED", "ACKED") for name in ("C a", "C b", "S key")}
            bodies = {c.name: c.xds_config.value for c in config.generic_xds_configs}
            assert bodies == {"a": b"a=1", "b": b"b=1", "key": b""}
            assert all(abs(c.last_updated.ToSeconds() - time.time()) < LIMIT for c in config.generic_xds_configs)
            (bare,) = (await fetch(home.port, bare=True)).config
            assert not any(c.HasField("xds_config") for c in bare.generic_xds_configs)

    run(test)


def test_a_rejection_is_an_error_in_the_clients_words() -> None:
    async def test() -> None:
        async with scene() as (home, client):
            home.publisher.publish({VIEW: world("C a=1", "C b=2", "S key=1")})
            reply = await client.reads()
            (config,) = (await fetch(home.port)).config
            assert ("C b", "2", "STALE", "ACKED") in rows(config)
            await client.acks(reply, error="no such filter")
            await until(lambda: bool(home.said(Nacked)))
            (config,) = (await fetch(home.port)).config
            assert ("C b", "1", "ERROR", "NACKED") in rows(config)
            (error,) = (c.error_state for c in config.generic_xds_configs if c.HasField("error_state"))
            assert (error.details, error.version_info) == ("no such filter", "2")
            assert error.failed_configuration.value == b"b=2"
            (taken,) = (c.last_updated for c in config.generic_xds_configs if c.name == "b")
            assert taken.ToMilliseconds() < error.last_update_attempt.ToMilliseconds() + 2
            (bare,) = (await fetch(home.port, bare=True)).config
            assert not any(c.error_state.HasField("failed_configuration") for c in bare.generic_xds_configs)

    run(test)


def test_a_retry_reaches_the_stream() -> None:
    async def test() -> None:
        async with scene() as (home, client):
            home.publisher.publish({VIEW: world("C a=1", "C b=2", "S key=1")})
            await client.acks(await client.reads(), error="address in use")
            await until(lambda: bool(home.said(Nacked)))
            home.server.retry()
            assert {resource.value for resource in (await client.reads()).resources} == {b"a=1", b"b=2"}

    run(test)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"exact": "n1"}, 1),
        ({"exact": "N1"}, 0),
        ({"exact": "N1", "ignore_case": True}, 1),
        ({"prefix": "n"}, 1),
        ({"prefix": "1"}, 0),
        ({"suffix": "1"}, 1),
        ({"contains": "x"}, 0),
    ],
)
def test_clients_are_chosen_by_id(fields: dict[str, Any], found: int) -> None:
    async def test() -> None:
        async with scene() as (home, _):
            assert len((await fetch(home.port, matcher(**fields))).config) == found
            both = await fetch(home.port, matcher(exact="nobody"), matcher(**fields))
            assert len(both.config) == found

    run(test)


@pytest.mark.parametrize(
    "bad",
    [
        matcher(safe_regex=regex_pb2.RegexMatcher(regex="n1")),
        matcher(),
        node_pb2.NodeMatcher(node_metadatas=[{}]),
    ],
)
def test_a_matcher_that_cannot_be_followed_is_refused(bad: node_pb2.NodeMatcher) -> None:
    async def test() -> None:
        async with house() as home:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await fetch(home.port, bad)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run(test)


def test_a_stream_is_answered_request_by_request_and_calls_are_bounded() -> None:
    async def test() -> None:
        async with scene() as (home, _), grpc.aio.insecure_channel(f"127.0.0.1:{home.port}") as channel:
            calls = [channel.stream_stream(f"/{SERVICE}/StreamClientStatus")() for _ in range(MOST_CALLS)]
            for call in (*calls, calls[0]):
                await call.write(b"")
                assert len(csds_pb2.ClientStatusResponse.FromString(await call.read()).config) == 1
            with pytest.raises(grpc.aio.AioRpcError, match="at once"):
                await fetch(home.port)
            await calls[0].write(b"\xff\xff")
            with pytest.raises(grpc.aio.AioRpcError, match="not a ClientStatusRequest"):
                await calls[0].read()
            for call in calls[1:]:
                call.cancel()
            await asyncio.gather(*(call.code() for call in calls))

    run(test)


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv4:127.8.0.1:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::ffff:127.0.0.1]:5000", True),
        ("unix:", True),
        ("ipv4:10.0.0.1:5000", False),
        ("ipv6:[fe80::1%25eth0]:5000", False),
        ("ipv6:[::ffff:10.0.0.1]:5000", False),
        ("vsock:1:2", False),
        ("", False),
    ],
)
def test_only_this_machine_is_answered(peer: str, *, loopback: bool) -> None:
    assert is_loopback(peer) is loopback
