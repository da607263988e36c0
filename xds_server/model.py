"""The nouns every layer shares: evidence, verdicts, decisions. Frozen values, no behaviour beyond access.

Words are those of docs/ARCHITECTURE.md. Regions, services and fleets are plain `str` names. Units are in the names:
`_ms` milliseconds, `_rps` requests per second; `at`, `since` and `now` are seconds on the control plane's monotonic
clock, which only the shell reads. Shares and scores are fractions 0..1; weights are integers out of `TOTAL_WEIGHT`.

A *view* is a region seen as a source of traffic. Demand, allocation and weights are per source region; every fleet
in that region (an Envoy's `node.cluster`) gets the same weights for the services it uses, because fleets in one place
have the same latencies and so the same optimum. What an Envoy is sent is therefore keyed by (fleet, region): `ViewKey`.

Tables in a decision are tuples aligned with `Decision.regions`, not dicts: a fleet-sized decision has half a million
numbers in it, and a tuple of ints is a fifth of the size and compares in C.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

TOTAL_WEIGHT = 10_000
"""Every weight table sums to this: a weight is a hundredth of a percent."""


class ViewKey(NamedTuple):
    """Whose snapshot it is: all clients of one fleet (`node.cluster`) in one region (`node.locality.region`).

    `kind` is what they can understand: "envoy", or "grpc" for gRPC clients without a proxy. The rules by which a client
    is of one kind or another are in snapshot/.
    """

    fleet: str
    region: str
    kind: str = "envoy"


class Address(NamedTuple):
    """A resolved IP address (v4 or v6, canonical text) and port: what EDS carries and probes connect to."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class Endpoint(NamedTuple):
    """An endpoint as the policy names it: IP address or host name, and port. A name may have several addresses."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """One thing that can be healthy or not: an address serving a service in a region."""

    service: str
    region: str
    address: Address


@dataclass(frozen=True, slots=True)
class Observation:
    """One dated piece of evidence about one target.

    `vantage` says who looked ("controlplane", or an Envoy's id), `detail` why it failed, in words ("connection
    refused", "HTTP 503"). `view` is the region that was looked from, empty for the control plane itself. `answered`:
    the target itself said so, there was an answer.
    """

    vantage: str
    target: Target
    healthy: bool
    at: float
    latency_ms: float | None = None
    detail: str = ""
    view: str = ""
    answered: bool = False


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What the Envoys of one view did for one service in one region, in `interval_s` (LRS, UpstreamLocalityStats).

    `region` is the one that served, at whatever priority. Counts are *attempts*: a retried request counts each time,
    `failed` may exceed `issued` (they end in a later interval), and what reached no host is not in it.

    `reporter` is who added the Envoys' reports up: they are one value per interval for all Envoys of a view on one
    control plane. `envoys` is how many of them that was. `reflex` of `issued` came by priority 1 of another region's
    cluster; `dropped` were refused by an Envoy before any host was chosen, and stand under the region they were meant
    for. `lead_` is the part of that one which reports the most failures, where certificates tell who is who.
    """

    reporter: str
    view: str
    service: str
    region: str
    issued: int
    succeeded: int
    failed: int
    in_progress: int
    interval_s: float
    at: float
    reflex: int = 0
    dropped: int = 0
    envoys: int = 1
    lead_succeeded: int = 0
    lead_failed: int = 0


@dataclass(frozen=True, slots=True)
class AccessSummary:
    """What sampled access logs of one view said of one service in one region during `interval_s` (ALS).

    `requests` are clients' requests, not attempts, scaled up from the sample; `failed` of them were answered 5xx or not
    at all (all of those are logged, so they are not scaled). `attempts` is the mean number of tries a request took.
    Latencies are upstream, in ms: from the first byte sent to the first byte received, of the last try; `samples` is
    how many there were. `statuses` counts log entries: without an answer, then 1xx to 5xx. `unserved` of the failed met
    no host at all, and stand under the region they were meant for. `latencies` counts the samples by bucket of
    histogram.py, in ascending order: quantiles of several seconds can be told from these alone. `lead_latencies` are
    those of the one client, by certificate, that waited longest in all: how the others fare can be told.
    """

    reporter: str
    view: str
    service: str
    region: str
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    interval_s: float
    at: float
    p90_ms: float = 0.0
    samples: int = 0
    attempts: float = 1.0
    statuses: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    unserved: int = 0
    latencies: tuple[tuple[int, int], ...] = ()
    lead_latencies: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What somebody who watches a region says of it: its own monitoring, a load balancer, a person's script.

    Empty `service`: of all services there. None: no word on that. `utilisation` is a fraction of the capacity in use;
    the report counts for `ttl_s` seconds. `view` is the region it was seen from; empty: it holds for all. `sender` is
    who sent it, by token or certificate; empty where nobody had to say. A reporter's name is only what it says itself.
    """

    reporter: str
    region: str
    service: str
    healthy: bool | None
    utilisation: float | None
    capacity_rps: float | None
    detail: str
    ttl_s: float
    at: float
    view: str = ""
    sender: str = ""

    @property
    def said_by(self) -> str:
        """Return what the reporter calls itself and, where that is known, who it is."""
        return f"{self.reporter} ({self.sender})" if self.sender else self.reporter


class Watcher(NamedTuple):
    """A connected Envoy that could look at other regions for us: its stream, its name, and the region it is in.

    The name is what it says itself. `certificate` is the first name in its certificate, empty without one; `address` is
    where it connects from.
    """

    stream: int
    node_id: str
    region: str
    certificate: str = ""
    address: str = ""


class SourceStatus(NamedTuple):
    """One source of signals: streams open now, messages it sent, and what of them was of no use, since the start.

    `ignored` counts single things said: of names that the policy does not know, or more than is taken.
    """

    source: str
    streams: int
    messages: int
    ignored: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer to one look-up of a host name. Empty `ips` with an `error` means the look-up failed."""

    host: str
    ips: tuple[str, ...]
    at: float
    error: str = ""


class Health(StrEnum):
    """What we believe of a service in a region."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    RECOVERING = "recovering"
    DRAINING = "draining"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What we believe of one service in one region, and why.

    `score` (0..1) multiplies the capacity. `ramp` (0..1) limits a recovering region to that part of the share it will
    have. An `UNKNOWN` verdict keeps the score and ramp of the last verdict that had evidence; `held` names that one.
    `outvoted`: the control plane's own probes say that all of it is down, and are not believed.
    """

    health: Health
    score: float
    reason: str
    since: float
    ramp: float = 1.0
    held: Health | None = None
    up: int = 0
    total: int = 0
    outvoted: bool = False

    @property
    def serves(self) -> bool:
        """True if the region may be given traffic."""
        return self.score > 0.0 and self.ramp > 0.0


@dataclass(frozen=True, slots=True)
class Protection:
    """The protection settings of one region cluster as one view's Envoy gets it, each with its reason in `reasons`.

    Only what Envoy reads per cluster: outlier detection comes as a named profile (snapshot/ turns the name into
    messages) so that it changes rarely; breakers are `envoy.config.cluster.v3.CircuitBreakers.Thresholds`.
    """

    outlier_profile: str
    max_ejection_percent: int
    overprovisioning_factor: int
    max_connections: int
    max_pending_requests: int
    max_requests: int
    retry_budget_percent: float
    min_retry_concurrency: int
    connect_timeout_ms: int
    reasons: tuple[tuple[str, str], ...] = ()


Row = tuple[int, ...]
"""Weights over `Decision.regions`, summing to `TOTAL_WEIGHT` (or all zero where there is nothing to weigh)."""

Table = tuple[Row, ...]
"""One row for every view, in the order of `Decision.regions`."""


@dataclass(frozen=True, slots=True)
class NMinusOne:
    """The optimum with one region gone: what each region would serve, and whether it fits.

    `load_rps` is aligned with the regions. `overload` is 1.0 if it fits; else every capacity must be exceeded by that
    factor. `added_latency_ms` is the mean over all requests against today's plan.
    """

    without: str
    load_rps: tuple[float, ...]
    overload: float
    added_latency_ms: float


class ShedClass(NamedTuple):
    """The percentage of one class of traffic that is refused. No name: what is of no class."""

    name: str
    percent: int


@dataclass(frozen=True, slots=True)
class Shed:
    """What the Envoys of one view refuse, so that regions hold: `percent` of all requests, and how much of each class.

    `classes` are those of which anything is refused, in the order of the policy.
    """

    percent: int
    classes: tuple[ShedClass, ...]
    reason: str


class CutLink(NamedTuple):
    """A view that does not use its link to a region, although others may reach it.

    `since` is when it was cut, not above zero if in an earlier process. `heard`: its view has a word on it now, or none
    is to be expected, because its Envoys do not probe.
    """

    view: str
    region: str
    since: float
    heard: bool = True


@dataclass(frozen=True, slots=True)
class ServiceDecision:
    """Everything decided for one service. Rows and columns follow `regions`: the policy's, sorted.

    `weights[v][r]`: of view v's requests, the share that region r serves. `reflex[r][v]`: the priority-1 weights of
    cluster `service@r` in view v, which Envoy applies by itself when r dies. `reasons[v][r]`: why `weights[v][r]` is
    what it is. `protection[v][r]`: None where the service has no deployment in r. `shed[v]`: what view v refuses;
    empty if none does. `half_open` are the weights of what may be sent twice, with a trickle to regions that are down;
    empty if they are `weights`. `stranded` are the views that seem to be cut off from wherever they could go: they try.
    `cuts` are the links that are not used. `capacity_why`: by region, why a capacity is not the policy's.
    `whole_rps` is what each region carries when all of it is well, where `capacity_rps` is what it carries now.
    """

    service: str
    regions: tuple[str, ...]
    verdicts: tuple[Verdict | None, ...]
    demand_rps: tuple[float, ...]
    capacity_rps: tuple[float, ...]
    load_rps: tuple[float, ...]
    overload: float
    weights: Table
    reflex: tuple[Table, ...]
    reflex_overload: tuple[float, ...]
    n_minus_1: tuple[NMinusOne, ...]
    protection: tuple[tuple[Protection | None, ...], ...]
    reasons: tuple[tuple[str, ...], ...]
    shed: tuple[Shed | None, ...] = ()
    half_open: Table = ()
    stranded: tuple[str, ...] = ()
    cuts: tuple[CutLink, ...] = ()
    capacity_why: tuple[tuple[str, str], ...] = ()
    whole_rps: tuple[float, ...] = ()

    @property
    def refused_rps(self) -> float:
        """Return how much of the demand is refused, of all views together."""
        pairs = zip(self.demand_rps, self.shed, strict=False)
        return sum(rps * shed.percent / 100 for rps, shed in pairs if shed is not None)


class FleetSize(NamedTuple):
    """How many Envoys of a fleet are in a region: coarse, as breakers are divided by it (decision/fleet_size.py)."""

    fleet: str
    region: str
    envoys: int


@dataclass(frozen=True, slots=True)
class Decision:
    """For every service and view: integer weights over regions, protection settings, and a reason for each number.

    `sizes` are the fleets that breakers are shared out over, those of one Envoy left out.
    """

    regions: tuple[str, ...]
    services: tuple[ServiceDecision, ...]
    sizes: tuple[FleetSize, ...] = ()

    def service(self, name: str) -> ServiceDecision:
        """Return the decision for one service; KeyError if the policy has no such service."""
        for service in self.services:
            if service.service == name:
                return service
        raise KeyError(name)


Severity = Literal["info", "warning", "alarm"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something an operator wants to know, as data: the shell logs it, counts it and shows it.

    `kind` is one of a closed set of dotted names ("region.down", "policy.rejected"), `fields` are its facts in a
    stable order, `message` is one line of plain words.
    """

    kind: str
    at: float
    message: str
    severity: Severity = "info"
    fields: tuple[tuple[str, str], ...] = ()
