"""Just enough of Envoy's messages for these tests: clusters with one endpoint each, one listener, one route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from xds_server.snapshot.resource import Key, Resource, Snapshot, TypeUrl, content_version

ADS: Mapping[str, Any] = {"ads": {}, "resource_api_version": "V3"}
HCM = f"type.googleapis.com/{http_connection_manager_pb2.HttpConnectionManager.DESCRIPTOR.full_name}"
ROUTER = f"type.googleapis.com/{router_pb2.Router.DESCRIPTOR.full_name}"


def snapshot(
    backends: Mapping[str, int],
    weights: Mapping[str, int],
    timeout: str = "1s",
    bad: str = "",
    source: Mapping[str, Any] = ADS,
) -> Snapshot:
    """Return a world with one cluster per backend (name to port), and one route over `weights`.

    Envoy rejects the clusters whose names are in `bad`.
    """
    clusters = [_cluster(name, timeout, "no.such.policy" if name in bad else "", source) for name in backends]
    return Snapshot.of(
        [*clusters, *(_endpoints(n, port) for n, port in backends.items()), _route(weights), _listener(source)]
    )


def _cluster(name: str, timeout: str, lb: str, source: Mapping[str, Any]) -> Resource:
    eds = {"eds_config": source}
    fields: dict[str, Any] = {"name": name, "type": "EDS", "connect_timeout": timeout, "eds_cluster_config": eds}
    if lb:
        fields["load_balancing_policy"] = {"policies": [{"typed_extension_config": {"name": lb}}]}
    return _resource(TypeUrl.CLUSTER, name, ParseDict(fields, cluster_pb2.Cluster()), Key(TypeUrl.ENDPOINT, name))


def _endpoints(name: str, port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    fields = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    return _resource(TypeUrl.ENDPOINT, name, ParseDict(fields, endpoint_pb2.ClusterLoadAssignment()))


def _route(weights: Mapping[str, int]) -> Resource:
    clusters = [{"name": name, "weight": weight} for name, weight in weights.items()]
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}}
    fields = {"name": "main", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}
    needs = [Key(TypeUrl.CLUSTER, name) for name in weights]
    return _resource(TypeUrl.ROUTE, "main", ParseDict(fields, route_pb2.RouteConfiguration()), *needs)


def _listener(source: Mapping[str, Any]) -> Resource:
    manager = {
        "@type": HCM,
        "stat_prefix": "main",
        "rds": {"route_config_name": "main", "config_source": source},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    fields = {"name": "main", "address": address, "filter_chains": [chain]}
    return _resource(TypeUrl.LISTENER, "main", ParseDict(fields, listener_pb2.Listener()), Key(TypeUrl.ROUTE, "main"))


def _resource(type_url: str, name: str, message: Message, *needs: Key) -> Resource:
    body = message.SerializeToString(deterministic=True)
    return Resource(type_url, name, content_version(body), body, needs)


def each_type(*, delta: bool) -> dict[str, Any]:
    """Return a source of one type: a stream of its own."""
    return {"api_config_source": _stream(delta=delta), "resource_api_version": "V3"}


def _stream(*, delta: bool) -> dict[str, Any]:
    retry = {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"}}
    return {
        "api_type": "DELTA_GRPC" if delta else "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds", "retry_policy": retry}}],
    }


def bootstrap(xds_port: int, *, delta: bool = False, source: Mapping[str, Any] = ADS) -> dict[str, object]:
    """Return what the Envoy starts with: where to ask, and who it is."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "1s", "timeout": "5s"}}
        },
    }
    return {
        "node": {"id": "sidecar-1", "cluster": "web", "locality": {"region": "us-east-1"}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {**_stream(delta=delta), "set_node_on_first_message_only": True},
            "lds_config": source,
            "cds_config": source,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }
