"""What a message refers to by name: a route its clusters, a cluster its assignment, a TLS context its secrets.

Only what this control plane would have to serve counts: a name whose `ConfigSource` is a file or another server is
somebody else's. A message is asked for its own fields, not for those of the messages in it: the reader asks each one as
it comes by, and knows the line.

Names in a `TypedStruct` cannot be seen, nor a name that a header or a plugin chooses per request; names of clusters on
demand (`OnDemandCds`) are asked for when they are needed. Rejected: taking any field with "cluster" in its name for a
reference; many are patterns, statistics or matches. A test holds the list below against all fields of the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from google.protobuf.message import Message

from xds_server.snapshot.bootstrap import XDS_CLUSTER
from xds_server.snapshot.resource import Key, TypeUrl


class Need(NamedTuple):
    """What is referred to, and by which field."""

    key: Key
    field: str


CLUSTER_FIELDS = frozenset(
    {
        "envoy.config.core.v3.ApiConfigSource.cluster_names",
        "envoy.config.core.v3.GrpcService.EnvoyGrpc.cluster_name",
        "envoy.config.core.v3.HttpUri.cluster",
        "envoy.config.route.v3.RouteAction.cluster",
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy.cluster",
        "envoy.config.route.v3.WeightedCluster.ClusterWeight.name",
        "envoy.config.trace.v3.DatadogConfig.collector_cluster",
        "envoy.config.trace.v3.LightstepConfig.collector_cluster",
        "envoy.config.trace.v3.ZipkinConfig.collector_cluster",
        "envoy.data.dns.v3.DnsTable.DnsEndpoint.cluster_name",
        "envoy.data.dns.v3.DnsTable.DnsServiceTarget.cluster_name",
        "envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig.cluster",
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig.clusters",
        "envoy.extensions.filters.http.cache_v2.v3.CacheV2Config.override_upstream_cluster",
        "envoy.extensions.filters.http.gcp_authn.v3.GcpAuthnFilterConfig.cluster",
        "envoy.extensions.filters.http.mcp_router.v3.McpRouter.McpCluster.cluster",
        "envoy.extensions.filters.network.dubbo_proxy.v3.RouteAction.cluster",
        "envoy.extensions.filters.network.generic_proxy.action.v3.RouteAction.cluster",
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes.Route.ReadCommandPolicy.cluster",
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes.Route.RequestMirrorPolicy.cluster",
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes.Route.cluster",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight.name",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.cluster",
        "envoy.extensions.filters.network.thrift_proxy.v3.RouteAction.RequestMirrorPolicy.cluster",
        "envoy.extensions.filters.network.thrift_proxy.v3.RouteAction.cluster",
        "envoy.extensions.filters.network.thrift_proxy.v3.WeightedCluster.ClusterWeight.name",
        "envoy.extensions.filters.udp.udp_proxy.v3.Route.cluster",
        "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig.cluster",
        "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig.default_cluster",
        "envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction.cluster",
        "envoy.extensions.tracers.fluentd.v3.FluentdConfig.cluster",
    }
)
"""Text that names a cluster, wherever it stands."""


def needs_of(message: Message) -> Iterator[Need]:
    """Return what the fields of this message name, those of messages in it apart."""
    for field, value in message.ListFields():
        if field.full_name in CLUSTER_FIELDS:
            names = [value] if isinstance(value, str) else value
            yield from (Need(Key(TypeUrl.CLUSTER, name), field.name) for name in names if name)
    by_source = _BY_SOURCE.get(message.DESCRIPTOR.full_name)
    if by_source is not None:
        yield from by_source(message)
    if "config_discovery" in message.DESCRIPTOR.fields_by_name:
        yield from _extension(message)


def is_ours(source: Any) -> bool:
    """Return whether what a `ConfigSource` describes comes from this control plane."""
    kind = source.WhichOneof("config_source_specifier")
    if kind == "api_config_source":
        return any(s.envoy_grpc.cluster_name == XDS_CLUSTER for s in source.api_config_source.grpc_services)
    return kind in {"ads", "self"}


def _extension(message: Any) -> Iterator[Need]:
    if message.HasField("config_discovery") and is_ours(message.config_discovery.config_source):
        yield Need(Key(TypeUrl.EXTENSION, message.name), "config_discovery")


def _routes(message: Any) -> Iterator[Need]:
    if is_ours(message.config_source):
        yield Need(Key(TypeUrl.ROUTE, message.route_config_name), "route_config_name")


def _scope(message: Any) -> Iterator[Need]:
    if message.route_configuration_name:
        yield Need(Key(TypeUrl.ROUTE, message.route_configuration_name), "route_configuration_name")


def _secret(message: Any) -> Iterator[Need]:
    if message.HasField("sds_config") and is_ours(message.sds_config):
        yield Need(Key(TypeUrl.SECRET, message.name), "name")


def _assignment(message: Any) -> Iterator[Need]:
    eds = message.eds_cluster_config
    if (
        message.WhichOneof("cluster_discovery_type") == "type"
        and message.type == message.EDS
        and is_ours(eds.eds_config)
    ):
        yield Need(Key(TypeUrl.ENDPOINT, eds.service_name or message.name), "eds_cluster_config")


_BY_SOURCE: Mapping[str, Callable[[Any], Iterator[Need]]] = MappingProxyType(
    {
        "envoy.config.cluster.v3.Cluster": _assignment,
        "envoy.config.route.v3.ScopedRouteConfiguration": _scope,
        "envoy.extensions.filters.network.http_connection_manager.v3.Rds": _routes,
        "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": _secret,
    }
)
"""Names that stand beside a `ConfigSource`."""
