"""What gRPC clients without a proxy are sent: the same decision, in the form that gRPC's own load balancer understands.

A channel on `xds:///checkout.demo` asks by name, one step after the other (gRFC A27): the listener `checkout.demo`, the
route configuration that it names, the clusters of the route, the assignment of each.

    Listener             one for each host of a service: an API listener, its routes over the same stream
    RouteConfiguration   one for each service, so that a client gets only the weights it uses (A28)
    Cluster              `checkout@us-east-1`, as for Envoy, with what gRPC reads of it (A32, A50)
    assignment           the very bytes that Envoys get: no duplicate address, no gap in the priorities (A27)

gRPC rejects a resource for some things it does not know and ignores others in silence, so only what it reads is sent:

- **Load balancing** is round robin; least request is rejected by C-core ("LB policy is not supported").
- **Weights.** A region without weight is left out: clients ignore it, and what they do not use they need not hold.
  `direct_response` is rejected by grpc-js, and a table that sums to zero by all, so a service that nothing may serve
  has a virtual host without routes: calls fail with UNAVAILABLE.
- **Retries** are by gRPC status (A44); of Envoy's conditions only such as `unavailable` count. gRPC cannot tell whether
  a call that ended so has reached a backend, nor a read from a write, so this holds for all calls of a service that
  allows retries; calls that must not run twice use a channel with retries off. `num_retries` 0 is rejected, so no
  retries means no policy. Per-try timeout and retry priority are ignored; a retry is picked anew, from the hosts of the
  priority in use.
- **`max_stream_duration`** (A31) is how the timeout of a request is said; Envoy's `timeout` is not read.
- **Outlier detection** (A50) knows failure percentage only, and every status but OK is a failure. With all hosts
  ejected a call fails (gRPC has no panic threshold), so one method that always answers NOT_FOUND could take a service
  away from its clients: at most half of the hosts, and none if there is only one. C-core counts the hosts of both
  priorities, so this half can be the whole region; A50 counts each priority by itself. It stands in for Envoy's run of
  failures too, so the volume is small and the interval longer.
- **Priority 1** is used when no host of priority 0 has a connection, and then for everything: no overprovisioning.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from xds_server.model import Protection
from xds_server.policy.types import Service
from xds_server.snapshot.clusters import EDS_FETCH_TIMEOUT_MS, OUTLIER_PROFILES, ads_source, cluster_name
from xds_server.snapshot.listeners import ROUTER_FILTER
from xds_server.snapshot.routes import BACK_OFF_MS, GRPC_RETRY_ON
from xds_server.snapshot.wire import any_of, duration, encode, uint32

OUTLIER_INTERVAL_MS = 2_000
OUTLIER_VOLUME = 5
OUTLIER_HOSTS = 2
MAX_EJECTION_PERCENT = 50
"""gRPC ejects while less than this share is ejected: of two hosts one, of three two, never all."""


def listener(host: str, route_configuration_name: str) -> bytes:
    """Return the encoded API listener of one host: what `xds:///HOST` asks for."""
    manager = http_connection_manager_pb2.HttpConnectionManager(
        rds=http_connection_manager_pb2.Rds(config_source=ads_source(0), route_config_name=route_configuration_name),
        http_filters=[
            http_connection_manager_pb2.HttpFilter(name=ROUTER_FILTER, typed_config=any_of(router_pb2.Router()))
        ],
    )
    return encode(
        listener_pb2.Listener(name=host, api_listener=api_listener_pb2.ApiListener(api_listener=any_of(manager)))
    )


def route_configuration(service: Service, weights: Sequence[tuple[str, int]]) -> bytes:
    """Return a service's encoded RouteConfiguration, named like it. `weights` are those of one view, by region."""
    host = route_components_pb2.VirtualHost(name=service.name, domains=sorted(service.hosts))
    used = [(region, weight) for region, weight in weights if weight > 0]
    if used:
        host.routes.append(_route(service, used))
    return encode(route_pb2.RouteConfiguration(name=service.name, virtual_hosts=[host]))


def cluster_rest(protection: Protection) -> bytes:
    """Return an encoded Cluster without its name."""
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds
    return encode(
        cluster_pb2.Cluster(
            type=cluster_pb2.Cluster.EDS,
            eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads_source(EDS_FETCH_TIMEOUT_MS)),
            lb_policy=cluster_pb2.Cluster.ROUND_ROBIN,
            circuit_breakers=circuit_breaker_pb2.CircuitBreakers(
                thresholds=[thresholds(max_requests=uint32(protection.max_requests))]
            ),
            outlier_detection=_outlier_detection(protection),
        )
    )


def _route(service: Service, weights: Sequence[tuple[str, int]]) -> route_components_pb2.Route:
    cluster_weight = route_components_pb2.WeightedCluster.ClusterWeight
    action = route_components_pb2.RouteAction(
        weighted_clusters=route_components_pb2.WeightedCluster(
            clusters=[
                cluster_weight(name=cluster_name(service.name, region), weight=uint32(weight))
                for region, weight in weights
            ]
        ),
        max_stream_duration=route_components_pb2.RouteAction.MaxStreamDuration(
            max_stream_duration=duration(service.timeouts.request_ms)
        ),
    )
    if service.retries.attempts > 0:
        action.retry_policy.CopyFrom(_retries(service.retries.attempts))
    return route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix=""), route=action)


def _retries(attempts: int) -> route_components_pb2.RetryPolicy:
    base, most = BACK_OFF_MS
    return route_components_pb2.RetryPolicy(
        retry_on=GRPC_RETRY_ON,
        num_retries=uint32(attempts),
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=duration(base), max_interval=duration(most)
        ),
    )


def _outlier_detection(protection: Protection) -> outlier_detection_pb2.OutlierDetection:
    profile = OUTLIER_PROFILES[protection.outlier_profile]
    return outlier_detection_pb2.OutlierDetection(
        interval=duration(OUTLIER_INTERVAL_MS),
        base_ejection_time=duration(profile.ejection_ms),
        max_ejection_time=duration(profile.max_ejection_ms),
        max_ejection_percent=uint32(MAX_EJECTION_PERCENT),
        enforcing_success_rate=uint32(0),
        failure_percentage_threshold=uint32(profile.percent),
        enforcing_failure_percentage=uint32(100),
        failure_percentage_minimum_hosts=uint32(OUTLIER_HOSTS),
        failure_percentage_request_volume=uint32(OUTLIER_VOLUME),
    )
