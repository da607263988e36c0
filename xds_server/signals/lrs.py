"""Load reports: what every Envoy sent where, and how it went, each second (Envoy, "Load Reporting Service").

We ask for all clusters and no single endpoints. One value per view, service and serving region leaves here each second,
however many Envoys there are (load_tally.py).

*What it costs.* Envoy repeats its whole node, 60 KB of it, in every report (1.40, seen). It is field 1, so from the
second message on it is stepped over rather than parsed; but it still has to be received, and that is three quarters of
what a report costs. So the interval grows with the fleet, one second for every `MOST_REPORTS_PER_S` Envoys. Counts are
not lost by that, they come later. A stream hears of a new interval when it reports next.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import grpc
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf.duration_pb2 import Duration

from xds_server.model import LoadReport
from xds_server.protocol.events import Code, ProtocolError
from xds_server.signals.load_tally import LoadTally, parsed
from xds_server.signals.places import Places
from xds_server.signals.streams import Counts, StreamService, ViewOf, first_message, reporter_of

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"
FLUSH_EVERY_S = 1
MOST_REPORTS_PER_S = 5_000
"""300 MB of nodes a second, and about two thirds of a core."""

SLACK = 1.25
"""The interval shrinks only when this many times the streams would still allow it: no swinging at a boundary."""


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
            data = await context.read()
            if data is grpc.aio.EOF:
                return
            self.counts.messages += 1
            self.counts.ignored += self._tally.add(stream, view, parsed(data), who)
            del data  # before the next one comes


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
