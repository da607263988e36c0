"""Prometheus metrics, in a registry of this app's own.

What happened is counted as it happens. What *is* (verdicts, weights, clients) is not kept a second time in gauges but
read off the latest values when a scrape comes, so that a service that left the policy leaves no series behind. They are
written out in a thread: 64,000 weights (1,000 services in 8 regions) take a second.

Every label has a bounded set of values: names that the policy declares, or words of ours. What a client says about
itself is never a label.
"""

from __future__ import annotations

import asyncio
import platform
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from xds_server import __version__
from xds_server.model import TOTAL_WEIGHT, Decision, Event, Observation, ServiceDecision, SourceStatus, Verdict
from xds_server.operator.gauges import (
    Place,
    client_metrics,
    gauge,
    order_metrics,
    plan_metrics,
    ready_metrics,
)
from xds_server.operator.turns import Turns
from xds_server.operator.views import PolicyStatus, short_type
from xds_server.orders.types import Orders
from xds_server.protocol.events import Acked, Nacked, Sent, StaleNonce
from xds_server.transport.clients import ClientEvent, ClientStatus, Closed, Connected

PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)
"""From the same rack to the far side of the planet, and the time-outs beyond."""

DECISION_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """Counts what the app reports, and renders all of it."""

    def __init__(
        self,
        decision: Callable[[], Decision | None] = lambda: None,
        policy: Callable[[], PolicyStatus] = lambda: PolicyStatus(""),
        clients: Callable[[], Iterable[ClientStatus]] = tuple,
        void_probes: Callable[[], int] = lambda: 0,
        sources: Callable[[], Iterable[SourceStatus]] = tuple,
        *,
        quarantined: Callable[[], Sized] = tuple,
        certificates: Callable[[], Mapping[str, float]] = dict,
        handshakes: Callable[[], int] = int,
        orders: Callable[[], Orders] = Orders,
        waiting_for: Callable[[], str | None] = lambda: None,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nobody asked for
        self._registry = CollectorRegistry()
        self._latest = _Latest(decision, policy, clients, void_probes, sources, quarantined=quarantined)
        self._latest.certificates = certificates
        self._latest.handshakes = handshakes
        self._latest.orders = orders
        self._latest.waiting_for = waiting_for
        self._counts = _Counts(self._registry)
        self._turns = Turns()
        self._probed: dict[tuple[str, str], tuple[Counter, Counter]] = {}
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self._latest)
        build = Gauge("xds_server_build_info", "Always 1.", ["version", "python"], registry=self._registry)
        build.labels(__version__, platform.python_version()).set(1)

    async def render(self) -> bytes:
        """Return everything in Prometheus' text format; written out in a thread, from values taken before."""
        self._latest.take()
        return await asyncio.to_thread(generate_latest, self._registry)

    def probe(self, seen: Observation) -> None:
        """Count one probe's result, and its time if there was an answer."""
        place = seen.target.service, seen.target.region
        counters = self._probed.get(place)
        if counters is None:
            labels = self._counts.probes.labels
            counters = self._probed[place] = labels(*place, "failed"), labels(*place, "healthy")
        counters[seen.healthy].inc()
        if seen.latency_ms is not None:
            self._counts.probe_seconds.labels(seen.target.region).observe(seen.latency_ms / 1000)

    def forget_except(self, places: Iterable[tuple[str, str]]) -> None:
        """Drop the series of every (service, region) but these: the policy changed."""
        for place in self._probed.keys() - set(places):
            del self._probed[place]
            for result in ("failed", "healthy"):
                self._counts.probes.remove(*place, result)

    def decided(self, seconds: float, decision: Decision, now: float) -> None:
        """Count one step of the controller, how long it took, and the weights that turned."""
        self._counts.decision_seconds.observe(seconds)
        for service, turns in self._turns.count(decision, now).items():
            self._counts.turns.labels(service).inc(turns)

    def policy_read(self, *, accepted: bool) -> None:
        """Count one reading of a changed policy file."""
        self._counts.policy_reloads.labels("accepted" if accepted else "rejected").inc()

    def event(self, event: Event) -> None:
        """Count one event."""
        self._counts.events.labels(event.kind, event.severity).inc()

    def admin_denied(self, why: str) -> None:
        """Count a request that was refused on the admin address."""
        self._counts.admin_denied.labels(why).inc()

    def denied(self, service: str) -> None:
        """Count a client that may not be who it says, by its certificate."""
        self._counts.denied.labels(service).inc()

    def client_event(self, event: ClientEvent) -> None:
        """Count what a client said or got."""
        match event.what:
            case Sent(type_url=type_url, size=size):
                self._counts.responses.labels(short_type(type_url)).inc()
                self._counts.response_bytes.labels(short_type(type_url)).inc(size)
            case Acked(type_url=type_url):
                self._counts.answers.labels(short_type(type_url), "ack").inc()
            case Nacked(type_url=type_url):
                self._counts.answers.labels(short_type(type_url), "nack").inc()
            case StaleNonce(type_url=type_url):
                self._counts.answers.labels(short_type(type_url), "stale").inc()
            case Connected():
                self._counts.opened.inc()
            case Closed(code=code):
                self._counts.closed.labels(code or "by_client").inc()


class _Counts:
    """The counters and histograms, by what they count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"xds_server_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"xds_server_{name}", text, labels, buckets=buckets, registry=registry)

        self.probes = counter("probes", "Probes that said something, by result.", "service", "region", "result")
        self.probe_seconds = histogram("probe_seconds", "Time to an answer.", PROBE_BUCKETS, "region")
        self.decision_seconds = histogram("decision_seconds", "Time of a controller step.", DECISION_BUCKETS)
        self.turns = counter("weight_turns", "Weights that changed their direction within ten minutes.", "service")
        self.policy_reloads = counter("policy_reloads", "Changed policy files read, by result.", "result")
        self.events = counter("events", "Events, by kind.", "kind", "severity")
        self.responses = counter("responses", "Discovery responses sent.", "type")
        self.response_bytes = counter("response_bytes", "Bytes of them.", "type")
        self.answers = counter("answers", "What clients said to responses: ack, nack or stale.", "type", "answer")
        what = "Requests refused on the admin address: missing, invalid, role; crowded: a connection."
        self.admin_denied = counter("admin_denied", what, "reason")
        what = "Claims to be a node, or to report on a region, that a certificate does not allow."
        self.denied = counter("denied", what, "service")
        self.opened = counter("streams_opened", "Streams of clients that have a place in the policy.")
        self.closed = counter("streams_closed", "Streams that ended, by gRPC status, or by the client.", "code")


def _place(client: ClientStatus) -> Place:
    return client.view.fleet, client.view.region


class _Values(NamedTuple):
    """What a scrape shows."""

    decision: Decision | None
    policy: PolicyStatus
    clients: Tally[Place]
    void_probes: int
    sources: tuple[SourceStatus, ...]
    rejecting: Tally[Place]
    quarantined: int
    behind: Tally[Place]
    certificates: Mapping[str, float]
    handshakes: int
    orders: Orders
    ready: bool


class _Latest(Collector):
    """The latest values, taken on the event loop that changes them and written out in a thread that must not see it."""

    def __init__(
        self,
        decision: Callable[[], Decision | None],
        policy: Callable[[], PolicyStatus],
        clients: Callable[[], Iterable[ClientStatus]],
        void_probes: Callable[[], int],
        sources: Callable[[], Iterable[SourceStatus]],
        *,
        quarantined: Callable[[], Sized],
    ) -> None:
        self._decision = decision
        self._policy = policy
        self._clients = clients
        self._void_probes = void_probes
        self._sources = sources
        self._quarantined = quarantined
        self.certificates: Callable[[], Mapping[str, float]] = dict
        self.handshakes: Callable[[], int] = int
        self.orders: Callable[[], Orders] = Orders
        self.waiting_for: Callable[[], str | None] = lambda: None
        self._taken: _Values | None = None

    def take(self) -> None:
        """Take the values that the next scrape shows."""
        clients = tuple(self._clients())
        self._taken = _Values(
            self._decision(),
            self._policy(),
            Tally(_place(client) for client in clients),
            self._void_probes(),
            tuple(self._sources()),
            Tally(_place(client) for client in clients if any(status.rejected for status in client.types)),
            len(self._quarantined()),
            Tally(_place(client) for client in clients if not all(map(client.in_sync, client.types))),
            dict(self.certificates()),
            self.handshakes(),
            self.orders(),
            self.waiting_for() is None,
        )

    def describe(self) -> Iterable[Metric]:
        """Promise nothing: names are not checked for clashes by reading values that are not there yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return what is, as taken."""
        if self._taken is None:
            return
        taken = self._taken
        yield from ready_metrics(ready=taken.ready)
        yield from _policy_metrics(taken.policy)
        yield from client_metrics(taken.clients, taken.rejecting, taken.behind)
        kept = gauge("quarantined_resources", "Resources kept back from a view because a client rejected them.")
        kept.add_metric([], taken.quarantined)
        yield kept
        what = "Probes that said nothing, for reasons of this process."
        yield CounterMetricFamily("xds_server_void_probes", what, taken.void_probes)
        ends = gauge("certificate_expiry_timestamp_seconds", "When a certificate of ours expires.", "certificate")
        for name, at in sorted(taken.certificates.items()):
            ends.add_metric([name], at)
        yield ends
        yield CounterMetricFamily(
            "xds_server_tls_handshakes", "TLS handshakes begun on the xDS port.", taken.handshakes
        )
        yield from _source_metrics(taken.sources)
        yield from order_metrics(taken.orders, taken.decision)
        if taken.decision is not None:
            yield from _place_metrics(taken.decision)
            yield from _weight_metrics(taken.decision)
            yield from plan_metrics(taken.decision)


def _source_metrics(sources: tuple[SourceStatus, ...]) -> Iterator[Metric]:
    streams = gauge("signal_streams", "Streams on which a source reports.", "source")
    what = "Messages of a source: load reports, health reports, batches of log entries, agents' requests."
    messages = CounterMetricFamily("xds_server_signal_messages", what, labels=["source"])
    what = "What of them was not taken: of names that the policy does not know, or malformed."
    ignored = CounterMetricFamily("xds_server_signal_ignored", what, labels=["source"])
    for source in sources:
        streams.add_metric([source.source], source.streams)
        messages.add_metric([source.source], source.messages)
        ignored.add_metric([source.source], source.ignored)
    yield from (streams, messages, ignored)


def _policy_metrics(policy: PolicyStatus) -> Iterator[Metric]:
    info = gauge("policy_info", "Always 1; the digest of the policy in force.", "digest")
    if policy.digest is not None:
        info.add_metric([policy.digest], 1)
    yield info
    rejected = gauge("policy_rejected", "1 while the policy file holds something that was refused.")
    rejected.add_metric([], bool(policy.rejected))
    yield rejected


def _place_metrics(decision: Decision) -> Iterator[Metric]:
    place = "service", "region"
    verdict = gauge("verdict", "1 for the verdict in force.", *place, "health")
    score = gauge("verdict_score", "Share of the capacity that may be used, 0 to 1.", *place)
    ramp = gauge("verdict_ramp", "Share of its traffic that a recovering region has back, 0 to 1.", *place)
    up = gauge("endpoints_up", "Endpoints that are up.", *place)
    total = gauge("endpoints", "Endpoints there are.", *place)
    capacity = gauge(
        "capacity_rps",
        "Capacity that counts, in requests per second: that of the policy, an agent or an order, times the score.",
        *place,
    )
    load = gauge("planned_load_rps", "Requests per second that the weights in force send there.", *place)
    for service, r, seen in _places(decision):
        labels = service.service, service.regions[r]
        verdict.add_metric([*labels, seen.health], 1)
        score.add_metric(labels, seen.score)
        ramp.add_metric(labels, seen.ramp)
        up.add_metric(labels, seen.up)
        total.add_metric(labels, seen.total)
        capacity.add_metric(labels, service.capacity_rps[r])
        load.add_metric(labels, service.load_rps[r])
    yield from (verdict, score, ramp, up, total, capacity, load)


def _places(decision: Decision) -> Iterator[tuple[ServiceDecision, int, Verdict]]:
    for service in decision.services:
        for r, verdict in enumerate(service.verdicts):
            if verdict is not None:
                yield service, r, verdict


def _weight_metrics(decision: Decision) -> Iterator[Metric]:
    weight = gauge("weight", "Share of a view's requests that a region serves, 0 to 1.", "service", "view", "region")
    overload = gauge("overload", "Factor by which demand exceeds what may be used; 1 if it fits.", "service")
    for service in decision.services:
        overload.add_metric([service.service], service.overload)
    for service, r, _ in _places(decision):
        for v, view in enumerate(service.regions):
            share = service.weights[v][r] / TOTAL_WEIGHT
            weight.add_metric([service.service, view, service.regions[r]], share)
    yield from (overload, weight)
    yield from _exception_metrics(decision)


def _exception_metrics(decision: Decision) -> Iterator[Metric]:
    what = "Share of a view's requests that is refused in an overload, 0 to 1."
    shed = gauge("shed", what, "service", "view")
    what = "Share of what may be sent twice that a region gets although it is down, 0 to 1."
    half_open = gauge("half_open", what, "service", "view", "region")
    for service in decision.services:
        for view, found in zip(service.regions, service.shed, strict=False):
            shed.add_metric([service.service, view], found.percent / 100 if found else 0.0)
        for view, row, weights in zip(service.regions, service.half_open, service.weights, strict=False):
            for region, share, weight in zip(service.regions, row, weights, strict=True):
                if share and not weight:
                    half_open.add_metric([service.service, view, region], share / TOTAL_WEIGHT)
    what = "1 for the profile of outlier detection in force."
    profile = gauge("outlier_profile", what, "service", "region", "profile")
    for service, r, _ in _places(decision):
        settings = next((row[r] for row in service.protection if row[r] is not None), None)
        if settings is not None:
            profile.add_metric([service.service, service.regions[r], settings.outlier_profile], 1)
    yield from (shed, half_open, profile)
