"""Many ADS clients in one process: `python -m bench.fanout_client --port 18000 --streams 500`, until it is ended.

Each has a connection of its own, subscribes to what an Envoy does, and acknowledges all it is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.world import FOUR
from xds_server.snapshot.listeners import ROUTE_CONFIGURATION
from xds_server.snapshot.resource import TypeUrl
from xds_server.transport.server import SERVICE

_AT_ONCE = 50
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


async def _until_closed(port: int, number: int, *, delta: bool) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):  # how a stream says that the server ended it
        await (delta_client if delta else client)(port, number)


async def client(port: int, number: int) -> None:
    """Be one client."""
    node = base_pb2.Node(id=f"client-{number}", cluster="default", locality=base_pb2.Locality(region=FOUR[0]))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
        call = channel.stream_stream(f"/{SERVICE}/StreamAggregatedResources")()
        names: dict[str, tuple[str, ...]] = {TypeUrl.ROUTE: (ROUTE_CONFIGURATION,)}
        await call.write(_request(TypeUrl.CLUSTER, (), node=node))
        await call.write(_request(TypeUrl.LISTENER, ()))
        await call.write(_request(TypeUrl.ROUTE, names[TypeUrl.ROUTE]))
        while (data := await call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DiscoveryResponse.FromString(data)
            new = response.type_url == TypeUrl.CLUSTER and TypeUrl.ENDPOINT not in names
            if new:
                names[TypeUrl.ENDPOINT] = _clusters(response)
            known = names.get(response.type_url, ())
            await call.write(_request(response.type_url, known, response.version_info, response.nonce))
            if new:
                await call.write(_request(TypeUrl.ENDPOINT, names[TypeUrl.ENDPOINT]))


async def delta_client(port: int, number: int) -> None:
    """Be one client that is told of changes alone."""
    node = base_pb2.Node(id=f"client-{number}", cluster="default", locality=base_pb2.Locality(region=FOUR[0]))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
        call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
        asked = False
        await call.write(_delta_request(TypeUrl.CLUSTER, node=node))
        await call.write(_delta_request(TypeUrl.LISTENER))
        await call.write(_delta_request(TypeUrl.ROUTE, (ROUTE_CONFIGURATION,)))
        while (data := await call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            await call.write(_delta_request(response.type_url, nonce=response.nonce))
            if response.type_url == TypeUrl.CLUSTER and not asked:
                asked = True
                await call.write(_delta_request(TypeUrl.ENDPOINT, [resource.name for resource in response.resources]))


def _delta_request(type_url: str, names: Sequence[str] = (), nonce: str = "", node: Any = None) -> bytes:
    request = discovery_pb2.DeltaDiscoveryRequest(
        node=node, type_url=type_url, resource_names_subscribe=names, response_nonce=nonce
    )
    encoded: bytes = request.SerializeToString()
    return encoded


def _clusters(response: Any) -> tuple[str, ...]:
    return tuple(cluster_pb2.Cluster.FromString(resource.value).name for resource in response.resources)


def _request(type_url: str, names: Sequence[str], version: str = "", nonce: str = "", node: Any = None) -> bytes:
    request = discovery_pb2.DiscoveryRequest(
        node=node, type_url=type_url, resource_names=names, version_info=version, response_nonce=nonce
    )
    encoded: bytes = request.SerializeToString()
    return encoded


async def run(port: int, streams: int, *, delta: bool) -> None:
    """Be all of them, opened a few at a time."""
    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            group.create_task(_until_closed(port, number, delta=delta))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0.05)


def main(argv: Sequence[str]) -> None:
    """Run until the server ends the streams or somebody ends us."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--delta", action="store_true")
    arguments = parser.parse_args(argv)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * arguments.streams + 1_000)), hard))
    asyncio.run(run(arguments.port, arguments.streams, delta=arguments.delta))


if __name__ == "__main__":
    main(sys.argv[1:])
