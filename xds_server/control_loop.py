"""The single writer: an inbox and a tick drive the controller; what changed is handed on.

Signals run in the same event loop and call `put`; nothing else touches the controller. Items that arrive close together
are taken in one step (`COALESCE_S`): a region's endpoints fail within milliseconds of each other, and one push to a
fleet is better than eight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from xds_server.controller import Controller
from xds_server.inbox import Inbox, Item
from xds_server.model import ViewKey
from xds_server.orders.types import Request
from xds_server.rollout.news import Accepted
from xds_server.snapshot.resource import Key
from xds_server.step import Inputs, Outcome

COALESCE_S = 0.02
TICK_S = 1.0


class StepRecorder(Protocol):
    """Writes down every step."""

    def took(self, inputs: Inputs, now: float, outcome: Outcome) -> None:
        """Take a step that has just been made. Must not block."""


class Audience(Protocol):
    """Whom snapshots are sent to: asked only while something depends on them."""

    def behind(self) -> int:
        """Count the clients that have not acknowledged what they were last sent."""

    def accepting(self, view: ViewKey, key: Key, version: str) -> int:
        """Count the clients of a view that have accepted a resource in this very version."""


class ControlLoop:
    """Runs one controller. `now` is the monotonic clock in seconds; `on_outcome` gets every outcome, in order."""

    def __init__(self, controller: Controller, now: Callable[[], float], on_outcome: Callable[[Outcome], None]) -> None:
        self.recorder: StepRecorder | None = None
        """Gets every step, if there is one."""
        self.audience: Audience | None = None
        """Whom the outcomes reach, as soon as they can reach anybody."""
        self.step_seconds = 0.0
        """How long the last step took, in seconds."""
        self._controller = controller
        self._now = now
        self._on_outcome = on_outcome
        self._inbox = Inbox()
        self._arrived = asyncio.Event()

    def put(self, item: Item) -> None:
        """Leave something for the next step. Never blocks; of several policies the last counts."""
        self._inbox.put(item)
        self._arrived.set()

    def retry(self) -> None:
        """Have the next step try again what Envoys rejected."""
        self._inbox.retry()
        self._arrived.set()

    def order(self, request: Request) -> None:
        """Have the next step take an operator's request; the answer is in its outcome, under the same number."""
        self._inbox.order(request)
        self._arrived.set()

    async def run(self) -> None:
        """Step for as long as the task lives."""
        wake_at: float | None = None
        while True:
            await self._wait(wake_at)
            wake_at = self.step()

    def step(self) -> float | None:
        """Take what is in the inbox; return when time alone may next change something."""
        inputs = self._inbox.take(*self._reached())
        self._arrived.clear()
        started = self._now()
        outcome = self._controller.step(inputs, started)
        self.step_seconds = self._now() - started
        if self.recorder is not None:
            self.recorder.took(inputs, started, outcome)
        self._on_outcome(outcome)
        return outcome.wake_at

    def _reached(self) -> tuple[int, tuple[Accepted, ...]]:
        """Return how many clients are behind, and how many have accepted what others rejected, where a step asks."""
        audience = self.audience
        if audience is None:
            return 0, ()
        doubted = self._controller.doubted(self._now())
        behind = audience.behind() if self._controller.pacing else 0
        return behind, tuple(Accepted(what, audience.accepting(*what)) for what in doubted)

    async def _wait(self, wake_at: float | None) -> None:
        due_in = TICK_S if wake_at is None else min(TICK_S, max(COALESCE_S, wake_at - self._now()))
        try:
            async with asyncio.timeout(due_in):
                await self._arrived.wait()
        except TimeoutError:
            return
        await asyncio.sleep(COALESCE_S)
