"""One run from the first request to the last: load, faults, watching, and what the screen and the report need of it.

Everything mutable of a run lives here and is touched by tasks of one event loop. A task that finds that a part of the
demo died raises DemoError, the task group ends the others, and the caller stops every process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

from xds_server.demo import faults
from xds_server.demo.faults import Fault, FaultError, Kind
from xds_server.demo.incident import Announcement, Incident, has_weight
from xds_server.demo.ledger import Ledger
from xds_server.demo.meter import Meter
from xds_server.demo.picture import STEPS, Addresses, Line, Picture, RegionPicture
from xds_server.demo.processes import Child, DemoError
from xds_server.demo.report import Measured, WeightsAt
from xds_server.demo.site import Site
from xds_server.demo.tally import Delta, Totals
from xds_server.demo.topology import CONTROL_PLANE, REGIONS
from xds_server.demo.watch import region_lines

_CLOSE_S = 0.05
_CALM_S = 0.5
_EVENTS_SHOWN = 50
_WEIGHTS_KEPT = 10_000
_STOP_LIMIT_S = 1.5
_RECENT_S = 5.0
_DRAIN_S = 20.0


class Session:
    """One run."""

    def __init__(self, site: Site, duration_s: float | None) -> None:
        self.site = site
        self._duration_s = duration_s
        self._totals = Totals()
        self._ledger = Ledger(site.directory, site.backend_names)
        self._meter = Meter()
        self._incidents: list[Incident] = []
        self._weights: deque[WeightsAt] = deque(maxlen=_WEIGHTS_KEPT)
        self._lines: deque[Line] = deque(maxlen=_EVENTS_SHOWN)
        self._rates: deque[tuple[float, int, dict[str, int]]] = deque(maxlen=6)
        self._last_fault: dict[str, Fault] = {}
        self._start_mono = time.monotonic()
        self._start_wall = time.time()
        self._completed = False
        self._news: deque[Line] = deque(maxlen=_EVENTS_SHOWN)
        self.chosen = "kill"

    @property
    def elapsed_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._start_mono

    async def run(self, script: Iterable[Fault], stop: asyncio.Event) -> None:
        """Send the load and inject the script, until the duration is over or `stop` is set. Raises DemoError."""
        self._meter.start(self.site.control_plane.pid)
        load = self.site.start_load(self._duration_s, _DRAIN_S)
        reader = await _reader(load)
        await self._begin(load, reader)
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self._watch_envoys()),
                    group.create_task(self._watch_control_plane()),
                    group.create_task(self._look_after()),
                    group.create_task(self._inject(script)),
                ]
                await self._follow(load, reader, stop)
                for task in background:
                    task.cancel()
        except* DemoError as problems:
            raise _first(problems) from None
        self._duration_s = self._duration_s if self._completed else self.elapsed_s
        self._ledger.update()

    async def _begin(self, load: Child, reader: asyncio.StreamReader) -> None:
        """Set the clock of the run by the load's."""
        first = await reader.readline()
        if not first:
            raise DemoError(f"the load did not start:\n{load.tail()}")
        self._start_mono = json.loads(first)["started_at"]
        self._start_wall = time.time() - self.elapsed_s
        self._weights.append(WeightsAt(0.0, dict(self.site.envoy_watch.weights)))
        watch = self.site.control_plane_watch
        bad_from_the_start = [event for event in watch.events if event.severity != "info"]
        for event in [*bad_from_the_start, *await watch.update()]:
            self._announce(event)

    async def _follow(self, load: Child, reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
        """Add up the load's lines until its last one, or for a moment more once `stop` is set."""
        reading = asyncio.ensure_future(self._read(load, reader))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if reading.done():
            reading.result()
            self._completed = True
            return
        load.ask_to_stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading, _STOP_LIMIT_S)
        self._completed = self._duration_s is None

    async def _read(self, load: Child, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            data = json.loads(line)
            self._totals.add(Delta.from_json(data))
            if data.get("last"):
                load.killed = True  # it may end now
                return
        raise DemoError(f"the load ended early; its log ends:\n{load.tail()}")

    async def _watch_envoys(self) -> None:
        watch = self.site.envoy_watch
        while True:
            changed = await watch.update()
            now = time.monotonic()
            for incident in self._incidents:
                incident.see(watch.weights, len(REGIONS), now)
            if changed:
                self._weights.append(WeightsAt(self.elapsed_s, dict(watch.weights)))
            await asyncio.sleep(_CLOSE_S if any(i.pending for i in self._incidents) else _CALM_S)

    async def _watch_control_plane(self) -> None:
        watch = self.site.control_plane_watch
        while True:
            new = await watch.update()
            for incident in self._incidents:
                incident.hear(new)
            for event in new:
                self._announce(event)
            await asyncio.sleep(_CALM_S)

    def _announce(self, event: Announcement) -> None:
        self._say(event.severity, event.message, event.time, event.kind)

    def _say(self, severity: str, text: str, at_wall: float | None = None, kind: str = "") -> None:
        """Add a line; while a region ramps up, each step replaces the one before it on the screen."""
        line = Line(_clock(time.time() if at_wall is None else at_wall), severity, text, kind)
        if kind == STEPS and self._lines and self._lines[-1].kind == kind:
            self._lines.pop()
        self._lines.append(line)
        self._news.append(line)

    def news(self) -> list[Line]:
        """Return what was said since the last call."""
        news = list(self._news)
        self._news.clear()
        return news

    async def _look_after(self) -> None:
        """See that every part lives, and measure what needs measuring now and then."""
        while True:
            self.site.check()
            self._ledger.update()
            if self.site.control_plane.running:
                self._meter.sample(self.site.control_plane.pid)
            totals = self._totals
            self._rates.append((time.monotonic(), totals.completed, dict(totals.sum.served_by)))
            await asyncio.sleep(_CALM_S)

    async def _inject(self, script: Iterable[Fault]) -> None:
        async with asyncio.TaskGroup() as group:
            for fault in script:
                await asyncio.sleep(max(0.0, fault.at_s - self.elapsed_s))
                group.create_task(self._inject_one(fault))

    async def _inject_one(self, fault: Fault) -> None:
        """Apply a fault of the script; one that a person at the keyboard has made impossible is said and skipped."""
        try:
            await self.inject(fault)
        except FaultError as problem:
            self._say("warning", f"fault of the script not injected: {fault}: {problem}")

    async def inject(self, fault: Fault) -> None:
        """Apply a fault now. Raises FaultError if it makes no sense now, DemoError if it cannot be done."""
        last = self._last_fault.get(fault.target)
        problem = faults.refusal(fault, None if last is None else last.kind)
        if problem:
            raise FaultError(problem)
        self._end_incidents(fault)
        if fault.kind is Kind.RESTORE:
            self._last_fault.pop(fault.target, None)
        else:
            self._last_fault[fault.target] = fault
        had_weight = has_weight(fault, self.site.envoy_watch.weights)
        self._incidents.append(Incident(fault, time.time(), time.monotonic(), had_weight))
        self._say("info", f"fault injected: {fault}")
        await self.site.apply(fault)

    def _end_incidents(self, fault: Fault) -> None:
        """Stop watching over the earlier faults of the same target."""
        for incident in self._incidents:
            incident.over = incident.over or incident.fault.target == fault.target

    async def inject_text(self, text: str) -> str:
        """Apply `KIND[:ARG]:TARGET` now; return what to tell the person who asked."""
        try:
            fault = faults.parse_now(text.strip(), int(self.elapsed_s * 10) / 10)  # never after it happens
            await self.inject(fault)
        except (FaultError, DemoError) as problem:
            return f"refused: {problem}"
        return f"done: {fault}"

    def toggle(self, target: str) -> str:
        """Return the fault text for a key: restore what has a fault, else the chosen fault (always kill for ours)."""
        if target in self._last_fault:
            return f"restore:{target}"
        return f"{'kill' if target == CONTROL_PLANE else self.chosen}:{target}"

    def measured(self) -> Measured:
        """Return everything the report is made of."""
        return Measured(
            started_at=datetime.fromtimestamp(self._start_wall, UTC).isoformat(timespec="milliseconds"),
            duration_s=self._duration_s or self.elapsed_s,
            rps=self.site.topology.rps,
            capacity_rps=self.site.topology.capacity_rps,
            completed=self._completed,
            totals=self._totals,
            incidents=self._incidents,
            weights=list(self._weights),
            attempts=self._ledger.attempts,
            duplicated_writes=self._ledger.duplicated_writes,
            usage=self._meter.usage,
        )

    def picture(self) -> Picture:
        """Return what is to be seen now."""
        totals, elapsed_s = self._totals, self.elapsed_s
        done_rps, served = self._recent_rates()
        plane = self.site.control_plane_watch
        policy = (plane.decision or {}).get("policy", {})
        return Picture(
            elapsed_s=elapsed_s,
            duration_s=self._duration_s,
            rps=self.site.topology.rps,
            done_rps=done_rps,
            recent=totals.ended(max(0.0, elapsed_s - _RECENT_S), elapsed_s),
            requests=totals.completed,
            in_flight=totals.sum.in_flight,
            failed=totals.failed,
            failed_by_kind=totals.sum.failed_by_kind,
            duplicated_writes=self._ledger.duplicated_writes,
            attempts_per_request=self._ledger.attempts / totals.completed if totals.completed else 0.0,
            control_plane="" if plane.reachable else "no answer: the last decision is shown",
            regions=self._regions(served),
            weights=self.site.envoy_watch.weights,
            events=tuple(self._lines),
            refused=tuple((policy.get("rejected") or {}).get("errors", ())),
            chosen=self.chosen,
            addresses=self.addresses(),
        )

    def _recent_rates(self) -> tuple[float, dict[str, float]]:
        """Return requests per second in total and by region that served them, over the last two or three seconds."""
        if len(self._rates) < 2:
            return 0.0, {}
        (t0, done0, by0), (t1, done1, by1) = self._rates[0], self._rates[-1]
        return (done1 - done0) / (t1 - t0), {r: (by1.get(r, 0) - by0.get(r, 0)) / (t1 - t0) for r in REGIONS}

    def _regions(self, served: dict[str, float]) -> tuple[RegionPicture, ...]:
        decision = self.site.control_plane_watch.decision
        verdicts = {line.region: line for line in region_lines(decision)} if decision else {}
        pictures = []
        for region in REGIONS:
            verdict = verdicts.get(region)
            health, reason = (verdict.health, verdict.reason) if verdict else ("unknown", "not in the policy in force")
            fault = self._last_fault.get(region)
            name = "" if fault is None else fault.name
            pictures.append(RegionPicture(region, health, reason, served.get(region, 0.0), name))
        return tuple(pictures)

    def addresses(self) -> Addresses:
        """Return where to look."""
        t = self.site.topology
        return Addresses(
            control_plane=f"http://127.0.0.1:{t.admin_port}",
            policy=str(self.site.policy),
            envoy_admin={view: f"http://127.0.0.1:{port}" for view, port in t.envoy_admin_ports.items()},
            sidecars={view: f"http://127.0.0.1:{port}" for view, port in t.sidecar_ports.items()},
            directory=str(self.site.directory),
        )


async def _reader(load: Child) -> asyncio.StreamReader:
    """Return the load's standard output as a stream."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), load.output)
    return reader


def _first(problems: BaseExceptionGroup[DemoError]) -> DemoError:
    """Return one of the errors of a group: the first to be found is the one to show."""
    problem = problems.exceptions[0]
    return _first(problem) if isinstance(problem, BaseExceptionGroup) else problem


def _clock(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).astimezone().strftime("%H:%M:%S")
