"""Whole incidents: four regions, four real Envoys, the control plane and an open-loop load; figures from its report.

The runs are those of `xds-server demo --headless`, as a user would start it. Reads and keyed writes must not fail.
Plain writes may, if they were in the dying region when it died or if that region answered them: they are counted. None
may run twice. The region is restored ten seconds later, except where it hangs: what hangs in it would go on as if
nothing had been, and writes that failed by their timeout would be counted as served.

*Called down* is the control plane's event; *acknowledged* is when every Envoy shows weights without the region.

The overload asks what retries do to a system that has no room: every region gets 120 % of what it serves, a backend
answers 503 at once above its capacity, and the configuration is the one that lost nothing in the other runs.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.run import CannotMeasureError, Run, program

REGION = "us-east-1"
"""The region with the most traffic, see xds_server/demo/topology.py."""

_SHIFT_REACH_MS = 3_000.0
_ATTEMPTS_REACH = 1.2
_OVERLOAD = 1.2

Report = dict[str, Any]


def kill(run: Run) -> list[Figure]:
    """Measure an incident in which the backends of the region are gone: SIGKILL."""
    return _incident(run, "kill", "killed", shift_reach=_SHIFT_REACH_MS)


def blackhole(run: Run) -> list[Figure]:
    """Measure one in which they hang: SIGSTOP."""
    return _incident(run, "blackhole", "hangs", restore=False)


def errors(run: Run) -> list[Figure]:
    """Measure one in which they answer 503 to every request, while their health checks stay good."""
    return _incident(run, "errors:1.0", "answers 503")


def _incident(
    run: Run, fault: str, what: str, *, shift_reach: float | None = None, restore: bool = True
) -> list[Figure]:
    rps, before, during, after = run.pick((450, 8, 10, 8), (100, 3, 4, 1))
    script = [f"--fault={fault}:{REGION}@{before}"]
    script += [f"--fault=restore:{REGION}@{before + during}"] if restore else []
    options = ["--rps", str(rps), "--duration", str(before + during + after), *script]
    reports = [_demo(run, f"{fault} {n + 1}", options) for n in range(run.pick(3, 1))]
    failed = [report["failed_by_kind"] for report in reports]
    requests = min(report["requests_total"] for report in reports)
    where = f"busiest region {what}"
    by_status = ", ".join(f"{s}: {n}" for s, n in _statuses(reports).items()) or "none failed"
    figures = [
        Figure(
            f"reads and keyed writes failed, {where}",
            "requests",
            tuple(f["read"] + f["keyed_write"] for f in failed),
            0,
            f"{requests:,} requests or more a run; failed by status, all runs: {by_status}",
        ),
        Figure(f"plain writes failed, {where}", "requests", tuple(f["plain_write"] for f in failed)),
        Figure(f"plain writes run twice, {where}", "requests", tuple(r["duplicated_writes"] for r in reports), 0),
    ]
    return figures + _times(reports, where, shift_reach)


def _times(reports: list[Report], where: str, shift_reach: float | None) -> list[Figure]:
    """Return how long the control plane took, where it had something to do."""
    faults = [report["faults"][0] for report in reports]
    figures = []
    for key, what, reach in (
        ("detected_ms", "called down", None),
        ("shifted_ms", "acknowledged by every Envoy", shift_reach),
    ):
        values = tuple(float(fault[key]) for fault in faults if fault[key] is not None)
        if values:
            figures.append(Figure(f"{where} → {what}", "ms", values, reach))
    return figures


def _statuses(reports: list[Report]) -> dict[str, int]:
    total: dict[str, int] = {}
    for report in reports:
        for status, count in report["failed_by_status"].items():
            total[status] = total.get(status, 0) + count
    return total


def overload(run: Run) -> list[Figure]:
    """Measure all regions at 120 % of their capacity; what is above gets a 503."""
    return _overload(run, "plain 503", [])


def marked_overload(run: Run) -> list[Figure]:
    """Measure the same with backends that mark such a 503 with `x-envoy-ratelimited`, which ends Envoy's retries."""
    return _overload(run, "with x-envoy-ratelimited", ["--shed-header"])


def _overload(run: Run, how: str, more: list[str]) -> list[Figure]:
    rps, seconds = run.pick((400, 30), (100, 5))
    options = ["--rps", str(rps), "--duration", str(seconds), "--capacity", f"{rps / _OVERLOAD:.1f}", *more]
    reports = [_demo(run, f"overload, {how}, {n + 1}", options) for n in range(run.pick(2, 1))]
    attempts = tuple(report["attempts_per_request"] for report in reports)
    note = f"all regions at 120 % of capacity; {_share_failed(reports):.1%} of the requests failed, 16.7% do not fit"
    what = f"backend attempts ÷ client requests, {how}"
    return [Figure(what, "×", attempts, _ATTEMPTS_REACH, note)]


def _share_failed(reports: list[Report]) -> float:
    total = sum(report["requests_total"] for report in reports)
    return float(sum(report["requests_failed"] for report in reports) / total)


def _demo(run: Run, name: str, options: list[str]) -> Report:
    """Run the demo; its directory is ours, so that nothing that looks for running demos finds it."""
    run.say(f"demo: {name}")
    file = run.directory / "report.json"
    command = [program("xds-server"), "demo", "--headless", "--report", str(file), *options]
    environment = {**os.environ, "TMPDIR": str(run.directory)}
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise CannotMeasureError(
            f"the demo ended with status {ended.returncode}:\n{ended.stdout[-2000:]}{ended.stderr}"
        )
    report: Report = json.loads(Path(file).read_text())
    run.say(f"  {report['requests_total']:,} requests, failed: {report['failed_by_kind']}")
    return report
