"""The services of the xDS port: which method carries which variant and which type. Names are those of Envoy's protos.

Aggregated or one type per stream, SotW or delta: a stream differs in how its requests are read and in the type that a
request means when it names none; the rest is one conversation. Virtual hosts exist in delta only. The `Fetch…` methods
(REST, one answer a request) are not served: no client asks for them over gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from xds_server.protocol.conversation import Conversation
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.delta_wire import decode_delta_request
from xds_server.protocol.events import Code, ProtocolError
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.wire import decode_request
from xds_server.snapshot.resource import TypeUrl

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_OF_ONE_TYPE: Mapping[str, tuple[str, str]] = {
    TypeUrl.LISTENER: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    TypeUrl.ROUTE: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
    TypeUrl.SCOPED_ROUTE: ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes"),
    TypeUrl.VIRTUAL_HOST: ("envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
    TypeUrl.CLUSTER: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    TypeUrl.ENDPOINT: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    TypeUrl.SECRET: ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets"),
    TypeUrl.RUNTIME: ("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime"),
    TypeUrl.EXTENSION: ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"),
}


class Method(NamedTuple):
    """One streaming method. `type_url` is empty where a stream carries all types."""

    service: str
    name: str
    type_url: str
    delta: bool

    @property
    def aggregated_delta(self) -> bool:
        """Return whether all types come on one stream of the delta variant."""
        return self.delta and not self.type_url

    def conversation(self, sharing: Sharing) -> Conversation[Any, Any]:
        """Return a new conversation of this variant."""
        return DeltaStream(sharing) if self.delta else SotwStream(sharing)

    def request(self, data: bytes, *, with_node: bool) -> Any:
        """Parse a request. Raises ProtocolError if it is not one, or of a type that is not served here."""
        decode = decode_delta_request if self.delta else decode_request
        request = decode(data, with_node=with_node)
        if not self.type_url:
            return request
        if request.type_url not in {"", self.type_url}:
            problem = f"{self.name} serves {self.type_url}, and was asked for {request.type_url}"
            raise ProtocolError(Code.INVALID_ARGUMENT, problem)
        return request._replace(type_url=self.type_url)


def _of_one_type() -> list[Method]:
    sotw = [Method(service, f"Stream{n}", t, delta=False) for t, (service, n) in _OF_ONE_TYPE.items()]
    delta = [Method(service, f"Delta{n}", t, delta=True) for t, (service, n) in _OF_ONE_TYPE.items()]
    return [*(method for method in sotw if method.type_url != TypeUrl.VIRTUAL_HOST), *delta]


METHODS: tuple[Method, ...] = (
    Method(ADS, "StreamAggregatedResources", "", delta=False),
    Method(ADS, "DeltaAggregatedResources", "", delta=True),
    *_of_one_type(),
)
