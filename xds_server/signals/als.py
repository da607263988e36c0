"""Access logs: what clients of a view's Envoys really got, from a sample (Envoy, "gRPC Access Log Service").

The listener says what is logged (snapshot/access_log.py): a share of all requests, and every failed one. So a failed
request stands for itself and any other for 1 / share. Entries are counted into one cell per view, service and region
and leave as one value per interval, whatever the fleet's size.

- *Region*: the one whose endpoint answered, by its address; if none did, the one the request was meant for.
- *Latency*: of the last try, from the first byte sent upstream to the first byte received. That is the round trip and
  the server's work. Time spent on earlier tries, on connecting and on the client's own slowness is not the region's. Of
  failed requests it is not counted: all of those are logged, and would pass for a larger share than they are.
- *Bounds*: `MOST_ENTRIES_PER_S` over all streams. Past it nothing is read until the next interval; gRPC's flow control
  then makes Envoys drop entries rather than us queue them, the failed ones as well.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import grpc
from envoy.service.accesslog.v3 import als_pb2

from xds_server.histogram import bucket_of, middle_of, quantile
from xds_server.model import AccessSummary, Address, ViewKey
from xds_server.protocol.events import Code, ProtocolError
from xds_server.signals.places import Places
from xds_server.signals.streams import Counts, StreamService, ViewOf, first_message, reporter_of

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
REPORTER = "controlplane"
SUMMARY_EVERY_S = 1
MOST_ENTRIES_PER_S = 5_000
"""About a tenth of a core (measured, docs/signals.md)."""


UNANSWERED = (
    "upstream_connection_failure",
    "upstream_overflow",
    "no_healthy_upstream",
    "upstream_request_timeout",
    "upstream_connection_termination",
    "upstream_remote_reset",
    "local_reset",
    "upstream_retry_limit_exceeded",
    "upstream_max_stream_duration_reached",
    "upstream_protocol_error",
    "duration_timeout",
    "stream_idle_timeout",
)
"""The flags by which the listener takes a request for failed. A client that went away is none of them."""


LEAD = 1.5
"""As for load reports (lrs.py): the one that says the worst is named, so that it can be left out."""


class _Key(NamedTuple):
    view: str
    service: str
    region: str


REFUSED = frozenset({"direct_response", "drop_overload"})
"""How Envoy says that it refused a request in an overload because we had it do so: no news of a region."""


class _Cell:
    """What was logged of one place in one interval."""

    __slots__ = ("attempts", "by", "entries", "failed", "latencies", "requests", "statuses", "unserved")

    def __init__(self) -> None:
        self.requests = 0.0
        self.entries = self.failed = self.unserved = self.attempts = 0
        self.statuses = [0] * 6
        self.latencies: Counter[int] = Counter()
        self.by: dict[Hashable, Counter[int]] = {}

    def slowest(self, before: Hashable) -> Hashable:
        """Return who waited longest in all; who did before, unless somebody waited `LEAD` times as long."""
        waited = {reporter: sum(middle_of(b) * n for b, n in counts.items()) for reporter, counts in self.by.items()}
        most = max(waited, key=lambda reporter: waited[reporter], default=None)
        return most if waited.get(most, 0.0) > LEAD * waited.get(before, 0.0) else before


class AccessTally:
    """Adds up log entries. Pure: time comes with `take`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._cells: dict[_Key, _Cell] = {}
        self._leads: dict[_Key, Hashable] = {}

    def add(self, view: ViewKey, entry: Any, who: Hashable | None = None) -> bool:
        """Add one HTTPAccessLogEntry; False if it means nothing to us. `who` sends it, where that is proven."""
        common = entry.common_properties
        known = self._places.cluster(common.upstream_cluster)
        if known is None:
            return entry.response.response_code_details in REFUSED
        service, aimed = known
        served = common.HasField("upstream_remote_address")
        region = self._region(service, common.upstream_remote_address.socket_address, aimed) if served else aimed
        key = _Key(view.region, service, region)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        bucket = self._count(cell, entry, common, self._places.samples.get(view.fleet, 1.0), served=served)
        if bucket is not None:
            cell.latencies[bucket] += 1
            if who is not None:
                cell.by.setdefault(who, Counter())[bucket] += 1
        return True

    def _region(self, service: str, address: Any, aimed: str) -> str:
        return self._places.home(service, Address(address.address, address.port_value)) or aimed

    @staticmethod
    def _count(cell: _Cell, entry: Any, common: Any, share: float, *, served: bool) -> int | None:
        """Count an entry; return the bucket of its latency, None if that does not count."""
        status = entry.response.response_code.value // 100
        status = status if 1 <= status <= 5 else 0
        failed = status == 5 or (common.HasField("response_flags") and _unanswered(common.response_flags))
        cell.entries += 1
        cell.statuses[status] += 1
        cell.attempts += max(1, common.upstream_request_attempt_count)
        if failed:
            cell.failed += 1
            cell.requests += 1
            cell.unserved += not served
        else:
            cell.requests += 1 / share if share else 1
        timed = common.HasField("time_to_first_upstream_rx_byte") and common.HasField("time_to_first_upstream_tx_byte")
        if not timed or failed:
            return None
        return bucket_of(_ms(common.time_to_first_upstream_rx_byte) - _ms(common.time_to_first_upstream_tx_byte))

    def take(self, now: float, interval_s: float) -> list[AccessSummary]:
        """Return what was logged in the interval that ends now, and begin the next."""
        cells, self._cells = self._cells, {}
        self._leads = {key: cell.slowest(self._leads.get(key)) for key, cell in cells.items()}
        return [_summary(key, cell, self._leads[key], interval_s, now) for key, cell in cells.items()]


def _unanswered(flags: Any) -> bool:
    """Return True if Envoy says that no answer came, or not all of one."""
    return any(getattr(flags, name) for name in UNANSWERED)


def _ms(duration: Any) -> float:
    return float(duration.seconds * 1e3 + duration.nanos / 1e6)


def _summary(key: _Key, cell: _Cell, lead: Hashable, interval_s: float, now: float) -> AccessSummary:
    latencies = cell.latencies
    without, *classes = cell.statuses
    return AccessSummary(
        reporter=REPORTER,
        view=key.view,
        service=key.service,
        region=key.region,
        requests=round(cell.requests),
        failed=cell.failed,
        p50_ms=round(quantile(latencies, 0.5), 3),
        p99_ms=round(quantile(latencies, 0.99), 3),
        interval_s=interval_s,
        at=now,
        p90_ms=round(quantile(latencies, 0.9), 3),
        samples=latencies.total(),
        attempts=cell.attempts / cell.entries,
        statuses=(without, classes[0], classes[1], classes[2], classes[3], classes[4]),
        unserved=cell.unserved,
        latencies=tuple(sorted(latencies.items())),
        lead_latencies=tuple(sorted(cell.by.get(lead, {}).items())),
    )


class AccessServer:
    """Takes the log entries of all Envoys and hands their summaries to `emit`, every `SUMMARY_EVERY_S`."""

    def __init__(
        self, emit: Callable[[AccessSummary], None], places: Places, view_of: ViewOf, now: Callable[[], float]
    ) -> None:
        self._emit = emit
        self._tally = AccessTally(places)
        self._view_of = view_of
        self._now = now
        self._left = MOST_ENTRIES_PER_S
        self._next = asyncio.Event()
        self.counts = Counts("als")
        self._service = StreamService(SERVICE, "StreamAccessLogs", self.counts, self._talk)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what the gRPC server adds."""
        return self._service.handler()

    def recheck(self) -> None:
        """End the streams of clients that the policy no longer lets be who they say."""
        self._service.recheck(self._view_of)

    def close(self) -> None:
        """End every stream."""
        self._service.close()

    async def run(self) -> None:
        """Hand on the summaries of each interval until cancelled."""
        began = self._now()
        while True:
            await asyncio.sleep(SUMMARY_EVERY_S)
            began = self.flush(began)

    def flush(self, began: float) -> float:
        """Hand on what was logged since `began`, and let streams go on; return when that was."""
        ended = self._now()
        interval_s = max(ended - began, 1e-3)
        self._left = math.ceil(MOST_ENTRIES_PER_S * min(interval_s, 2.0))
        self._next.set()
        self._next = asyncio.Event()  # who waits for the old one goes on, who comes now waits for the next interval
        for summary in self._tally.take(ended, interval_s):
            self._emit(summary)
        return ended

    async def _talk(self, context: Any) -> None:
        data = await first_message(context)
        view: ViewKey | None = None
        who: Hashable | None = None
        while data is not grpc.aio.EOF:
            message = als_pb2.StreamAccessLogsMessage.FromString(data)
            if view is None:
                if not message.HasField("identifier"):
                    raise ProtocolError(Code.INVALID_ARGUMENT, "the first message has no identifier")
                view = self._service.place(self._view_of, context, message.identifier.node)
                who = reporter_of(context)
            self._hear(view, who, message)
            del message
            while self._left <= 0:
                await self._next.wait()
            data = await context.read()

    def _hear(self, view: ViewKey, who: Hashable | None, message: Any) -> None:
        self.counts.messages += 1
        entries = message.http_logs.log_entry
        self._left -= len(entries)
        for entry in entries:
            if not self._tally.add(view, entry, who):
                self.counts.ignored += 1
