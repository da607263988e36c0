"""A small real xDS client: every variant over real gRPC, acknowledging what it gets, keeping what came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2

from xds_server.snapshot.resource import TypeUrl

LIMIT_S = 20.0

SERVICES = {
    TypeUrl.CLUSTER: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    TypeUrl.ENDPOINT: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    TypeUrl.LISTENER: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    TypeUrl.ROUTE: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
}


def method(type_url: str, *, aggregated: bool, delta: bool) -> str:
    if aggregated:
        kind = "Delta" if delta else "Stream"
        return f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{kind}AggregatedResources"
    service, noun = SERVICES[type_url]
    return f"/{service}/{'Delta' if delta else 'Stream'}{noun}"


@dataclass
class Answer:
    """One response: the version of the type, the names in it (delta: with their versions), the names that are gone."""

    type_url: str
    version: str
    names: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


class Client:
    """One stream. `subscribe` asks, `next` waits for one answer and acknowledges it."""

    def __init__(self, address: str, node: str, type_url: str, *, aggregated: bool, delta: bool) -> None:
        self._node = base_pb2.Node(id=node)
        self._type_url = type_url
        self._delta = delta
        self._names: dict[str, set[str]] = {}
        self._nonces: dict[str, str] = {}
        self._channel = grpc.aio.insecure_channel(address)
        request = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        response = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
        call: Callable[[], Any] = self._channel.stream_stream(
            method(type_url, aggregated=aggregated, delta=delta),
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self._stream = call()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stream.cancel()
        await self._channel.close()

    async def subscribe(self, *names: str, type_url: str = "") -> None:
        """Ask for names of a type; none is everything."""
        wanted = type_url or self._type_url
        new = set(names) - self._names.get(wanted, set())
        self._names.setdefault(wanted, set()).update(names)
        await self._send(wanted, subscribe=sorted(new))

    async def unsubscribe(self, *names: str, type_url: str = "") -> None:
        wanted = type_url or self._type_url
        self._names[wanted] -= set(names)
        await self._send(wanted, unsubscribe=sorted(names))

    async def next(self) -> Answer:
        """Return the next answer, acknowledged."""
        async with asyncio.timeout(LIMIT_S):
            response = await self._stream.read()
        if self._delta:
            names = {r.name: r.version for r in response.resources}
            gone = tuple(response.removed_resources)
            answer = Answer(response.type_url, response.system_version_info, names, gone)
        else:
            answer = Answer(response.type_url, response.version_info, {_name(r): "" for r in response.resources})
        await self._send(response.type_url, version=answer.version, nonce=response.nonce)
        return answer

    async def _send(
        self, type_url: str, *, subscribe: list[str] | None = None, unsubscribe: list[str] | None = None,
        version: str = "", nonce: str = "",
    ) -> None:  # fmt: skip
        if self._delta:
            message = discovery_pb2.DeltaDiscoveryRequest(
                node=self._node, type_url=type_url, response_nonce=nonce,
                resource_names_subscribe=subscribe or [], resource_names_unsubscribe=unsubscribe or [],
            )  # fmt: skip
        else:
            names = sorted(self._names.get(type_url, ()))
            message = discovery_pb2.DiscoveryRequest(
                node=self._node, type_url=type_url, version_info=version, resource_names=names
            )
            message.response_nonce = nonce or self._nonces.get(type_url, "")
        if nonce:
            self._nonces[type_url] = nonce
        await self._stream.write(message)


def _name(packed: Any) -> str:
    for kind in (cluster_pb2.Cluster, listener_pb2.Listener, route_pb2.RouteConfiguration):
        if packed.Is(kind.DESCRIPTOR):
            return str(kind.FromString(packed.value).name)
    return str(endpoint_pb2.ClusterLoadAssignment.FromString(packed.value).cluster_name)
