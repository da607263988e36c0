"""The listener (LDS): where a sidecar takes its application's requests.

One listener, `outbound`, on the fleet's address, whose routes come by RDS; so neither weights nor services ever touch
it, and Envoy drains nothing when they change.

`use_remote_address` treats the application as a client, not as a trusted proxy, and no address counts as internal:
Envoy then strips `x-envoy-retry-on` and its like from requests. What may be sent twice is the policy's word; a header
must not turn it off. Request ids that come in are kept. A sample of the access log comes to us (access_log.py); all of
it, at a fleet's rate, would cost more than routing does.

Nothing waits for ever (Envoy, "Configuring Envoy as an edge proxy"): streams that stand still end after five minutes,
half-sent request headers after ten seconds.
"""

from __future__ import annotations

from ipaddress import ip_address

from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from xds_server.policy.types import Fleet
from xds_server.snapshot.access_log import access_log
from xds_server.snapshot.clusters import ads_source
from xds_server.snapshot.endpoints import socket_address
from xds_server.snapshot.wire import any_of, duration, encode, uint32

LISTENER = "outbound"
ROUTE_CONFIGURATION = "outbound"
HCM_FILTER = "envoy.filters.network.http_connection_manager"
ROUTER_FILTER = "envoy.filters.http.router"

NOBODY = "255.255.255.255"
"""The one internal address: no client has it. An empty list would mean all private and loopback addresses."""

STREAM_IDLE_MS = 300_000
REQUEST_HEADERS_MS = 10_000
CLIENT_IDLE_MS = 3_600_000


def listener(fleet: Fleet) -> bytes:
    """Return the encoded Listener of a fleet's sidecars."""
    chain = listener_components_pb2.FilterChain(
        filters=[listener_components_pb2.Filter(name=HCM_FILTER, typed_config=any_of(_connection_manager(fleet)))]
    )
    return encode(
        listener_pb2.Listener(
            name=LISTENER,
            address=socket_address(fleet.listen_host, fleet.listen_port),
            filter_chains=[chain],
            traffic_direction=base_pb2.OUTBOUND,
        )
    )


def _connection_manager(fleet: Fleet) -> http_connection_manager_pb2.HttpConnectionManager:
    manager = http_connection_manager_pb2.HttpConnectionManager
    logger = access_log(fleet.access_logs)
    return manager(
        stat_prefix=LISTENER,
        rds=http_connection_manager_pb2.Rds(config_source=ads_source(0), route_config_name=ROUTE_CONFIGURATION),
        http_filters=[
            http_connection_manager_pb2.HttpFilter(name=ROUTER_FILTER, typed_config=any_of(router_pb2.Router()))
        ],
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=duration(CLIENT_IDLE_MS)),
        stream_idle_timeout=duration(STREAM_IDLE_MS),
        request_headers_timeout=duration(REQUEST_HEADERS_MS),
        use_remote_address=BoolValue(value=True),
        skip_xff_append=_is_loopback(fleet.listen_host),
        internal_address_config=manager.InternalAddressConfig(
            cidr_ranges=[address_pb2.CidrRange(address_prefix=NOBODY, prefix_len=uint32(32))]
        ),
        preserve_external_request_id=True,
        server_header_transformation=manager.PASS_THROUGH,
        access_log=[logger] if logger is not None else [],
    )


def _is_loopback(host: str) -> bool:
    """Return True if only the same machine can connect: its address tells a backend nothing."""
    return ip_address(host).is_loopback
