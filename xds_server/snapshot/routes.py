"""Routes (RDS): which share of a service's requests goes to which region, and what may be sent twice.

One virtual host for each service, all of them in one route configuration; or, for clients that take them one by one,
each a resource of its own (VHDS), so that a change of one service's weights sends that service alone, however many
others there are (docs/decisions/0012-one-virtual-host-at-a-time.md).

Its routes differ in what they retry (Envoy, "Router", "x-envoy-retry-on"), and have the same weights but for a
half-open trickle to a region that is down, which only what may be sent twice gets:

- safe methods (RFC 9110 section 9.2.1), reads: a failure of any kind is retried, once the try failed or timed out;
- writes with an `Idempotency-Key` header, whose client says that a repeat is safe: like reads;
- other writes: only what surely has not reached a backend. No per-try timeout, which would turn a slow success into
  an unknown.

GET comes first and by itself, because a regular expression over the methods cost every request 10 µs of Envoy's time.
gRPC sends everything as POST, so its methods count as writes unless they carry the key.

*Where a retry goes.* `previous_priorities` leaves priority 0 for the reflex plan at once; where there is no other
region, `previous_hosts` picks another host.

*All regions of a deployment are listed, also with weight 0*, so that weights move by RDS alone. Envoy refuses a table
that sums to zero; a service that nothing may serve answers 503 from the route itself.

*How many.* `retries.attempts` at most, of which one after an answer: attempts.py says how and why.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from xds_server.model import Shed
from xds_server.policy.types import Protocol, Service
from xds_server.snapshot import shedding
from xds_server.snapshot.attempts import FINAL_HEADER
from xds_server.snapshot.clusters import ads_source, cluster_name
from xds_server.snapshot.kinds import NOTHING_LACKING, Feature
from xds_server.snapshot.wire import any_of, duration, encode, part, uint32

READ_RETRY_ON = "connect-failure,refused-stream,reset,5xx"
UNSENT_RETRY_ON = "connect-failure,refused-stream"
WRITE_RETRY_ON = f"{UNSENT_RETRY_ON},reset-before-request"
GRPC_RETRY_ON = "unavailable"
OTHER_SAFE_METHODS = "HEAD|OPTIONS"
KEY_HEADER = "idempotency-key"
BACK_OFF_MS = (25, 250)
HOST_SELECTION_ATTEMPTS = 3
NOWHERE = "nowhere.invalid"

_NAME, _VIRTUAL_HOSTS = 1, 2


def virtual_host_rest(
    service: Service,
    per_try_ms: int,
    weights: Sequence[tuple[str, int]],
    *,
    reads: Sequence[tuple[str, int]] = (),
    shed: Shed | None = None,
    rewrite_host: bool = False,
    lacks: frozenset[Feature] = NOTHING_LACKING,
) -> bytes:
    """Return a service's encoded VirtualHost without its name. `weights` are a view's, all deployments listed.

    `reads` are the weights of what may be sent twice, if they are others; `shed` is what is refused (shedding.py).
    `rewrite_host` lets the Host header follow the endpoint that was picked, where that has a host name. `lacks` are the
    features that its clients do not understand.
    """
    read, write = _read_retries(service, per_try_ms), _write_retries(service, lacks)
    keyed = route_components_pb2.HeaderMatcher(name=KEY_HEADER, present_match=True)
    other_reads = regex_pb2.RegexMatcher(regex=OTHER_SAFE_METHODS)
    plain = _plain_route(service, weights, rewrite_host=rewrite_host)
    twice = _plain_route(service, reads, rewrite_host=rewrite_host) if reads else plain
    routes = [
        *shedding.routes(service.overload, shed),
        _route("reads", twice, read, [_method(string_pb2.StringMatcher(exact="GET"))]),
        _route("keyed", twice, read, [keyed]),
        _route("other_reads", twice, read, [_method(string_pb2.StringMatcher(safe_regex=other_reads))]),
        _route("writes", plain, write, []),
    ]
    return encode(
        route_components_pb2.VirtualHost(
            domains=domains(service),
            routes=routes,
            include_request_attempt_count=True,
            response_headers_to_remove=[FINAL_HEADER],
        )
    )


def named(name: str, rest: bytes) -> bytes:
    """Return the encoded VirtualHost of that name."""
    return part(_NAME, name.encode()) + rest


def route_configuration_by_host(name: str) -> bytes:
    """Return an encoded RouteConfiguration whose virtual hosts come one by one, over the same stream as itself."""
    source = route_pb2.Vhds(config_source=ads_source(0))
    return encode(route_pb2.RouteConfiguration(name=name, vhds=source, validate_clusters=BoolValue(value=False)))


def virtual_host_name(route_configuration: str, service: str) -> str:
    """Return the name of a virtual host on its own: Envoy goes by what stands before the slash (Envoy, "VHDS").

    The message has the same name as the resource: Envoy adds by the one and removes by the other.
    """
    return f"{route_configuration}/{service}"


def nothing_to_route() -> bytes:
    """Return a virtual host that no request meets, without its name: for a fleet without services.

    An Envoy that is told that there are no virtual hosts goes on waiting for the first, and its listener with it.
    """
    return encode(route_components_pb2.VirtualHost(domains=[NOWHERE]))


def route_configuration(name: str, virtual_hosts: Sequence[bytes]) -> bytes:
    """Return an encoded RouteConfiguration from its encoded virtual hosts."""
    tail = route_pb2.RouteConfiguration(validate_clusters=BoolValue(value=False))
    return part(_NAME, name.encode()) + b"".join(part(_VIRTUAL_HOSTS, host) for host in virtual_hosts) + encode(tail)


def domains(service: Service) -> list[str]:
    """Return the authorities that select a service, with and without a port; a wildcard or a port stays as written."""
    domains = set(service.hosts) | {f"{host}:*" for host in service.hosts if "*" not in host and ":" not in host}
    return sorted(domains)


def _plain_route(
    service: Service, weights: Sequence[tuple[str, int]], *, rewrite_host: bool
) -> route_components_pb2.Route:
    """Return a route without retries: to the weighted region clusters, or 503 if nothing may serve."""
    if sum(weight for _, weight in weights) == 0:
        return route_components_pb2.Route(direct_response=route_components_pb2.DirectResponseAction(status=503))
    cluster_weight = route_components_pb2.WeightedCluster.ClusterWeight
    clusters = [
        cluster_weight(name=cluster_name(service.name, region), weight=uint32(weight)) for region, weight in weights
    ]
    action = route_components_pb2.RouteAction(
        weighted_clusters=route_components_pb2.WeightedCluster(clusters=clusters),
        timeout=duration(service.timeouts.request_ms),
        auto_host_rewrite=BoolValue(value=True) if rewrite_host else None,
        append_x_forwarded_host=rewrite_host,
    )
    return route_components_pb2.Route(route=action)


def _route(
    name: str,
    plain: route_components_pb2.Route,
    retries: route_components_pb2.RetryPolicy,
    headers: list[route_components_pb2.HeaderMatcher],
) -> route_components_pb2.Route:
    route = route_components_pb2.Route()
    route.CopyFrom(plain)
    route.name = name
    route.match.CopyFrom(route_components_pb2.RouteMatch(prefix="/", headers=headers))
    if route.HasField("route"):
        route.route.retry_policy.CopyFrom(retries)
    return route


def _method(matcher: string_pb2.StringMatcher) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=":method", string_match=matcher)


def _read_retries(service: Service, per_try_ms: int) -> route_components_pb2.RetryPolicy:
    conditions = f"{READ_RETRY_ON},{GRPC_RETRY_ON}" if service.protocol is Protocol.GRPC else READ_RETRY_ON
    policy = _retries(conditions, service.retries.attempts)
    policy.per_try_timeout.CopyFrom(duration(per_try_ms))
    return policy


def _write_retries(service: Service, lacks: frozenset[Feature]) -> route_components_pb2.RetryPolicy:
    conditions = UNSENT_RETRY_ON if Feature.RESET_BEFORE_REQUEST in lacks else WRITE_RETRY_ON
    return _retries(conditions, service.retries.attempts)


def _retries(conditions: str, attempts: int) -> route_components_pb2.RetryPolicy:
    base, most = BACK_OFF_MS
    return route_components_pb2.RetryPolicy(
        retry_on=conditions,
        num_retries=uint32(attempts),
        retry_priority=route_components_pb2.RetryPolicy.RetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=any_of(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1)),
        ),
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=any_of(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=HOST_SELECTION_ATTEMPTS,
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=duration(base), max_interval=duration(most)
        ),
    )
