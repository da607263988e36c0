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
from collections.abc import Callable, Iterable, Iterator

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
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from xds_server import __version__
from xds_server.model import Decision, Event, Observation
from xds_server.operator.gauges import Latest, series
from xds_server.operator.turns import Turns
from xds_server.operator.views import short_type
from xds_server.protocol.events import Acked, Nacked, Sent, StaleNonce
from xds_server.transport.clients import ClientEvent, Closed, Connected

PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)
"""From the same rack to the far side of the planet, and the time-outs beyond."""

DECISION_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """Counts what the app reports, and renders that and what is: `look` returns it when a scrape comes."""

    def __init__(self, look: Callable[[], Latest] = Latest) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nobody asked for
        self._registry = CollectorRegistry()
        self._look = look
        self._shown = _Shown()
        self._counts = _Counts(self._registry)
        self._turns = Turns()
        self._probed: dict[tuple[str, str], tuple[Counter, Counter]] = {}
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self._shown)
        build = Gauge("xds_server_build_info", "Always 1.", ["version", "python"], registry=self._registry)
        build.labels(__version__, platform.python_version()).set(1)

    async def render(self) -> bytes:
        """Return everything in Prometheus' text format; written out in a thread, from values taken before."""
        self._shown.latest = self._look()
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


class _Shown(Collector):
    """Gives the registry what the next scrape shows of what is."""

    def __init__(self) -> None:
        self.latest: Latest | None = None

    def describe(self) -> Iterable[Metric]:
        """Promise nothing: names are not checked for clashes by reading values that are not there yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return what is, as it was taken."""
        if self.latest is not None:
            yield from series(self.latest)


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
