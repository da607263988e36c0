"""`python -m bench`: run the benchmarks, print one table, write bench-results.json."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.decision import allocation, decision
from bench.edit_at_scale import edit_at_scale
from bench.fanout import fanout
from bench.faults import blackhole, errors, kill, marked_overload, overload
from bench.figures import Figure, Result, as_json, table
from bench.fleet import fleet
from bench.latency import latency
from bench.reports import reports
from bench.route_bytes import route_bytes
from bench.run import CannotMeasureError, Run, load_average, machine
from bench.scale import scale
from bench.serve import edit, size, start
from bench.snapshots import snapshots
from xds_server.demo.processes import DemoError

BENCHMARKS: Mapping[str, tuple[str, Callable[[Run], list[Figure]]]] = {
    "fault-kill": ("the region with most traffic is killed, under load", kill),
    "fault-blackhole": ("it hangs", blackhole),
    "fault-errors": ("it answers 503", errors),
    "overload-plain": ("all regions at 120 % of capacity: how much retries add", overload),
    "overload-marked": ("the same, where backends answer with x-envoy-ratelimited", marked_overload),
    "policy-edit": ("policy edit → every Envoy acknowledged", edit),
    "decision": ("the decision with all plans when a region dies", decision),
    "scale": ("a thousand services: weights at once, and plans after", scale),
    "allocation": ("single allocations", allocation),
    "snapshots": ("building what Envoys are sent", snapshots),
    "route-bytes": ("what one Envoy is sent when one service's weights move", route_bytes),
    "serve-start": ("`xds-server serve` from start to ready", start),
    "serve-size": ("its memory and CPU with 100 services and 4 Envoys", size),
    "latency": ("latency added against a bare static route", latency),
    "reports": ("load reports: what one costs", reports),
    "edit-at-scale": ("an edit of one of 1,000 services → the first client has it", edit_at_scale),
    # Last: once gRPC has threads, starting other processes from this one makes it talk.
    "fleet": ("up to 10,000 clients: a change, at rest, a storm of reconnects", fleet),
    "fanout": ("one change to 1,000 streams", fanout),
}


def main(argv: Sequence[str]) -> int:
    """Run what was asked for, one after the other; 0 if all of it could be measured, whatever the figures."""
    arguments = _arguments(argv)
    chosen = [name for name in BENCHMARKS if not arguments.only or name.startswith(tuple(arguments.only))]
    if not chosen:
        print(f"no benchmark is called {' or '.join(arguments.only)}; there are: {', '.join(BENCHMARKS)}")
        return 2
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    command = " ".join(["python -m bench", *argv])
    results: list[Result] = []
    failed = []
    for name in chosen:
        try:
            results.append(_measure(name, quick=arguments.quick))
        except (CannotMeasureError, DemoError) as problem:
            print(f"  {name} could not be measured: {problem}", flush=True)
            failed.append(name)
        found = as_json(results, facts, command, quick=arguments.quick)
        arguments.out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    print(f"\n{table(results)}\n\nwritten to {arguments.out}")
    if failed:
        print(f"could not be measured: {', '.join(failed)}")
    return 1 if failed else 0


def _measure(name: str, *, quick: bool) -> Result:
    what, benchmark = BENCHMARKS[name]
    print(f"{name}: {what}", flush=True)
    before, started = load_average(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xds-server-bench-") as directory:
        figures = benchmark(Run(Path(directory), quick, _say))
    return Result(name, time.monotonic() - started, (before, load_average()), tuple(figures))


def _say(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", flush=True)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    names = "\n".join(f"  {name:16} {what}" for name, (what, _) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure what the documents claim.",
        epilog=f"benchmarks:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only those that start like this")
    parser.add_argument("--quick", action="store_true", help="small sizes and few runs: a first impression")
    parser.add_argument("--out", type=Path, default=Path("bench-results.json"), help="(default: %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
