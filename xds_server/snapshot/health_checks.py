"""What Envoys are asked to probe (HDS): a HealthCheckSpecifier for one watcher.

One health-check cluster for each service and region, named so that it cannot be mistaken on the admin page for the
region cluster that carries traffic. Its checks are the policy's, with these differences (Envoy, "Health checking"):

- Thresholds are 1: we are told of every change and judge by our own thresholds, once.
- `no_traffic_interval` is the interval. These clusters carry no traffic, and Envoy would look once a minute.
- An endpoint that speaks gRPC is checked by opening a connection: Envoy wants HTTP/2 settings for gRPC checks that a
  health-check cluster cannot have.
- An endpoint that is probed by TLS is checked by opening a connection, too: a health-check cluster has no secrets.
- An expected body is looked for in the first kilobytes, as in our own probes.

An empty specifier with a long interval tells an Envoy to stop watching: HDS has no word for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.service.health.v3 import hds_pb2
from envoy.type.v3 import range_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt64Value

from xds_server.model import Target
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.snapshot.endpoints import socket_address
from xds_server.snapshot.wire import duration, encode, uint32

PREFIX = "hds/"
REPORT_EVERY_MS = 1_000
IDLE_MS = 3_600_000
MOST_BODY = 16 * 1024
JITTER_PERCENT = 10


def specifier(targets: Mapping[Target, HealthCheck]) -> bytes:
    """Return the encoded HealthCheckSpecifier for these targets; none at all means to stop."""
    places: dict[tuple[str, str], list[Target]] = {}
    for target in sorted(targets):
        places.setdefault((target.service, target.region), []).append(target)
    clusters = [_cluster(found, targets[found[0]]) for found in places.values()]
    interval = duration(REPORT_EVERY_MS if clusters else IDLE_MS)
    return encode(hds_pb2.HealthCheckSpecifier(cluster_health_checks=clusters, interval=interval))


def _cluster(targets: list[Target], check: HealthCheck) -> hds_pb2.ClusterHealthCheck:
    service, region, _ = targets[0]
    endpoint = endpoint_components_pb2.Endpoint
    endpoints = [endpoint(address=socket_address(t.address.ip, t.address.port)) for t in targets]
    return hds_pb2.ClusterHealthCheck(
        cluster_name=f"{PREFIX}{service}@{region}",
        health_checks=[_check(check)],
        locality_endpoints=[hds_pb2.LocalityEndpoints(locality=base_pb2.Locality(region=region), endpoints=endpoints)],
    )


def _check(check: HealthCheck) -> health_check_pb2.HealthCheck:
    interval = duration(check.interval_ms)
    message = health_check_pb2.HealthCheck(
        timeout=duration(check.timeout_ms),
        interval=interval,
        interval_jitter_percent=JITTER_PERCENT,
        no_traffic_interval=interval,
        no_traffic_healthy_interval=interval,
        unhealthy_threshold=uint32(1),
        healthy_threshold=uint32(1),
        reuse_connection=BoolValue(value=True),
        alt_port=uint32(check.port) if check.port is not None else None,
    )
    if check.kind is ProbeKind.HTTP and not check.tls:
        message.http_health_check.CopyFrom(_http(check))
    else:
        message.tcp_health_check.SetInParent()
    return message


def _http(check: HealthCheck) -> health_check_pb2.HealthCheck.HttpHealthCheck:
    message = health_check_pb2.HealthCheck.HttpHealthCheck(
        host=check.host or "", path=check.path, expected_statuses=_ranges(check.statuses)
    )
    if check.body is not None:
        payload = health_check_pb2.HealthCheck.Payload(text=check.body.encode().hex())
        message.receive.append(payload)
        message.response_buffer_size.CopyFrom(UInt64Value(value=MOST_BODY))
    return message


def _ranges(statuses: frozenset[int]) -> list[range_pb2.Int64Range]:
    """Return statuses as half-open ranges, neighbours joined."""
    ranges: list[range_pb2.Int64Range] = []
    for status in sorted(statuses):
        if ranges and ranges[-1].end == status:
            ranges[-1].end = status + 1
        else:
            ranges.append(range_pb2.Int64Range(start=status, end=status + 1))
    return ranges
