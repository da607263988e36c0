"""Load reports: what every Envoy sent where, and how it went, each second (Envoy, "Load Reporting Service").

We ask for all clusters and no single endpoints. Counts are attempts and are reset by each report, so they add up: over
localities, over the Envoys of a view, over reports. One value per view, service and serving region leaves here each
second, however many Envoys there are. *In progress* is a level, not a count: each report's is weighted by the time
it stands for, so that an Envoy which reports twice in a second is not counted twice. A place that had traffic goes on
being reported, with zeros, while Envoys of the view report and for a minute: no traffic is news, too.

*Who says it.* One Envoy may be wrong, or lie, and its counts can outweigh a fleet's. So each sum also says how much of
it came from the one reporter with the most failures, the *lead*: a region is not judged by that one alone
(decision/traffic.py). A reporter is a certificate at an address; without one nobody leads. The lead passes to
another only if that fails `LEAD` times as much: among equals it would otherwise be the unluckiest of each second.
Rejected: to cap each at a multiple of the median, which takes a gateway among many idle sidecars for a liar.

*What it costs.* Envoy repeats its whole node, 60 KB of it, in every report (1.40, seen). It is field 1, so from the
second message on it is stepped over rather than parsed; but it still has to be received: that is most of the 120 µs a
report takes here. So the interval grows with the fleet, one second for every `MOST_REPORTS_PER_S` Envoys. Counts are
not lost by that, they come later. A stream hears of a new interval when it reports next.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import grpc
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf.duration_pb2 import Duration

from xds_server.model import LoadReport
from xds_server.protocol.events import Code, ProtocolError
from xds_server.signals.places import Places
from xds_server.signals.streams import Counts, StreamService, ViewOf, first_message, reporter_of

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"
REPORTER = "controlplane"
FLUSH_EVERY_S = 1
MOST_REPORTS_PER_S = 5_000
"""300 MB of nodes a second, and about two thirds of a core."""

SLACK = 1.25
"""The interval shrinks only when this many times the streams would still allow it: no swinging at a boundary."""

FORGET_AFTER = 60
"""A place without traffic for this many intervals is reported no more."""

LEAD = 1.5

_NODE_TAG = 0x0A

Reporter = Hashable


class _Key(NamedTuple):
    view: str
    service: str
    region: str


class _Cell:
    """The sums of one place in one interval."""

    __slots__ = ("by", "dropped", "failed", "idle", "issued", "lead", "level", "reflex", "succeeded")

    def __init__(self) -> None:
        self.idle = 0
        self.lead: Reporter = None
        self.clear()

    def clear(self) -> None:
        self.issued = self.succeeded = self.failed = self.reflex = self.dropped = 0
        self.level = 0.0
        self.by: dict[Reporter, tuple[int, int]] = {}

    def leading(self) -> tuple[int, int]:
        """Return what succeeded and failed of the reporter with the most failures."""
        most = max(self.by, key=lambda reporter: self.by[reporter][1], default=None)
        if most is not None and self.by[most][1] > LEAD * self.by.get(self.lead, (0, 0))[1]:
            self.lead = most
        return self.by.get(self.lead, (0, 0))


class LoadTally:
    """Adds up what the Envoys of all views report. Pure: time comes with `take`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._cells: dict[tuple[str, str, str], _Cell] = {}
        self._reporters: dict[str, set[int]] = {}
        self._since: dict[str, float] = {}

    def add(self, stream: int, view: str, message: Any, who: Reporter | None = None) -> int:
        """Add one LoadStatsRequest of an Envoy in `view`; return how many of its parts mean nothing to us.

        `who` is who sends it, where that is proven.
        """
        ignored = 0
        self._reporters.setdefault(view, set()).add(stream)
        for stats in message.cluster_stats:
            localities, dropped = stats.upstream_locality_stats, stats.total_dropped_requests
            if not localities and not dropped:
                continue
            known = self._places.cluster(stats.cluster_name)
            if known is None:
                ignored += 1
                continue
            service, aimed = known
            if dropped:
                self._cell(view, service, aimed).dropped += dropped
            for locality in localities:
                region = locality.locality.region
                if region != aimed and not self._places.is_service(service, region):
                    ignored += 1
                    continue
                cell = self._cell(view, service, region)
                self._add_locality(cell, stats, locality, reflex=region != aimed)
                if who is not None:
                    succeeded, failed = cell.by.get(who, (0, 0))
                    succeeded += locality.total_successful_requests
                    cell.by[who] = succeeded, failed + locality.total_error_requests
        return ignored

    @staticmethod
    def _add_locality(cell: _Cell, stats: Any, locality: Any, *, reflex: bool) -> None:
        issued = locality.total_issued_requests
        cell.issued += issued
        cell.succeeded += locality.total_successful_requests
        cell.failed += locality.total_error_requests
        in_progress = locality.total_requests_in_progress
        if in_progress:
            interval = stats.load_report_interval
            cell.level += in_progress * (interval.seconds + interval.nanos / 1e9)
        if reflex:
            cell.reflex += issued

    def take(self, now: float, interval_s: float) -> list[LoadReport]:
        """Return the sums of the views that reported, each for the time since it last did, and begin the next ones.

        For a view that reports for the first time that is `interval_s`.
        """
        reports = []
        reporters, self._reporters = self._reporters, {}
        spans = {view: max(now - self._since.get(view, now - interval_s), 1e-3) for view in reporters}
        self._since |= dict.fromkeys(reporters, now)
        for place, cell in list(self._cells.items()):
            key = _Key(*place)
            envoys = len(reporters.get(key.view, ()))
            quiet = not (cell.issued or cell.succeeded or cell.failed or cell.level or cell.dropped)
            cell.idle = cell.idle + 1 if quiet else 0
            if cell.idle > FORGET_AFTER or self._places.cluster(f"{key.service}@{key.region}") is None:
                del self._cells[place]
            elif envoys:
                reports.append(_report(key, cell, envoys, spans[key.view], now))
                cell.clear()
        return reports

    def _cell(self, view: str, service: str, region: str) -> _Cell:
        key = (view, service, region)  # a plain tuple is made in a tenth of the time of a named one
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        return cell


def _report(key: _Key, cell: _Cell, envoys: int, interval_s: float, now: float) -> LoadReport:
    lead_succeeded, lead_failed = cell.leading()
    return LoadReport(
        reporter=REPORTER,
        view=key.view,
        service=key.service,
        region=key.region,
        issued=cell.issued,
        succeeded=cell.succeeded,
        failed=cell.failed,
        in_progress=round(cell.level / interval_s),
        interval_s=interval_s,
        at=now,
        reflex=cell.reflex,
        dropped=cell.dropped,
        envoys=envoys,
        lead_succeeded=lead_succeeded,
        lead_failed=lead_failed,
    )


def without_node(data: bytes) -> bytes:
    """Return an encoded LoadStatsRequest without its node, where the node comes first."""
    if not data or data[0] != _NODE_TAG:
        return data
    length = shift = 0
    for at in range(1, min(len(data), 6)):
        byte = data[at]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return data[at + 1 + length :]
    return data


class LoadServer:
    """Takes the load reports of all Envoys and hands their sums to `emit`, every `FLUSH_EVERY_S`."""

    def __init__(
        self, emit: Callable[[LoadReport], None], places: Places, view_of: ViewOf, now: Callable[[], float]
    ) -> None:
        self._emit = emit
        self._tally = LoadTally(places)
        self._view_of = view_of
        self._now = now
        self._opened = 0
        self._interval_s = 1
        self.counts = Counts("lrs")
        self._service = StreamService(SERVICE, "StreamLoadStats", self.counts, self._talk)

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
        """Hand on the sums of each interval until cancelled."""
        began = self._now()
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            self._interval_s = interval_for(self.counts.streams, self._interval_s)
            began = self.flush(began)

    def flush(self, began: float) -> float:
        """Hand on the sums since `began`; return when that was."""
        ended = self._now()
        for report in self._tally.take(ended, max(ended - began, 1e-3)):
            self._emit(report)
        return ended

    async def _talk(self, context: Any) -> None:
        data = await first_message(context)
        if data is grpc.aio.EOF:
            return
        request = lrs_pb2.LoadStatsRequest.FromString(data)
        if not request.HasField("node"):
            raise ProtocolError(Code.INVALID_ARGUMENT, "the first message has no node")
        view = self._service.place(self._view_of, context, request.node).region
        self._opened += 1
        stream, who, ordered = self._opened, reporter_of(context), 0
        del request, data  # 60 KB of node for as long as the Envoy is connected
        while True:
            if ordered != self._interval_s:
                ordered = self._interval_s
                await context.write(_order(ordered))
            report = await context.read()
            if report is grpc.aio.EOF:
                return
            report = without_node(report)  # and lets go of the rest before the next one comes
            self.counts.messages += 1
            self.counts.ignored += self._tally.add(stream, view, lrs_pb2.LoadStatsRequest.FromString(report), who)


def interval_for(streams: int, before: int) -> int:
    """Return how many seconds apart the reports of so many Envoys should be, given how far apart they are."""
    wanted = max(1, math.ceil(streams / MOST_REPORTS_PER_S))
    if wanted >= before:
        return wanted
    return min(before, max(1, math.ceil(streams * SLACK / MOST_REPORTS_PER_S)))


def _order(interval_s: int) -> bytes:
    response = lrs_pb2.LoadStatsResponse(send_all_clusters=True, load_reporting_interval=Duration(seconds=interval_s))
    encoded: bytes = response.SerializeToString()
    return encoded
