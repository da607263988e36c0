"""Assignments (EDS): who serves `service@region`, and the reflex plan for when that region is gone.

Priority 0 holds the region's own addresses, priority 1 those of the other regions, one locality for each, weighted by
the reflex plan. Envoy fills priority 0 first and spills as much as `overprovisioning_factor` says its health lacks
(Envoy, "Priority levels"); `locality_weighted_lb_config` splits what is spilled (Envoy, "Locality weighted load
balancing").

- A locality of weight 0 is left out. Envoy would send it nothing, but would count its hosts in the health of
  priority 1 and hold 2 KB for each; gRPC drops it, too.
- Priority 0 is always there, even without an address: gRPC refuses an assignment whose priorities have a gap.
- An address stands at most once in an assignment. Envoy keeps the first of two and drops the other silently, gRPC
  refuses the whole assignment. First wins here as well: priority 0 before priority 1, then regions by name; within a
  region the smallest host name. Two names that resolve alike are one endpoint.
- `hostname` is filled for endpoints that the policy names by host name, so that the Host header can follow the
  endpoint that was picked, also at priority 1. An IP address has none: the client's Host header passes.
- Host weights are not used: changing them rebuilds Envoy's load balancer, changing locality weights does not.

- Envoy hands a changed drop to its workers only with a change of hosts or weights (seen on 1.40: from 30 % to 60 %, and
  30 % went on being refused). So the weight of the home locality moves with it: being the only one of its priority, its
  weight means nothing.

The addresses of one deployment are encoded once and joined into every assignment they stand in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from envoy.config.core.v3 import address_pb2, base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2

from xds_server.model import TOTAL_WEIGHT, Address, Endpoint
from xds_server.policy.types import Deployment
from xds_server.snapshot.shedding import drop
from xds_server.snapshot.wire import encode, number, part

_CLUSTER_NAME, _ENDPOINTS, _POLICY = 1, 2, 4
_OVERPROVISIONING_FACTOR = 3
_LB_ENDPOINTS, _WEIGHT, _PRIORITY = 2, 3, 5
_VALUE = 1
"""Field numbers of ClusterLoadAssignment, its Policy, LocalityLbEndpoints, and a wrapped integer."""


@dataclass(frozen=True, slots=True)
class Host:
    """One address of a deployment. `name` is the host name it came from, or empty."""

    address: Address
    name: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """The hosts of one deployment, and the encoding of a locality that holds them, but for its weight and priority."""

    region: str
    hosts: tuple[Host, ...]
    addresses: frozenset[Address]
    body: bytes


def hosts_of(
    deployment: Deployment, addresses: Mapping[Endpoint, tuple[Address, ...]], unhealthy: frozenset[Address]
) -> tuple[Host, ...]:
    """Return the deployment's hosts, every address once, in an order that does not depend on the policy's.

    An endpoint that has not been resolved yet has no address, and so no host.
    """
    found: dict[Address, str] = {}
    for endpoint in deployment.endpoints:
        for address in addresses.get(endpoint, ()):
            name = endpoint.host if endpoint.host != address.ip and is_host_name(endpoint.host) else ""
            found[address] = min(name, found.get(address, name))
    return tuple(Host(address, found[address], address not in unhealthy) for address in sorted(found))


def is_host_name(host: str) -> bool:
    """Return False for an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def encode_hosts(region: str, hosts: tuple[Host, ...]) -> Encoded:
    """Encode the hosts of a locality once, for all the assignments they stand in."""
    head = encode(endpoint_components_pb2.LocalityLbEndpoints(locality=base_pb2.Locality(region=region)))
    body = head + b"".join(part(_LB_ENDPOINTS, encode(_lb_endpoint(host))) for host in hosts)
    return Encoded(region, hosts, frozenset(host.address for host in hosts), body)


def assignment(
    cluster: str,
    home: Encoded,
    reflex: Iterable[tuple[int, Encoded]],
    overprovisioning_factor: int,
    drop_percent: int = 0,
) -> bytes:
    """Return the encoded ClusterLoadAssignment of a region cluster.

    `home` are the hosts of its region; `reflex` those of the others by name, each with its weight in the reflex plan.
    `drop_percent` of the requests are refused (shedding.py).
    """
    home_weight = TOTAL_WEIGHT + drop_percent
    fields = [part(_CLUSTER_NAME, cluster.encode()), part(_ENDPOINTS, _locality(home, home_weight, 0))]
    seen = home.addresses
    for weight, found in reflex:
        fresh = found if seen.isdisjoint(found.addresses) else _without(found, seen)
        if weight > 0 and fresh.hosts:
            fields.append(part(_ENDPOINTS, _locality(fresh, weight, 1)))
            seen |= fresh.addresses
    factor = part(_OVERPROVISIONING_FACTOR, number(_VALUE, overprovisioning_factor))
    fields.append(part(_POLICY, drop(drop_percent) + factor))
    return b"".join(fields)


def _without(found: Encoded, seen: frozenset[Address]) -> Encoded:
    return encode_hosts(found.region, tuple(host for host in found.hosts if host.address not in seen))


def _locality(found: Encoded, weight: int, priority: int) -> bytes:
    tail = part(_WEIGHT, number(_VALUE, weight))
    return found.body + tail + (number(_PRIORITY, priority) if priority else b"")


def _lb_endpoint(host: Host) -> endpoint_components_pb2.LbEndpoint:
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(
            address=socket_address(host.address.ip, host.address.port), hostname=host.name
        ),
        health_status=health_check_pb2.UNKNOWN if host.healthy else health_check_pb2.UNHEALTHY,
    )


def socket_address(host: str, port: int) -> address_pb2.Address:
    """Return a TCP address as Envoy writes it."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))
