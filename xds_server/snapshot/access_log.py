"""What a sidecar logs to us: a share of its requests, and every one that failed (Envoy, "Access logging").

One logger, because each costs a stream per worker. Its filter is `sampled or failed`:

- *sampled*: a runtime fraction. The default is the fleet's `access_logs`; the key `RUNTIME_SAMPLED` moves it without
  touching the listener (an edited listener drains connections).
- *failed*: an answer of 500 or more, or one of Envoy's own flags for "no answer came". Its share is a runtime fraction
  too, `RUNTIME_FAILED`, all of them unless it is turned down: Envoy's process-wide rate limit for logs would be the
  better bound, but it fetches its size over ADS and keeps the listener from serving until it has it. Without it the
  bounds are Envoy's buffer (`BUFFER_BYTES` a worker, then entries are dropped and counted) and how fast we read.

Entries hold no headers, and of the request only what Envoy always puts there.

Envoy refuses a logger whose cluster is not in its bootstrap. A bootstrap of somebody's own has to have one called
`xds`, or the fleet sets `access_logs: 0%`, which leaves the logger out.
"""

from __future__ import annotations

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.type.v3 import percent_pb2

from xds_server.snapshot.wire import any_of, duration, uint32

CLUSTER = "xds"
LOG_NAME = "xds-server"
LOGGER = "envoy.access_loggers.http_grpc"
RUNTIME_SAMPLED = "xds_server.access_logs.sampled"
RUNTIME_FAILED = "xds_server.access_logs.failed"
FLUSH_MS = 1_000
BUFFER_BYTES = 64 * 1024

FAILED_FLAGS = ("UF", "UO", "UH", "UT", "UC", "UR", "LR", "URX", "UMSDR", "UPE", "DT", "SI")
"""No connection, breaker open, no host, timeouts, resets, retries used up, protocol error."""

_MILLION = 1_000_000


def access_log(share: float) -> accesslog_pb2.AccessLog | None:
    """Return the logger of a fleet that samples this share (0..1); None for a fleet that logs nothing."""
    if share <= 0:
        return None
    envoy_grpc = grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=CLUSTER)
    common = als_pb2.CommonGrpcAccessLogConfig(
        log_name=LOG_NAME,
        grpc_service=grpc_service_pb2.GrpcService(envoy_grpc=envoy_grpc),
        transport_api_version=config_source_pb2.V3,
        buffer_flush_interval=duration(FLUSH_MS),
        buffer_size_bytes=uint32(BUFFER_BYTES),
    )
    return accesslog_pb2.AccessLog(
        name=LOGGER,
        filter=_sampled_or_failed(share),
        typed_config=any_of(als_pb2.HttpGrpcAccessLogConfig(common_config=common)),
    )


def _sampled_or_failed(share: float) -> accesslog_pb2.AccessLogFilter:
    made = accesslog_pb2.AccessLogFilter
    any_failure = made(
        or_filter=accesslog_pb2.OrFilter(
            filters=[
                made(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=_at_least_500())),
                made(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=FAILED_FLAGS)),
            ]
        )
    )
    failed = accesslog_pb2.AndFilter(filters=[any_failure, _fraction(RUNTIME_FAILED, 1.0)])
    filters = [_fraction(RUNTIME_SAMPLED, share), made(and_filter=failed)]
    return made(or_filter=accesslog_pb2.OrFilter(filters=filters))


def _at_least_500() -> accesslog_pb2.ComparisonFilter:
    value = base_pb2.RuntimeUInt32(default_value=500, runtime_key="xds_server.access_logs.failed_status")
    return accesslog_pb2.ComparisonFilter(op=accesslog_pb2.ComparisonFilter.GE, value=value)


def _fraction(key: str, share: float) -> accesslog_pb2.AccessLogFilter:
    percent = percent_pb2.FractionalPercent(
        numerator=round(share * _MILLION), denominator=percent_pb2.FractionalPercent.MILLION
    )
    return accesslog_pb2.AccessLogFilter(
        runtime_filter=accesslog_pb2.RuntimeFilter(
            runtime_key=key, percent_sampled=percent, use_independent_randomness=True
        )
    )
