"""Adds up load reports: what the Envoys of each view sent where in one interval, and how it went. Pure.

Counts are attempts and are reset by each report, so they add up: over localities, over the Envoys of a view, over
reports. *In progress* is a level, not a count: each report's is weighted by the time it stands for, so that an Envoy
which reports twice in a second is not counted twice. A place that had traffic goes on being reported, with zeros, while
Envoys of the view report and for a minute: no traffic is news, too.

*Who says it.* One Envoy may be wrong, or lie, and its counts can outweigh a fleet's. So each sum also says how much of
it came from the one reporter with the most failures, the *lead*: a region is not judged by that one alone
(decision/traffic.py). A reporter is a certificate at an address; without one nobody leads. The lead passes to
another only if that fails `LEAD` times as much: among equals it would otherwise be the unluckiest of each second.
Rejected: to cap each at a multiple of the median, which takes a gateway among many idle sidecars for a liar.

*What it costs.* A fleet sends thousands of reports a second, and most of `add` is getting at the fields of messages. So
a report is read as a message of our own on the same wire, which leaves names and localities encoded (load_stats.proto);
where the two lead is looked up once in a view and remembered; lists of messages are sliced before they are gone
through, because a slice is made in C and an iterator over them is not; and the interval is read once a report. With
Envoy's message, names and iterators eight clusters took 21 µs, in turns with 14 now, with caches about as cold as they
are between reports. Adding up many reports at a time gained nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from envoy.config.core.v3 import base_pb2
from google.protobuf.message import DecodeError

from xds_server.model import LoadReport
from xds_server.signals.load_stats_pb2 import LoadStats
from xds_server.signals.places import Places

REPORTER = "controlplane"
FORGET_AFTER = 60
"""A place without traffic for this many intervals is reported no more."""

LEAD = 1.5

_NODE_TAG = 0x0A

Reporter = Hashable


class _Place(NamedTuple):
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

    def said(self, who: Reporter, succeeded: int, failed: int) -> None:
        before = self.by.get(who, (0, 0))
        self.by[who] = before[0] + succeeded, before[1] + failed

    def quiet(self) -> bool:
        return not (self.issued or self.succeeded or self.failed or self.level or self.dropped)

    def leading(self) -> tuple[int, int]:
        """Return what succeeded and failed of the reporter with the most failures."""
        most = max(self.by, key=lambda reporter: self.by[reporter][1], default=None)
        if most is not None and self.by[most][1] > LEAD * self.by.get(self.lead, (0, 0))[1]:
            self.lead = most
        return self.by.get(self.lead, (0, 0))


class _Way(NamedTuple):
    """Where a cluster's name and the locality that served lead in one view."""

    cell: _Cell
    reflex: bool


class LoadTally:
    """Adds up what the Envoys of all views report; time comes with `take`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._cells: dict[_Place, _Cell] = {}
        self._ways: dict[str, dict[tuple[bytes, bytes], _Way]] = {}
        """By view, then by cluster name and locality. Only what the policy knows, so Envoys cannot fill it."""
        self._edition = places.edition
        self._reporters: dict[str, set[int]] = {}
        self._since: dict[str, float] = {}

    def add(self, stream: int, view: str, report: LoadStats, who: Reporter | None = None) -> int:
        """Add one report of an Envoy in `view` (see `parsed`); return how many of its parts mean nothing to us.

        `who` is who sends it, where that is proven. All of a report stands for the same time (Envoy's clusters differ
        only in the first that each is in), so that is read from the first cluster with something in progress.
        """
        ignored, interval_s = 0, 0.0
        self._reporters.setdefault(view, set()).add(stream)
        ways = self._ways_of(view)
        for stats in report.cluster_stats[:]:
            name = stats.cluster_name
            for served in stats.upstream_locality_stats[:]:
                way = ways.get((name, served.locality)) or self._find(view, name, served.locality)
                if way is None:
                    ignored += 1
                    continue
                cell, reflex = way
                issued, succeeded = served.total_issued_requests, served.total_successful_requests
                failed, in_progress = served.total_error_requests, served.total_requests_in_progress
                cell.issued += issued
                cell.succeeded += succeeded
                if failed:
                    cell.failed += failed
                if in_progress:
                    interval_s = interval_s or _seconds(stats.load_report_interval)
                    cell.level += in_progress * interval_s
                if reflex:
                    cell.reflex += issued
                if who is not None:
                    cell.said(who, succeeded, failed)
            dropped = stats.total_dropped_requests
            if dropped:
                ignored += self._drop(view, name, dropped)
        return ignored

    def take(self, now: float, interval_s: float) -> list[LoadReport]:
        """Return the sums of the views that reported, each for the time since it last did, and begin the next ones.

        For a view that reports for the first time that is `interval_s`.
        """
        reports = []
        reporters, self._reporters = self._reporters, {}
        spans = {view: max(now - self._since.get(view, now - interval_s), 1e-3) for view in reporters}
        self._since |= dict.fromkeys(reporters, now)
        for place, cell in list(self._cells.items()):
            envoys = len(reporters.get(place.view, ()))
            cell.idle = cell.idle + 1 if cell.quiet() else 0
            if cell.idle > FORGET_AFTER or not self._places.is_service(place.service, place.region):
                del self._cells[place]
                self._ways.pop(place.view, None)
            elif envoys:
                reports.append(_report(place, cell, envoys, spans[place.view], now))
                cell.clear()
        return reports

    def _ways_of(self, view: str) -> dict[tuple[bytes, bytes], _Way]:
        if self._edition != self._places.edition:
            self._ways.clear()
            self._edition = self._places.edition
        ways = self._ways.get(view)
        if ways is None:
            ways = self._ways[view] = {}
        return ways

    def _find(self, view: str, cluster: bytes, locality: bytes) -> _Way | None:
        """Return where these lead, None if the policy does not know them; remember it of a locality as we spell it."""
        known, region = self._known(cluster), _region(locality)
        if known is None:
            return None
        service, aimed = known
        if region != aimed and not self._places.is_service(service, region):
            return None
        way = _Way(self._cell(view, service, region), region != aimed)
        if locality == _locality(region):
            self._ways[view][cluster, locality] = way
        return way

    def _drop(self, view: str, cluster: bytes, dropped: int) -> int:
        """Count what no host was chosen for under the region it was meant for; return 1 if nobody knows that."""
        known = self._known(cluster)
        if known is None:
            return 1
        self._cell(view, *known).dropped += dropped
        return 0

    def _known(self, cluster: bytes) -> tuple[str, str] | None:
        return self._places.cluster(cluster.decode(errors="replace"))

    def _cell(self, view: str, service: str, region: str) -> _Cell:
        return self._cells.setdefault(_Place(view, service, region), _Cell())


def parsed(data: bytes) -> LoadStats:
    """Parse an encoded LoadStatsRequest, without its node. Raises DecodeError."""
    return LoadStats.FromString(without_node(data))


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


def _region(locality: bytes) -> str:
    """Return the region of an encoded Locality; an empty one if it is none."""
    try:
        return str(base_pb2.Locality.FromString(locality).region)
    except DecodeError:
        return ""


def _locality(region: str) -> bytes:
    """Return the locality of a region as our endpoints have it (snapshot/endpoints.py)."""
    return bytes(base_pb2.Locality(region=region).SerializeToString())


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _report(place: _Place, cell: _Cell, envoys: int, interval_s: float, now: float) -> LoadReport:
    lead_succeeded, lead_failed = cell.leading()
    return LoadReport(
        reporter=REPORTER,
        view=place.view,
        service=place.service,
        region=place.region,
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
