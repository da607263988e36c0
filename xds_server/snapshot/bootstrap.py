"""Bootstraps: what an Envoy is started with, in order to ask us for the rest, or to do without us.

`bootstrap` names the node (our view of it rests on `locality.region` and `cluster`) and one cluster, `xds`, over which
all resources come on one stream.

- **A half-open connection** must be found: HTTP/2 pings every ten seconds, also TCP keepalive under them. A lost
  stream comes back after 0.5 to 5 s (Envoy's own default grows to 30 s).
- **No configuration, not ready.** `initial_fetch_timeout` is 0 for listeners and clusters: an Envoy that starts while
  we are away stays in `PRE_INITIALIZING` and says so at `/ready`, rather than taking traffic that it cannot route
  after fifteen seconds. For the case that it must start all the same there is the break-glass bootstrap.
- **Overload** (Envoy, "Overload manager"): downstream connections are limited, the heap shrinks, keep-alive ends and
  requests are refused as it fills. Without the first limit Envoy warns at start. The admin page is exempt.
- **Runtime** has an admin layer, so that an operator on the machine can change a key, and under it a layer of ours,
  which moves breakers with the size of the fleet (runtime.py). If that does not come soon, Envoy starts without.
- **Signals** (LRS, HDS) come over the same cluster, each on a stream of its own; what is logged comes with the listener
  (access_log.py). Each can be switched off here: the last one by runtime keys in a layer under the admin's, so that an
  operator on the machine can still turn it on.
- Stats are created when they are first used: with hundreds of clusters most never are.

`static_bootstrap` is the break-glass one: a snapshot as static resources. The Envoy needs no control plane and follows
none: weights stand still, the reflex plan works. Start it again with the normal bootstrap when the control plane is
back. Secrets name the files of the policy, so that no private key is printed. Envoy could take both (static clusters
beside dynamic ones), but names would clash, and static ones win for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, backoff_pb2, base_pb2, config_source_pb2, grpc_service_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.overload.v3 import overload_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from xds_server.snapshot import access_log, runtime
from xds_server.snapshot.bootstrap_tls import (
    LONGEST_CONNECTION_MS,
    ClientTls,
    transport_socket,
    with_static_secrets,
)
from xds_server.snapshot.clusters import HTTP_OPTIONS, ads_source, http2_keepalive
from xds_server.snapshot.endpoints import is_host_name, socket_address
from xds_server.snapshot.resource import Resource, Snapshot, TypeUrl
from xds_server.snapshot.wire import any_of, duration, uint32

XDS_CLUSTER = access_log.CLUSTER
CONNECT_TIMEOUT_MS = 2_000
PING_INTERVAL_MS = 10_000
PING_TIMEOUT_MS = 5_000
TCP_KEEPALIVE_S = 10
RECONNECT_MS = (500, 5_000)
RUNTIME_FETCH_MS = 5_000


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """Who an Envoy is and whom it asks. Hosts are IP addresses or names; `zone` is for the operator's own use.

    `delta` asks for changes alone instead of the state of the world: for hundreds of services and more.
    `load_reports` (LRS), `health_checks` (HDS) and `access_logs` (ALS) are what it tells us besides. With `tls` all of
    that is encrypted.
    """

    region: str
    node_id: str
    cluster: str
    xds_host: str
    xds_port: int
    admin_host: str = "127.0.0.1"
    admin_port: int = 9901
    zone: str = ""
    max_connections: int = 50_000
    max_heap_bytes: int = 1 << 30
    load_reports: bool = True
    health_checks: bool = True
    access_logs: bool = True
    delta: bool = False
    tls: ClientTls | None = None


def bootstrap(options: BootstrapOptions) -> bootstrap_pb2.Bootstrap:
    """Return the normal bootstrap: everything over ADS."""
    message = _base(options)
    message.static_resources.clusters.append(_xds_cluster(options))
    dynamic = message.dynamic_resources
    dynamic.ads_config.CopyFrom(_ads(delta=options.delta))
    dynamic.lds_config.CopyFrom(ads_source(0))
    dynamic.cds_config.CopyFrom(ads_source(0))
    message.layered_runtime.layers.insert(0, _runtime_layer())
    if options.load_reports:
        message.cluster_manager.load_stats_config.CopyFrom(_stream())
    if options.health_checks:
        message.hds_config.CopyFrom(_stream())
    if not options.access_logs:
        off = bootstrap_pb2.RuntimeLayer(name="signals")
        off.static_layer.update({access_log.RUNTIME_SAMPLED: 0, access_log.RUNTIME_FAILED: 0})
        message.layered_runtime.layers.insert(0, off)
    return message


def static_bootstrap(options: BootstrapOptions, snapshot: Snapshot) -> bootstrap_pb2.Bootstrap:
    """Return the break-glass bootstrap: the snapshot as static resources, and no control plane."""
    message = _base(options)
    message.static_resources.clusters.extend(
        _static_cluster(cluster, snapshot) for cluster in snapshot.resources.get(TypeUrl.CLUSTER, {}).values()
    )
    message.static_resources.secrets.extend(
        secret_pb2.Secret.FromString(secret.body) for secret in snapshot.resources.get(TypeUrl.SECRET, {}).values()
    )
    message.static_resources.listeners.extend(
        _static_listener(listener, snapshot) for listener in snapshot.resources.get(TypeUrl.LISTENER, {}).values()
    )
    return message


def to_json(message: Message) -> str:
    """Return a message as JSON that Envoy reads with `-c FILE.json`."""
    return json.dumps(_to_dict(message), indent=2) + "\n"


def to_yaml(message: Message) -> str:
    """Return a message as YAML that Envoy reads with `-c FILE.yaml`."""
    text: str = yaml.dump(_to_dict(message), Dumper=_Dumper, sort_keys=False, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes what Envoy's YAML reader takes for true or false, and YAML 1.2 for text: a node called `n`."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if text.lower() in {"y", "n"} else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def _to_dict(message: Message) -> dict[str, object]:
    """Return plain dicts: what an `Any` holds comes as a subclass that YAML will not write."""
    found: dict[str, object] = json.loads(json.dumps(MessageToDict(message, preserving_proto_field_name=True)))
    return found


def _runtime_layer() -> bootstrap_pb2.RuntimeLayer:
    source = bootstrap_pb2.RuntimeLayer.RtdsLayer(name=runtime.LAYER, rtds_config=ads_source(RUNTIME_FETCH_MS))
    return bootstrap_pb2.RuntimeLayer(name=runtime.LAYER, rtds_layer=source)


def _base(options: BootstrapOptions) -> bootstrap_pb2.Bootstrap:
    """Return what both bootstraps share: the node, the admin page, runtime, overload, stats."""
    layer = bootstrap_pb2.RuntimeLayer
    return bootstrap_pb2.Bootstrap(
        node=base_pb2.Node(
            id=options.node_id,
            cluster=options.cluster,
            locality=base_pb2.Locality(region=options.region, zone=options.zone),
        ),
        admin=bootstrap_pb2.Admin(
            address=socket_address(options.admin_host, options.admin_port), ignore_global_conn_limit=True
        ),
        layered_runtime=bootstrap_pb2.LayeredRuntime(layers=[layer(name="admin", admin_layer=layer.AdminLayer())]),
        overload_manager=_overload(options),
        deferred_stat_options=bootstrap_pb2.Bootstrap.DeferredStatOptions(enable_deferred_creation_stats=True),
    )


def _overload(options: BootstrapOptions) -> overload_pb2.OverloadManager:
    heap, connections = (
        "envoy.resource_monitors.fixed_heap",
        "envoy.resource_monitors.global_downstream_max_connections",
    )
    steps = {"shrink_heap": 0.90, "disable_http_keepalive": 0.95, "stop_accepting_requests": 0.98}
    return overload_pb2.OverloadManager(
        refresh_interval=duration(250),
        resource_monitors=[
            overload_pb2.ResourceMonitor(
                name=heap,
                typed_config=any_of(fixed_heap_pb2.FixedHeapConfig(max_heap_size_bytes=options.max_heap_bytes)),
            ),
            overload_pb2.ResourceMonitor(
                name=connections,
                typed_config=any_of(
                    downstream_connections_pb2.DownstreamConnectionsConfig(
                        max_active_downstream_connections=options.max_connections
                    )
                ),
            ),
        ],
        actions=[
            overload_pb2.OverloadAction(
                name=f"envoy.overload_actions.{action}",
                triggers=[overload_pb2.Trigger(name=heap, threshold=overload_pb2.ThresholdTrigger(value=value))],
            )
            for action, value in steps.items()
        ],
    )


def _ads(*, delta: bool) -> config_source_pb2.ApiConfigSource:
    """Return where resources come from."""
    source = _stream()
    if delta:
        source.api_type = config_source_pb2.ApiConfigSource.DELTA_GRPC
    source.set_node_on_first_message_only = True
    return source


def _stream() -> config_source_pb2.ApiConfigSource:
    """Return a gRPC stream to the control plane."""
    base, most = RECONNECT_MS
    back_off = backoff_pb2.BackoffStrategy(base_interval=duration(base), max_interval=duration(most))
    envoy_grpc = grpc_service_pb2.GrpcService.EnvoyGrpc(
        cluster_name=XDS_CLUSTER, retry_policy=base_pb2.RetryPolicy(retry_back_off=back_off)
    )
    return config_source_pb2.ApiConfigSource(
        api_type=config_source_pb2.ApiConfigSource.GRPC,
        transport_api_version=config_source_pb2.V3,
        grpc_services=[grpc_service_pb2.GrpcService(envoy_grpc=envoy_grpc)],
    )


def _xds_cluster(options: BootstrapOptions) -> cluster_pb2.Cluster:
    """Return the cluster of control planes: all addresses that the name has, if it is a name."""
    endpoint = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=socket_address(options.xds_host, options.xds_port))
    )
    http = http_protocol_options_pb2.HttpProtocolOptions()
    http.explicit_http_config.http2_protocol_options.CopyFrom(http2_keepalive(PING_INTERVAL_MS, PING_TIMEOUT_MS))
    if options.tls is not None:
        http.common_http_protocol_options.max_connection_duration.CopyFrom(duration(LONGEST_CONNECTION_MS))
    cluster = cluster_pb2.Cluster(
        name=XDS_CLUSTER,
        type=cluster_pb2.Cluster.STRICT_DNS if is_host_name(options.xds_host) else cluster_pb2.Cluster.STATIC,
        dns_lookup_family=cluster_pb2.Cluster.ALL,
        connect_timeout=duration(CONNECT_TIMEOUT_MS),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER,
            endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[endpoint])],
        ),
        upstream_connection_options=cluster_pb2.UpstreamConnectionOptions(
            tcp_keepalive=address_pb2.TcpKeepalive(
                keepalive_probes=uint32(3),
                keepalive_time=uint32(TCP_KEEPALIVE_S),
                keepalive_interval=uint32(TCP_KEEPALIVE_S),
            )
        ),
    )
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(any_of(http))
    if options.tls is not None:
        cluster.transport_socket.CopyFrom(transport_socket(options.tls, options.xds_host))
    return cluster


def _static_cluster(resource: Resource, snapshot: Snapshot) -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster.FromString(resource.body)
    cluster.ClearField("eds_cluster_config")
    cluster.type = cluster_pb2.Cluster.STATIC
    if cluster.HasField("transport_socket"):
        cluster.transport_socket.CopyFrom(with_static_secrets(cluster.transport_socket))
    cluster.load_assignment.MergeFromString(snapshot.resources[TypeUrl.ENDPOINT][resource.name].body)
    return cluster


def _static_listener(resource: Resource, snapshot: Snapshot) -> listener_pb2.Listener:
    listener = listener_pb2.Listener.FromString(resource.body)
    for chain in listener.filter_chains:
        for network_filter in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if network_filter.typed_config.Unpack(manager):
                manager.ClearField("access_log")  # its cluster is not there, nor is anyone to read it
                routes = snapshot.resources[TypeUrl.ROUTE][manager.rds.route_config_name]
                manager.route_config.CopyFrom(route_pb2.RouteConfiguration.FromString(routes.body))
                network_filter.typed_config.CopyFrom(any_of(manager))
    return listener
