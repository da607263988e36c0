"""What an evacuation cost, from what Envoys report: load reports say where requests go, access logs which ones failed.

A rate that was not reported again within three intervals is taken for zero: Envoy does not report a cluster without
requests. Nothing is counted before the order.
"""

from __future__ import annotations

from dataclasses import replace

from xds_server.model import AccessSummary, LoadReport
from xds_server.orders.types import Order, Report

GONE = 0.01
"""99 % off: at most this share of the rate before is left."""

FORGET_AFTER_INTERVALS = 3.0

Path = tuple[str, str, str]
"""Reporter, view and service."""


class Rates:
    """The latest rate and requests in progress of every path to every region."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[Path, tuple[float, int, float, float]]] = {}

    def learn(self, load: LoadReport) -> None:
        """Take a load report."""
        rate = (load.issued / load.interval_s if load.interval_s else 0.0, load.in_progress, load.at, load.interval_s)
        self._latest.setdefault(load.region, {})[load.reporter, load.view, load.service] = rate

    def of(self, order: Order, now: float) -> tuple[float, int] | None:
        """Return req/s and requests in progress in the region of an order; None if nothing was ever reported."""
        paths = self._latest.get(order.region)
        if not paths:
            return None
        fresh = [
            (rate, progress)
            for (_, _, service), (rate, progress, at, interval) in paths.items()
            if order.concerns(service) and now - at <= FORGET_AFTER_INTERVALS * max(1.0, interval)
        ]
        return sum(rate for rate, _ in fresh), sum(progress for _, progress in fresh)


class Meter:
    """Measures one evacuation. `before` is the rate to the region when it was ordered, in req/s."""

    def __init__(self, before: float | None) -> None:
        self._before = before

    def counted(self, report: Report, order: Order, seen: AccessSummary) -> Report:
        """Return the report with what access logs said since."""
        if seen.at <= order.at or not order.concerns(seen.service):
            return report
        return replace(report, requests=(report.requests or 0) + seen.requests, lost=(report.lost or 0) + seen.failed)

    def timed(self, report: Report, order: Order, rate: tuple[float, int] | None, now: float) -> Report:
        """Return the report with how long it took so far, once the last step has been taken."""
        if self._before is None or rate is None:
            return report
        left, in_progress = rate
        if report.off_99_s is None and left <= GONE * self._before:
            report = replace(report, off_99_s=now - order.at)
        if report.off_99_s is not None and report.drained_s is None and not in_progress and left == 0.0:
            report = replace(report, drained_s=now - order.at)
        return report
