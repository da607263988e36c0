"""Active probes of every endpoint: who is due, how many at once, what counts as evidence.

One task per target, so that nothing another target does can delay it. Its schedule runs from start to start, with a
tenth of jitter either way, so that replicas and targets do not march in step.

*Slots.* `concurrency` bounds how many probes start together, not how many wait for an answer: a probe that has no
answer after `SLOT_S` gives its slot back and waits on at the cost of a socket and a timer. Rejected: holding the slot
to the end, with which 2,000 black-holed targets keep 256 slots busy and the one healthy target waits for seconds.

*Deadline.* The timeout covers the whole probe; an answer after it is a failure dated at the deadline.

*Our own stalls.* If this process did not run for a while (it was stopped, or starved), every probe under way seems to
have timed out. That is evidence about us: a deadline noticed more than `STALL_S` late makes the probe void, neither
good nor bad, and the target is probed again. So is a probe that failed for want of a descriptor or a port.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp

from xds_server.model import Observation, Target
from xds_server.policy.types import HealthCheck
from xds_server.signals.checks import Check, Found, TroubleError, new_session
from xds_server.signals.probe_tls import ProbeTls
from xds_server.signals.tls_files import TlsFiles

VANTAGE = "controlplane"

SLOT_S = 0.02
"""A probe without an answer by now is waiting, not working. 256 slots start 12,800 probes/s: more than a core can."""

STALL_S = 0.25
"""A deadline noticed this late was noticed by a process that was not running."""

SPREAD_S = 0.2
"""First probes are spread over this: no visible delay at start, no burst of thousands of handshakes."""


class Prober:
    """Probes a changing set of targets and hands each result to `emit`. `chance` returns a number in [0, 1)."""

    def __init__(
        self,
        emit: Callable[[Observation], None],
        now: Callable[[], float],
        concurrency: int = 256,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._emit = emit
        self._now = now
        self._chance = chance
        self._slots = asyncio.Semaphore(concurrency)
        self._wanted: dict[Target, HealthCheck] = {}
        self._tls: dict[str, ProbeTls] = {}
        self._tasks: dict[Target, tuple[HealthCheck, ProbeTls | None, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self.void = 0
        """Probes that said nothing about their target: this process was stalled or out of resources."""

    def set_targets(self, targets: Mapping[Target, HealthCheck]) -> None:
        """Probe these from now on. A target with the same check keeps its schedule."""
        self._wanted = dict(targets)
        self._changed.set()

    def set_tls(self, files: Mapping[str, TlsFiles]) -> None:
        """Speak TLS by these files from now on, by service; targets whose check wants TLS and has no files wait."""
        before = self._tls
        self._tls = {
            service: known if (known := before.get(service)) is not None and known.files == found else ProbeTls(found)
            for service, found in files.items()
        }
        self._changed.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with new_session() as session, asyncio.TaskGroup() as group:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._reconcile(group, session)

    def _reconcile(self, group: asyncio.TaskGroup, session: aiohttp.ClientSession) -> None:
        for target, (check, tls, task) in list(self._tasks.items()):
            if self._wanted.get(target) != check or self._tls_for(target, check) is not tls:
                task.cancel()
                del self._tasks[target]
        for target, check in self._wanted.items():
            tls = self._tls_for(target, check)
            if target not in self._tasks and (tls is not None or not check.tls):
                task = group.create_task(self._follow(session, target, check, tls))
                self._tasks[target] = (check, tls, task)

    def _tls_for(self, target: Target, check: HealthCheck) -> ProbeTls | None:
        return self._tls.get(target.service) if check.tls else None

    async def _follow(
        self, session: aiohttp.ClientSession, target: Target, check: HealthCheck, tls: ProbeTls | None
    ) -> None:
        prepared, interval, timeout = Check(target, check, tls), check.interval_ms / 1000, check.timeout_ms / 1000
        await asyncio.sleep(self._chance() * min(SPREAD_S, interval))
        try:
            while True:
                async with self._slot():
                    started = self._now()
                    observation = await self._probe(session, target, prepared, started, timeout)
                if observation is None:
                    self.void += 1
                else:
                    self._emit(observation)
                due = started + interval * (0.9 + 0.2 * self._chance())
                await asyncio.sleep(max(0.0, due - self._now()))
        finally:
            await prepared.close()

    async def _probe(
        self, session: aiohttp.ClientSession, target: Target, check: Check, started: float, limit: float
    ) -> Observation | None:
        """Return what one probe showed; None if it showed nothing about the target."""
        deadline = started + limit
        late = f"no answer in {limit * 1000:.0f} ms"
        try:
            async with asyncio.timeout(limit):
                found = await check.run(session)
        except TimeoutError:
            found = Found(late)
        except TroubleError:
            return None
        ended = self._now()
        if ended > deadline + STALL_S:
            return None
        if ended > deadline or found.wrong is late:
            return Observation(VANTAGE, target, healthy=False, at=min(ended, deadline), detail=late)
        latency_ms = (ended - started) * 1000
        wrong, answered = found
        return Observation(VANTAGE, target, not wrong, ended, latency_ms=latency_ms, detail=wrong, answered=answered)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Hold one of the slots, for `SLOT_S` at most."""
        await self._slots.acquire()
        lease = _Lease(self._slots)
        timer = asyncio.get_running_loop().call_later(SLOT_S, lease.give_back)
        try:
            yield
        finally:
            timer.cancel()
            lease.give_back()


class _Lease:
    """One slot of a semaphore, given back once, whoever comes first."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots: asyncio.Semaphore | None = slots

    def give_back(self) -> None:
        if self._slots is not None:
            self._slots.release()
            self._slots = None
