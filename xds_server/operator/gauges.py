"""What a scrape shows of the process as it is now: `Latest`, and the series that are read off it. Pure.

The values are taken on the event loop that changes them and written out in a thread that must not see it, so `Latest`
holds nothing that changes afterwards. Whoever makes one counts clients at once: 10,000 of them are not kept until the
next scrape.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, Metric

from xds_server.model import Decision, SourceStatus
from xds_server.operator.decision_gauges import decision_metrics, gauge
from xds_server.operator.views import PolicyStatus
from xds_server.orders.types import Kind, Orders, Phase
from xds_server.transport.clients import ClientStatus

Group = tuple[str, str]
"""Fleet and region: clients of all kinds in one series."""


@dataclass(frozen=True, slots=True)
class Clients:
    """How many clients there are, by fleet and region: all, those that reject something, those that are behind."""

    connected: Mapping[Group, int] = field(default_factory=dict)
    rejecting: Mapping[Group, int] = field(default_factory=dict)
    behind: Mapping[Group, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Latest:
    """What is, at one moment. `void_probes` and `handshakes` count since the start; `certificates` are when each ends.

    Times are seconds since 1970.
    """

    decision: Decision | None = None
    policy: PolicyStatus = PolicyStatus("")  # noqa: RUF009  (frozen)
    ready: bool = True
    clients: Clients = Clients()
    quarantined: int = 0
    void_probes: int = 0
    sources: tuple[SourceStatus, ...] = ()
    certificates: Mapping[str, float] = field(default_factory=dict)
    handshakes: int = 0
    orders: Orders = Orders()  # noqa: RUF009  (frozen)


def counted(clients: Iterable[ClientStatus]) -> Clients:
    """Count clients."""
    connected, rejecting, behind = Tally[Group](), Tally[Group](), Tally[Group]()
    for client in clients:
        group = client.view.fleet, client.view.region
        connected[group] += 1
        rejecting[group] += any(status.rejected for status in client.types)
        behind[group] += not all(map(client.in_sync, client.types))
    return Clients(connected, rejecting, behind)


def series(latest: Latest) -> Iterator[Metric]:
    """Yield all series of what is."""
    yield from _process_metrics(latest)
    yield from _policy_metrics(latest.policy)
    yield from _client_metrics(latest.clients)
    yield from _source_metrics(latest.sources)
    yield from _order_metrics(latest.orders, latest.decision)
    if latest.decision is not None:
        yield from decision_metrics(latest.decision)


def _process_metrics(latest: Latest) -> Iterator[Metric]:
    ready = gauge("ready", "1 when the process serves decisions, as /ready says.")
    ready.add_metric([], latest.ready)
    yield ready
    kept = gauge("quarantined_resources", "Resources kept back from a view because a client rejected them.")
    kept.add_metric([], latest.quarantined)
    yield kept
    what = "Probes that said nothing, for reasons of this process."
    yield CounterMetricFamily("xds_server_void_probes", what, latest.void_probes)
    ends = gauge("certificate_expiry_timestamp_seconds", "When a certificate of ours expires.", "certificate")
    for name, at in sorted(latest.certificates.items()):
        ends.add_metric([name], at)
    yield ends
    what = "TLS handshakes begun on the xDS port."
    yield CounterMetricFamily("xds_server_tls_handshakes", what, latest.handshakes)


def _policy_metrics(policy: PolicyStatus) -> Iterator[Metric]:
    info = gauge("policy_info", "Always 1; the digest of the policy in force.", "digest")
    if policy.digest is not None:
        info.add_metric([policy.digest], 1)
    yield info
    rejected = gauge("policy_rejected", "1 while the policy file holds something that was refused.")
    rejected.add_metric([], bool(policy.rejected))
    yield rejected


def _client_metrics(clients: Clients) -> Iterator[Metric]:
    what = "Clients that rejected something and have not taken other content of it since."
    for name, text, counts in (
        ("connected_clients", "Clients on a stream, by fleet and region.", clients.connected),
        ("rejecting_clients", what, clients.rejecting),
        ("behind_clients", "Clients that have not accepted the latest of everything.", clients.behind),
    ):
        found = gauge(name, text, "fleet", "region")
        for group in sorted(clients.connected):
            found.add_metric(group, counts[group])
        yield found


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


def _order_metrics(orders: Orders, decision: Decision | None) -> Iterator[Metric]:
    """Yield orders in force by kind and phase, and how much of each region's traffic they have moved off."""
    found = gauge("orders", "Orders in force.", "kind", "phase")
    counts = Tally((one.order.kind, one.phase) for one in orders.standing)
    for kind in Kind:
        for phase in [each for each in Phase if (each is not Phase.IN_FORCE) == kind.leaves]:
            found.add_metric([kind, phase], counts[kind, phase])
    yield found
    moved = gauge("evacuated", "Share of a region's traffic that orders have moved off, 0 to 1.", "service", "region")
    leaving = [one for one in orders.standing if one.order.kind.leaves]
    for service in decision.services if decision is not None else ():
        for region, verdict in zip(service.regions, service.verdicts, strict=True):
            if verdict is not None:
                here = [o.moved for o in leaving if o.order.region == region and o.order.concerns(service.service)]
                moved.add_metric([service.service, region], max(here, default=0.0))
    yield moved
