"""What an evacuation cost, from what Envoys report: load reports say where requests go, access logs which ones failed.

A rate that was not reported again within three intervals is taken for zero: Envoy does not report a cluster without
requests. But only while the same Envoys are heard about other regions: silence is not success. Nothing is counted from
before the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xds_server.model import AccessSummary, LoadReport
from xds_server.orders.types import Order, Report

GONE = 0.01
"""99 % off: at most this share of the rate before is left."""

FORGET_AFTER_INTERVALS = 3.0
FORGOTTEN_S = 120.0
PRUNE_EVERY = 10_000
"""Reports after which those who no longer report are forgotten."""

Path = tuple[str, str, str]
"""Reporter, view and service."""

Rate = tuple[float, int, float, float]
"""Requests a second, requests in progress, when, over which interval in seconds."""


class Rates:
    """The latest rate and requests in progress of every path to every region."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[Path, Rate]] = {}
        self._learned = 0

    def learn(self, load: LoadReport) -> None:
        """Take a load report."""
        rate = (load.issued / load.interval_s if load.interval_s else 0.0, load.in_progress, load.at, load.interval_s)
        self._latest.setdefault(load.region, {})[load.reporter, load.view, load.service] = rate
        self._learned += 1
        if self._learned % PRUNE_EVERY == 0:
            self._latest = {
                region: {path: rate for path, rate in paths.items() if load.at - rate[2] <= FORGOTTEN_S}
                for region, paths in self._latest.items()
            }

    def of(self, order: Order, now: float) -> tuple[float, int] | None:
        """Return req/s and requests in progress in the region of an order; None if nobody reports of its services."""
        heard = any(_fresh(paths, order, now) for paths in self._latest.values())
        if not heard:
            return None
        here = _fresh(self._latest.get(order.region, {}), order, now)
        return sum(rate for rate, _, _, _ in here), sum(progress for _, progress, _, _ in here)


def _fresh(paths: Mapping[Path, Rate], order: Order, now: float) -> list[Rate]:
    return [
        rate
        for (_, _, service), rate in paths.items()
        if order.concerns(service) and now - rate[2] <= FORGET_AFTER_INTERVALS * max(1.0, rate[3])
    ]


def counted(report: Report, order: Order, seen: AccessSummary) -> Report:
    """Return the report with what access logs said since the order."""
    if seen.at <= order.at or not order.concerns(seen.service):
        return report
    return replace(report, requests=(report.requests or 0) + seen.requests, lost=(report.lost or 0) + seen.failed)


def timed(report: Report, order: Order, rate: tuple[float, int] | None, now: float) -> Report:
    """Return the report with how long it took so far, once the last step has been taken."""
    if not report.before_rps or rate is None:
        return report
    left, in_progress = rate
    if report.off_99_s is None and left <= GONE * report.before_rps:
        report = replace(report, off_99_s=now - order.at)
    if report.off_99_s is not None and report.drained_s is None and not in_progress and left == 0.0:
        report = replace(report, drained_s=now - order.at)
    return report
