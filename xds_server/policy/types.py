"""The policy as a value: what an operator wrote, validated, with every default filled in.

Nothing here parses or checks; `policy/parse.py` is the only maker of these outside tests. Durations are integer
milliseconds, rates are requests per second, shares are fractions 0..1. Mappings are read-only and sorted by name, so
that two policies that say the same are equal and iterate alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from xds_server.model import Endpoint


class Protocol(StrEnum):
    """What the endpoints speak."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    GRPC = "grpc"


class ProbeKind(StrEnum):
    """How an endpoint is probed."""

    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"


class OverloadMode(StrEnum):
    """What happens to requests that do not fit: every region takes its part of them, or some are refused."""

    SPREAD = "spread"
    SHED = "shed"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a service's endpoints are probed, and when a verdict changes.

    `port` is None for the endpoint's own. With `tls` probes speak
    it, and verify `server_name`. `statuses` are the HTTP statuses that count as healthy; `body`, if there is
    one, must be found in the answer. `grpc_service` is what a gRPC health check asks for; empty is the whole server.
    """

    kind: ProbeKind = ProbeKind.HTTP
    path: str = "/healthz"
    host: str | None = None
    port: int | None = None
    statuses: frozenset[int] = frozenset({200})
    interval_ms: int = 1_000
    timeout_ms: int = 500
    unhealthy_after: int = 2
    healthy_after: int = 3
    body: str | None = None
    grpc_service: str = ""
    tls: bool | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`request_ms` is the route's timeout. None means: computed from the round trip of the path (decision/)."""

    request_ms: int = 15_000
    per_try_ms: int | None = None
    connect_ms: int | None = None
    idle_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` counts retries, not the first try (Envoy's `num_retries`). `budget` is a share of active requests."""

    attempts: int = 3
    budget: float = 0.20
    min_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """Requests that have all these `headers` (lower-case name and value), and their `share` (0..1) of the service's."""

    name: str
    headers: tuple[tuple[str, str], ...]
    share: float


@dataclass(frozen=True, slots=True)
class Overload:
    """What happens when demand exceeds capacity. `classes` are shed in this order, all others after them."""

    mode: OverloadMode = OverloadMode.SPREAD
    retry_after_ms: int = 5_000
    classes: tuple[TrafficClass, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One service in one region. `capacity_rps` is what all its endpoints together serve, in requests per second."""

    region: str
    endpoints: tuple[Endpoint, ...]
    capacity_rps: float


@dataclass(frozen=True, slots=True)
class Tls:
    """How a service's endpoints are spoken to by TLS: paths of files, as they were written, and the name to verify.

    `sni` is None for each endpoint's own host name. What the files hold is in `Policy.own`.
    """

    ca: str
    sni: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """What is routed to. `hosts` are the `:authority` values that select it; `demand_rps` is by view, may be empty."""

    name: str
    hosts: tuple[str, ...]
    protocol: Protocol
    health: HealthCheck
    timeouts: Timeouts
    retries: Retries
    reserve: float
    ramp_up_ms: int
    min_change: float
    latency_tolerance_ms: int
    demand_rps: Mapping[str, float]
    deployments: Mapping[str, Deployment]
    overload: Overload = Overload()
    half_open: float = 0.0
    """Share of a view's repeatable requests that a region gets which is down (0: none)."""
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A declared region. `drain` moves all traffic off it, as an edit of the policy rather than an order."""

    name: str
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Fleet:
    """Envoys with one `node.cluster`: where their sidecar listens, and which services they get (None: all).

    `access_logs` (0..1) is the share of requests whose log entry they send us, besides every failed one; 0 for no logs.
    """

    name: str
    listen_host: str
    listen_port: int
    uses: tuple[str, ...] | None = None
    access_logs: float = 0.05


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a new policy comes to the fleet: to `canary` (0..1) of the Envoys first, within `timeout_ms`."""

    canary: float = 0.05
    timeout_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Client:
    """Certificates by the names in them, and as whom they may speak (None: anyone). The rule is in clients.py.

    `identity` and `nodes` are patterns. With `agent` they may also report on these regions.
    """

    identity: str
    regions: tuple[str, ...] | None = None
    fleets: tuple[str, ...] | None = None
    nodes: tuple[str, ...] | None = None
    agent: bool = False


class Taker(StrEnum):
    """Who may take a resource that the operator wrote."""

    ENVOY = "envoy"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class OwnResource:
    """A resource that the operator wrote in Envoy's own form, for the clients of some fleets and regions (None: all).

    `body` is opaque here: the serialized message, which may hold a secret. `needs` are type and name of what it refers
    to, `aliases` other names that it may be asked for by. Made by `snapshot/own`, and by `snapshot/tls.py` of services'
    certificates.
    """

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False, metadata={"recorded_as": b""})
    needs: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    fleets: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    clients: tuple[Taker, ...] = (Taker.ENVOY,)

    def goes_to(self, fleet: str, region: str, taker: Taker = Taker.ENVOY) -> bool:
        """Return whether such clients of that fleet and region get it."""
        here = (self.fleets is None or fleet in self.fleets) and (self.regions is None or region in self.regions)
        return here and taker in self.clients


class OnHarm(StrEnum):
    """What a paced evacuation does when the regions that receive its traffic suffer."""

    STOP = "stop"
    ROLL_BACK = "roll-back"


@dataclass(frozen=True, slots=True)
class OrderRules:
    """What orders of operators must keep to, and what they are if they do not say.

    After an evacuation `min_regions` regions must still serve each service, and `max_evacuated` may be evacuated at
    once. An evacuation takes `over_ms`; orders end after `expires_ms`, at most `max_expires_ms`.
    """

    min_regions: int = 1
    max_evacuated: int = 1
    over_ms: int = 60_000
    on_harm: OnHarm = OnHarm.STOP
    expires_ms: int = 7_200_000
    max_expires_ms: int = 86_400_000


class Window(NamedTuple):
    """A time of the week, in UTC: days (0 is Monday), and minutes of the day, the end not included."""

    days: tuple[int, ...]
    start: int
    end: int


class WeeklyTime(NamedTuple):
    """A minute of some days of the week, in UTC (0 is Monday)."""

    days: tuple[int, ...]
    minute: int


@dataclass(frozen=True, slots=True)
class ScheduledDrill:
    """A drill that begins by itself at a time of the week. Empty `service`: all that are in the region."""

    name: str
    region: str
    at: WeeklyTime
    for_ms: int = 600_000
    service: str = ""


@dataclass(frozen=True, slots=True)
class Drills:
    """When no drill may run, and which ones run by themselves."""

    blocked: tuple[Window, ...] = ()
    schedule: Mapping[str, ScheduledDrill] = field(default_factory=dict)


DEFAULT_FLEET = "default"
"""The fleet of a policy without `fleets:`; it takes every Envoy, whatever its `node.cluster`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. `latency_ms[(a, b)]` is the round trip between two regions, both orders and (a, a) present."""

    regions: Mapping[str, Region]
    latency_ms: Mapping[tuple[str, str], float]
    services: Mapping[str, Service]
    fleets: Mapping[str, Fleet]
    digest: str
    """Hash of what it came from: names the policy in logs, events and the admin API."""
    rollout: Rollout = Rollout()
    orders: OrderRules = OrderRules()
    drills: Drills = Drills()
    own: tuple[OwnResource, ...] = ()
    """What the operator serves beside what follows from the rest."""
    clients: tuple[Client, ...] = ()
    """Which certificates may speak as whom; without any entry, every verified one may speak as anyone."""

    def fleet_for(self, node_cluster: str) -> Fleet | None:
        """Return the fleet an Envoy with that `node.cluster` belongs to; None if the policy has no place for it."""
        return self.fleets.get(node_cluster) or self.fleets.get(DEFAULT_FLEET)

    def services_of(self, fleet: Fleet) -> tuple[Service, ...]:
        """Return the services that the sidecars of `fleet` get, by name."""
        names = self.services if fleet.uses is None else fleet.uses
        return tuple(self.services[name] for name in sorted(names))
