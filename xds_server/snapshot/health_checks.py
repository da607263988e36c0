"""What Envoys are asked to probe (HDS): a HealthCheckSpecifier for one watcher.

One health-check cluster for each service and region, named so that it cannot be mistaken on the admin page for the
region cluster that carries traffic. Its checks are the policy's, with these differences (Envoy, "Health checking"):

- Thresholds are 1: we are told of every change and judge by our own thresholds, once.
- `no_traffic_interval` is the interval. These clusters carry no traffic, and Envoy would look once a minute.
- Every endpoint is asked by a name that fits it, its address if the policy says nothing else, as by our own probes.
  Envoy would put the cluster's name in the Host header, and a slash or an @ there is a bad request to many servers.
  Its port stands there too: `alt_port` of a check is not implemented.
- Envoy's own gRPC check wants HTTP/2 settings that a health-check cluster cannot have. So `Health/Check` is called by
  an HTTP check that speaks HTTP/2, sends the message as its body, and looks for `SERVING` in the answer's. An Envoy
  that cannot send a body (kinds.py) opens a connection and no more.
- An endpoint that is probed by TLS is checked by opening a connection, too: a health-check cluster has no secrets.
- An expected body is looked for in the first kilobytes, as in our own probes.

An empty specifier with a long interval tells an Envoy to stop watching: HDS has no word for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.service.health.v3 import hds_pb2
from envoy.type.v3 import http_pb2, range_pb2
from google.protobuf.wrappers_pb2 import BoolValue, Int32Value, StringValue, UInt64Value

from xds_server.model import Target
from xds_server.policy.types import HealthCheck, ProbeKind
from xds_server.snapshot.endpoints import socket_address
from xds_server.snapshot.kinds import NOTHING_LACKING, Feature
from xds_server.snapshot.wire import duration, encode, uint32

PREFIX = "hds/"
REPORT_EVERY_MS = 1_000
IDLE_MS = 3_600_000
MOST_BODY = 16 * 1024
JITTER_PERCENT = 10

GRPC_METHOD = "/grpc.health.v1.Health/Check"
SERVING = 1


def specifier(targets: Mapping[Target, HealthCheck], lacks: frozenset[Feature] = NOTHING_LACKING) -> bytes:
    """Return the encoded HealthCheckSpecifier for these targets; none at all means to stop.

    `lacks` are the features that the Envoy does not understand.
    """
    places: dict[tuple[str, str], list[Target]] = {}
    for target in sorted(targets):
        places.setdefault((target.service, target.region), []).append(target)
    clusters = [_cluster(found, targets[found[0]], lacks) for found in places.values()]
    interval = duration(REPORT_EVERY_MS if clusters else IDLE_MS)
    return encode(hds_pb2.HealthCheckSpecifier(cluster_health_checks=clusters, interval=interval))


def _cluster(targets: list[Target], check: HealthCheck, lacks: frozenset[Feature]) -> hds_pb2.ClusterHealthCheck:
    service, region, _ = targets[0]
    endpoints = [_endpoint(target, check) for target in targets]
    return hds_pb2.ClusterHealthCheck(
        cluster_name=f"{PREFIX}{service}@{region}",
        health_checks=[_check(check, lacks)],
        locality_endpoints=[hds_pb2.LocalityEndpoints(locality=base_pb2.Locality(region=region), endpoints=endpoints)],
    )


def _endpoint(target: Target, check: HealthCheck) -> endpoint_components_pb2.Endpoint:
    address = target.address
    where = endpoint_components_pb2.Endpoint.HealthCheckConfig(
        hostname=check.host or str(address), port_value=check.port or 0
    )
    return endpoint_components_pb2.Endpoint(address=socket_address(*address), health_check_config=where)


def _check(check: HealthCheck, lacks: frozenset[Feature]) -> health_check_pb2.HealthCheck:
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
    )
    if check.kind is ProbeKind.HTTP and not check.tls:
        message.http_health_check.CopyFrom(_http(check))
    elif check.kind is ProbeKind.GRPC and not check.tls and Feature.BODIES_OF_CHECKS not in lacks:
        message.http_health_check.CopyFrom(_grpc(check))
    else:
        message.tcp_health_check.SetInParent()
    return message


def _http(check: HealthCheck) -> health_check_pb2.HealthCheck.HttpHealthCheck:
    message = health_check_pb2.HealthCheck.HttpHealthCheck(path=check.path, expected_statuses=_ranges(check.statuses))
    if check.body is not None:
        message.receive.append(_payload(check.body.encode()))
        message.response_buffer_size.CopyFrom(UInt64Value(value=MOST_BODY))
    return message


def _grpc(check: HealthCheck) -> health_check_pb2.HealthCheck.HttpHealthCheck:
    """Return a call of gRPC's health protocol. Its messages have one field each, as the wrappers used here have."""
    headers = {"content-type": "application/grpc", "te": "trailers"}
    return health_check_pb2.HealthCheck.HttpHealthCheck(
        path=GRPC_METHOD,
        method=base_pb2.POST,
        codec_client_type=http_pb2.HTTP2,
        request_headers_to_add=[
            base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=key, value=value))
            for key, value in headers.items()
        ],
        send=_payload(_frame(StringValue(value=check.grpc_service))),
        receive=[_payload(_frame(Int32Value(value=SERVING)))],
    )


def _frame(message: StringValue | Int32Value) -> bytes:
    """Return a message as gRPC frames it: not compressed, and how long it is."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def _payload(data: bytes) -> health_check_pb2.HealthCheck.Payload:
    return health_check_pb2.HealthCheck.Payload(text=data.hex())


def _ranges(statuses: frozenset[int]) -> list[range_pb2.Int64Range]:
    """Return statuses as half-open ranges, neighbours joined."""
    ranges: list[range_pb2.Int64Range] = []
    for status in sorted(statuses):
        if ranges and ranges[-1].end == status:
            ranges[-1].end = status + 1
        else:
            ranges.append(range_pb2.Int64Range(start=status, end=status + 1))
    return ranges
