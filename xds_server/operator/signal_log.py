"""What each source last said, for `/api/v1/signals`: the newest value per source and place, and how old it is.

Decisions do not read this (the controller keeps what they need); it is for the person who asks why a verdict is what it
is. What nobody has repeated for `KEPT_S` is gone, an agent's word when its time to live ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from xds_server.model import AccessSummary, AgentReport, LoadReport, Observation, Target

Json = dict[str, Any]
Signal = Observation | LoadReport | AccessSummary | AgentReport

KEPT_S = 600.0
FRESH_S = 10.0
"""What was last reported longer ago than this, and an interval, is the past."""

MOST_KEPT = 200_000
"""Past this, the newest of what is not known yet is not shown: 1,000 services in 8 regions seen from 24 Envoys."""


class SignalLog:
    """Keeps the newest value of every source."""

    def __init__(self) -> None:
        self._newest: dict[Hashable, Signal] = {}

    def add(self, signal: Signal) -> None:
        """Take a signal."""
        key = _key(signal)
        if key in self._newest or len(self._newest) < MOST_KEPT:
            self._newest[key] = signal

    def forget_except(self, targets: Iterable[Target]) -> None:
        """Drop what was seen of endpoints that are no longer watched."""
        kept = frozenset(targets)
        self._newest = {
            key: signal
            for key, signal in self._newest.items()
            if not isinstance(signal, Observation) or signal.target in kept
        }

    def loads(self, now: float) -> tuple[LoadReport, ...]:
        """Return the load reports that say what is going on now."""
        reports = (signal for signal in self._newest.values() if isinstance(signal, LoadReport))
        return tuple(report for report in reports if now - report.at < FRESH_S + report.interval_s)

    def json(self, now: float) -> Json:
        """Return one row per service, region, view and source, in that order; forget what is too old."""
        self._newest = {key: signal for key, signal in self._newest.items() if now - signal.at < _kept_s(signal)}
        probed: dict[tuple[str, str, str], list[Observation]] = {}
        rows = []
        for signal in self._newest.values():
            if isinstance(signal, Observation):
                target = signal.target
                probed.setdefault((target.service, target.region, signal.view), []).append(signal)
            else:
                rows.append(_row(signal, now))
        rows += [_probes(place, seen, now) for place, seen in probed.items()]
        rows.sort(key=lambda row: (row["service"], row["region"], row["view"], row["source"], row["reporter"]))
        return {"signals": rows}


def _key(signal: Signal) -> Hashable:
    if isinstance(signal, Observation):
        return signal.vantage, signal.view, signal.target
    return type(signal), _said_by(signal), signal.view, signal.service, signal.region


def _said_by(signal: LoadReport | AccessSummary | AgentReport) -> str:
    return signal.said_by if isinstance(signal, AgentReport) else signal.reporter


def _kept_s(signal: Signal) -> float:
    return signal.ttl_s if isinstance(signal, AgentReport) else KEPT_S


def _head(source: str, place: tuple[str, str, str], reporter: str, age_s: float) -> Json:
    service, region, view = place
    return {
        "service": service,
        "region": region,
        "view": view,
        "source": source,
        "reporter": reporter,
        "age_s": round(max(0.0, age_s), 1),
    }


def _probes(place: tuple[str, str, str], seen: Iterable[Observation], now: float) -> Json:
    """Sum up what was seen of a place from one view: by the control plane if `view` is empty, else by Envoys there."""
    *_, view = place
    seen = sorted(seen, key=lambda o: (o.healthy, o.target, o.vantage))
    vantages = sorted({o.vantage for o in seen})
    head = _head("hds" if view else "probes", place, ", ".join(vantages), now - max(o.at for o in seen))
    return head | {
        "up": sum(o.healthy for o in seen),
        "total": len(seen),
        "detail": seen[0].detail,
    }


def _row(signal: LoadReport | AccessSummary | AgentReport, now: float) -> Json:
    place = (signal.service, signal.region, signal.view), _said_by(signal), now - signal.at
    if isinstance(signal, LoadReport):
        return _head("lrs", *place) | _load(signal)
    if isinstance(signal, AccessSummary):
        return _head("als", *place) | _access(signal)
    return _head("agent", *place) | {
        "healthy": signal.healthy,
        "utilisation": signal.utilisation,
        "capacity_rps": signal.capacity_rps,
        "detail": signal.detail,
        "ttl_s": signal.ttl_s,
    }


def _load(signal: LoadReport) -> Json:
    return {
        "issued_rps": round(signal.issued / signal.interval_s, 1),
        "succeeded_rps": round(signal.succeeded / signal.interval_s, 1),
        "failed_rps": round(signal.failed / signal.interval_s, 1),
        "reflex_rps": round(signal.reflex / signal.interval_s, 1),
        "dropped_rps": round(signal.dropped / signal.interval_s, 1),
        "in_progress": signal.in_progress,
        "envoys": signal.envoys,
    }


def _access(signal: AccessSummary) -> Json:
    classes = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
    return {
        "requests_rps": round(signal.requests / signal.interval_s, 1),
        "failed_rps": round(signal.failed / signal.interval_s, 1),
        "unserved_rps": round(signal.unserved / signal.interval_s, 1),
        "p50_ms": signal.p50_ms,
        "p90_ms": signal.p90_ms,
        "p99_ms": signal.p99_ms,
        "samples": signal.samples,
        "attempts": round(signal.attempts, 3),
        "logged": {name: count for name, count in zip(classes, signal.statuses, strict=True) if count},
    }
