"""What a run amounts to: the report as JSON (its shape is `report.schema.json`) and as a summary for people.

Pure: everything measured comes in as a `Measured`. The definitions are the ones a reader would ask for first:

- a request failed if it got no response or a status of 500 and above;
- a write is duplicated if backends saw a plain write (a POST without Idempotency-Key) more than once, by its id;
- *before* a fault are the requests that ended in the 10 s before it, *during* those under way at any time from then to
  the `restore` of its target (or the end of the run), *after* those due in the 10 s after that;
- attempts count every request that reached a backend, health checks left out, so attempts ÷ requests is the work that
  retries add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xds_server import __version__
from xds_server.demo.faults import Fault, ends
from xds_server.demo.faults import Kind as FaultKind
from xds_server.demo.histogram import quantile
from xds_server.demo.incident import Incident, Weights
from xds_server.demo.mix import Kind
from xds_server.demo.tally import Totals, Window
from xds_server.demo.topology import REGIONS

AROUND_S = 10.0


@dataclass(frozen=True, slots=True)
class WeightsAt:
    """The weights of all Envoys from one second of the run on."""

    at_s: float
    by_view: Mapping[str, Weights]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the control plane took, over all its lives in the run."""

    rss_mb: float
    rss_max_mb: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything a report is made of."""

    started_at: str
    duration_s: float
    rps: float
    capacity_rps: float
    completed: bool
    totals: Totals
    incidents: Sequence[Incident]
    weights: Sequence[WeightsAt]
    attempts: int
    duplicated_writes: int
    usage: Usage


def build(measured: Measured) -> dict[str, Any]:
    """Return the report as JSON types."""
    totals = measured.totals
    sums = totals.sum
    return {
        "report_version": 1,
        "program": f"xds-server {__version__}",
        "started_at": measured.started_at,
        "duration_s": round(measured.duration_s, 3),
        "completed": measured.completed,
        "rps": measured.rps,
        "capacity_rps": measured.capacity_rps,
        "requests_total": totals.completed,
        "requests_failed": totals.failed,
        "duplicated_writes": measured.duplicated_writes,
        "requests_by_view": _every(REGIONS, sums.completed_by_view),
        "requests_by_kind": _every(Kind, sums.completed_by_kind),
        "failed_by_view": _every(REGIONS, sums.failed_by_view),
        "failed_by_kind": _every(Kind, sums.failed_by_kind),
        "failed_by_status": dict(sorted(sums.failed_by_status.items())),
        "served_by_region": _every(REGIONS, sums.served_by),
        "attempts_total": measured.attempts,
        "attempts_per_request": round(measured.attempts / totals.completed, 4) if totals.completed else None,
        "latency_ms": _latency(totals),
        "faults": [_fault(incident, measured) for incident in measured.incidents],
        "weights": [{"at_s": round(w.at_s, 3), "by_view": _weights(w)} for w in measured.weights],
        "control_plane": {
            "rss_mb": round(measured.usage.rss_mb, 1),
            "rss_max_mb": round(measured.usage.rss_max_mb, 1),
            "cpu_s": round(measured.usage.cpu_s, 2),
            "cpu_share": round(measured.usage.cpu_s / measured.duration_s, 4) if measured.duration_s else None,
        },
        "load_lag_max_ms": round(sums.lag_ms, 1),
    }


def _every(names: Sequence[str] | type[Kind], counts: Mapping[str, int]) -> dict[str, int]:
    return {str(name): counts.get(name, 0) for name in names}


def _latency(totals: Totals) -> dict[str, float | None]:
    return {"p50": quantile(totals.latency, 0.50), "p99": quantile(totals.latency, 0.99)}


def _weights(weights: WeightsAt) -> dict[str, dict[str, int]]:
    return {view: dict(sorted(row.items())) for view, row in sorted(weights.by_view.items())}


def _fault(incident: Incident, measured: Measured) -> dict[str, Any]:
    fault = incident.fault
    end = ends(fault, (other.fault for other in measured.incidents))
    last = measured.duration_s if end is None else end
    totals = measured.totals
    restores = fault.kind is FaultKind.RESTORE
    return {
        "kind": fault.kind.value,
        "arg": fault.arg,
        "target": fault.target,
        "at_s": fault.at_s,
        "detected_ms": _whole(incident.detected_ms),
        "shifted_ms": _whole(incident.shifted_ms),
        "before": _window(totals.ended(max(0.0, fault.at_s - AROUND_S), fault.at_s)),
        "during": None if restores else _window(totals.under_way(fault.at_s, last)),
        "after": _window(_after(totals, fault.at_s if restores else end, measured.duration_s)),
    }


def _after(totals: Totals, end: float | None, duration_s: float) -> Window | None:
    return None if end is None else totals.due(end, min(end + AROUND_S, duration_s))


def _window(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {"requests": window.requests, "failed": window.failed, "p50_ms": window.p50_ms, "p99_ms": window.p99_ms}


def _whole(ms: float | None) -> int | None:
    return None if ms is None else round(ms)


def summary(report: Mapping[str, Any]) -> str:
    """Return the report in a few lines for people."""
    total, bad = report["requests_total"], report["requests_failed"]
    share = f" ({100.0 * bad / total:.3f} %)" if bad else ""
    latency = report["latency_ms"]
    kinds = ", ".join(f"{name.replace('_', ' ')}s {n}" for name, n in report["failed_by_kind"].items())
    plane = report["control_plane"]
    lines = [
        "",
        f"{total:,} requests in {report['duration_s']:.0f} s, {bad:,} failed{share}: {kinds}",
        f"plain writes that ran twice: {report['duplicated_writes']}",
        f"latency p50 {_ms(latency['p50'])}, p99 {_ms(latency['p99'])}",
        f"backend attempts per request: {report['attempts_per_request'] or 0:.3f}",
        *(_fault_line(fault) for fault in report["faults"]),
        f"control plane: {plane['rss_max_mb']:.0f} MB at most, {plane['cpu_s']:.1f} s of CPU",
    ]
    if bad:
        lines.insert(2, "failed by status: " + ", ".join(f"{s} {n}" for s, n in report["failed_by_status"].items()))
    if report["load_lag_max_ms"] > 200.0:
        lag = report["load_lag_max_ms"]
        lines.append(f"note: the load itself was up to {lag:.0f} ms late (busy machine?); latencies include that")
    return "\n".join(lines)


def _fault_line(fault: Mapping[str, Any]) -> str:
    name = Fault(FaultKind(fault["kind"]), fault["target"], fault["at_s"], fault["arg"])
    text = f"at {fault['at_s']:>5g} s  {name}"
    if fault["detected_ms"] is not None:
        text += f"  detected after {fault['detected_ms'] / 1000:.1f} s"
    if fault["shifted_ms"] is not None:
        who = f"the Envoys of {fault['arg']}" if fault["kind"] == FaultKind.CUT else "every Envoy"
        text += f", {who} shifted after {fault['shifted_ms'] / 1000:.1f} s"
    phases = [(name, fault[name]) for name in ("before", "during", "after") if fault[name]]
    p99 = ", ".join(f"{_ms(window['p99_ms'])} {name}" for name, window in phases)
    during = fault["during"]
    failed = f"; {during['failed']} failed of {during['requests']:,}" if during else ""
    return f"{text}{failed}; p99 {p99}" if p99 else text


def _ms(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} ms"
