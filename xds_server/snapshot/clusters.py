"""Region clusters (CDS): `checkout@us-east-1`, one service in one region, as one view's Envoys get it.

Editing a cluster makes Envoy build it anew: connections close, host counters and ejections are forgotten. So nothing
here follows health or load but the outlier profile, seldom and never in an incident (decision/profiles.py); weights
travel in routes, reflex plans and overprovisioning in assignments.

- **Least request** (Envoy, "Supported load balancers"): of two hosts picked at random the one with fewer requests in
  flight. A host that hangs collects requests and is avoided before it is ejected. Round robin goes on feeding it.
- **Outlier detection** (Envoy, "Outlier detection"). `split_external_local_origin_errors`: what Envoy saw itself
  (no connection, reset, timeout) ejects after a few in a row; an HTTP 5xx is an answer and counts only as a share of
  a large volume. Otherwise a path that fails everywhere, retried abroad, ejects the very hosts that must take over.
  Success-rate ejection is off: it compares hosts of different regions with one another. *Three* in a row: a stream that
  starts counts as a success of local origin, so on a host that hangs timeouts and new requests alternate, and a run
  of five takes seconds (plain writes lost at 400 req/s, SIGSTOP: 241 to 358 of 740 with five, 87 to 143 with three).
- **Panic threshold 1 %**: when everything is ejected, try all hosts rather than none, and not before that.
- **No merge window** for host updates. Envoy's default holds back, for up to a second, a health change that follows
  another; the second host of a dead region would get traffic for that long.
- **Retry budget** in place of `max_retries`; the breaker sizes are decided in `decision/protection.py`.
- Removing a host from an assignment takes effect at once (`ignore_health_on_host_removal`); a host that turns
  unhealthy keeps its connections, so that what is in flight can end.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import config_source_pb2, protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from xds_server.model import Protection
from xds_server.policy.types import Protocol
from xds_server.snapshot import attempts
from xds_server.snapshot.kinds import NOTHING_LACKING, Feature
from xds_server.snapshot.wire import any_of, duration, encode, part, uint32

PANIC_THRESHOLD_PERCENT = 1.0
EDS_FETCH_TIMEOUT_MS = 15_000
"""How long a new or edited cluster waits for its assignment; then Envoy falls back to the one it had."""

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP2_PING_INTERVAL_MS = 10_000
HTTP2_PING_TIMEOUT_MS = 3_000

_NAME = 1


@dataclass(frozen=True, slots=True)
class OutlierProfile:
    """When Envoy ejects a host by itself, and for how long (grows with each ejection up to the maximum).

    `failures` counts consecutive failures of local origin. `percent` of at least `volume` responses with 5xx in one
    `interval_ms` eject as well.
    """

    failures: int
    percent: int
    volume: int
    interval_ms: int
    ejection_ms: int
    max_ejection_ms: int
    jitter_ms: int


OUTLIER_PROFILES = MappingProxyType(
    {
        "standard": OutlierProfile(
            failures=3,
            percent=85,
            volume=100,
            interval_ms=3_000,
            ejection_ms=10_000,
            max_ejection_ms=60_000,
            jitter_ms=1_000,
        ),
        # The only host is the region: try it again soon.
        "one-host": OutlierProfile(
            failures=3,
            percent=95,
            volume=200,
            interval_ms=3_000,
            ejection_ms=5_000,
            max_ejection_ms=20_000,
            jitter_ms=1_000,
        ),
        # One of many gets few requests from one Envoy, and is easily spared.
        "many-hosts": OutlierProfile(
            failures=3,
            percent=70,
            volume=50,
            interval_ms=3_000,
            ejection_ms=15_000,
            max_ejection_ms=120_000,
            jitter_ms=1_000,
        ),
        "degraded": OutlierProfile(
            failures=2,
            percent=60,
            volume=50,
            interval_ms=3_000,
            ejection_ms=20_000,
            max_ejection_ms=120_000,
            jitter_ms=1_000,
        ),
        "repeat-offender": OutlierProfile(
            failures=2,
            percent=60,
            volume=50,
            interval_ms=3_000,
            ejection_ms=30_000,
            max_ejection_ms=300_000,
            jitter_ms=1_000,
        ),
        # Hosts are not the cause: much evidence, short sentences.
        "all-bad": OutlierProfile(
            failures=10,
            percent=100,
            volume=1_000,
            interval_ms=3_000,
            ejection_ms=2_000,
            max_ejection_ms=10_000,
            jitter_ms=1_000,
        ),
    }
)


def cluster_name(service: str, region: str) -> str:
    """Return the name an operator sees on Envoy's admin page."""
    return f"{service}@{region}"


def cluster_rest(
    protocol: Protocol,
    idle_ms: int,
    protection: Protection,
    lacks: frozenset[Feature] = NOTHING_LACKING,
    socket: bytes = b"",
) -> bytes:
    """Return an encoded Cluster without its name: many region clusters share these bytes.

    `lacks` are the features that its clients do not understand; `socket` is an encoded TransportSocket (tls.py).
    """
    cluster = cluster_pb2.Cluster(
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads_source(EDS_FETCH_TIMEOUT_MS)),
        connect_timeout=duration(protection.connect_timeout_ms),
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        common_lb_config=_common_lb(),
        circuit_breakers=_circuit_breakers(protection),
        outlier_detection=outlier_detection(
            OUTLIER_PROFILES[protection.outlier_profile], protection.max_ejection_percent
        ),
        ignore_health_on_host_removal=True,
    )
    if Feature.ALWAYS_EJECT_ONE in lacks:
        cluster.outlier_detection.ClearField("always_eject_one_host")
    options = http_options(protocol, idle_ms)
    if Feature.ATTEMPT_FILTERS in lacks:
        options.ClearField("http_filters")
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(any_of(options))
    if socket:
        cluster.transport_socket.MergeFromString(socket)
    return encode(cluster)


def named(name: str, rest: bytes) -> bytes:
    """Return an encoded Cluster from its name and the rest."""
    return part(_NAME, name.encode()) + rest


def ads_source(initial_fetch_timeout_ms: int) -> config_source_pb2.ConfigSource:
    """Return "over the one aggregated stream". A timeout of 0 waits for ever."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration(initial_fetch_timeout_ms),
    )


def http_options(protocol: Protocol, idle_ms: int) -> http_protocol_options_pb2.HttpProtocolOptions:
    """Return how to talk to the endpoints. Idle connections close before the backend closes them under a write."""
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=duration(idle_ms)),
        http_filters=attempts.filters(),
    )
    explicit = options.explicit_http_config
    if protocol is Protocol.HTTP1:
        explicit.http_protocol_options.SetInParent()
    else:
        explicit.http2_protocol_options.CopyFrom(http2_keepalive(HTTP2_PING_INTERVAL_MS, HTTP2_PING_TIMEOUT_MS))
    return options


def http2_keepalive(interval_ms: int, timeout_ms: int) -> protocol_pb2.Http2ProtocolOptions:
    """Return HTTP/2 options with pings: a half-open connection is found in `interval_ms + timeout_ms`."""
    return protocol_pb2.Http2ProtocolOptions(
        connection_keepalive=protocol_pb2.KeepaliveSettings(
            interval=duration(interval_ms), timeout=duration(timeout_ms)
        )
    )


def outlier_detection(profile: OutlierProfile, max_ejection_percent: int) -> outlier_detection_pb2.OutlierDetection:
    """Return a profile as Envoy's settings, with every way of ejecting that it does not use turned off."""
    return outlier_detection_pb2.OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=uint32(profile.failures),
        enforcing_consecutive_local_origin_failure=uint32(100),
        enforcing_consecutive_5xx=uint32(0),
        enforcing_consecutive_gateway_failure=uint32(0),
        enforcing_success_rate=uint32(0),
        enforcing_local_origin_success_rate=uint32(0),
        failure_percentage_threshold=uint32(profile.percent),
        failure_percentage_minimum_hosts=uint32(1),
        failure_percentage_request_volume=uint32(profile.volume),
        enforcing_failure_percentage=uint32(100),
        enforcing_failure_percentage_local_origin=uint32(0),
        interval=duration(profile.interval_ms),
        base_ejection_time=duration(profile.ejection_ms),
        max_ejection_time=duration(profile.max_ejection_ms),
        max_ejection_time_jitter=duration(profile.jitter_ms),
        max_ejection_percent=uint32(max_ejection_percent),
        always_eject_one_host=BoolValue(value=True),
    )


def _common_lb() -> cluster_pb2.Cluster.CommonLbConfig:
    return cluster_pb2.Cluster.CommonLbConfig(
        healthy_panic_threshold=percent_pb2.Percent(value=PANIC_THRESHOLD_PERCENT),
        locality_weighted_lb_config=cluster_pb2.Cluster.CommonLbConfig.LocalityWeightedLbConfig(),
        update_merge_window=duration(0),
    )


def _circuit_breakers(protection: Protection) -> circuit_breaker_pb2.CircuitBreakers:
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds
    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[
            thresholds(
                max_connections=uint32(protection.max_connections),
                max_pending_requests=uint32(protection.max_pending_requests),
                max_requests=uint32(protection.max_requests),
                retry_budget=thresholds.RetryBudget(
                    budget_percent=percent_pb2.Percent(value=protection.retry_budget_percent),
                    min_retry_concurrency=uint32(protection.min_retry_concurrency),
                ),
            )
        ]
    )
