"""The single writer: an inbox and a tick drive the controller; what changed is handed on.

Signals run in the same event loop and call `put`; nothing else touches the controller. Items that arrive close together
are taken in one step (`COALESCE_S`): a region's endpoints fail within milliseconds of each other, and one push to a
fleet is better than eight. The inbox is bounded: past `MOST_WAITING` the oldest observations go first, because a newer
one about the same target says more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from xds_server.controller import Controller
from xds_server.model import AccessSummary, AgentReport, LoadReport, Observation, Resolution
from xds_server.orders.types import Request
from xds_server.policy.types import Policy
from xds_server.rollout.news import Accepted, ClientNews, Disputed
from xds_server.step import Inputs, Outcome

COALESCE_S = 0.02
TICK_S = 1.0
MOST_WAITING = 100_000

Item = Policy | Observation | Resolution | LoadReport | AccessSummary | AgentReport | ClientNews


class StepRecorder(Protocol):
    """Writes down every step."""

    def took(self, inputs: Inputs, now: float, outcome: Outcome) -> None:
        """Take a step that has just been made. Must not block."""


class ControlLoop:
    """Runs one controller. `now` is the monotonic clock in seconds; `on_outcome` gets every outcome, in order."""

    def __init__(self, controller: Controller, now: Callable[[], float], on_outcome: Callable[[Outcome], None]) -> None:
        self.recorder: StepRecorder | None = None
        """Gets every step, if there is one."""
        self._controller = controller
        self._now = now
        self._on_outcome = on_outcome
        self._policy: Policy | None = None
        self._observations: deque[Observation] = deque(maxlen=MOST_WAITING)
        self._resolutions: list[Resolution] = []
        self._loads: deque[LoadReport] = deque(maxlen=MOST_WAITING)
        self._accesses: deque[AccessSummary] = deque(maxlen=MOST_WAITING)
        self._agents: deque[AgentReport] = deque(maxlen=MOST_WAITING)
        self._clients: list[ClientNews] = []
        self._retry = False
        self._orders: list[Request] = []
        self.behind: Callable[[], int] = lambda: 0
        """How many clients have not acknowledged what they were last sent; asked while an evacuation is under way."""
        self.accepting: Callable[[Disputed], int] = lambda _: 0
        """How many clients have accepted something that another rejected; asked for a few seconds after that."""
        self._arrived = asyncio.Event()
        self.step_seconds = 0.0
        """How long the last step took, in seconds."""

    def put(self, item: Item) -> None:
        """Leave something for the next step. Never blocks; of several policies the last counts."""
        if isinstance(item, Observation):
            self._observations.append(item)
        elif isinstance(item, Resolution):
            self._resolutions.append(item)
        elif isinstance(item, LoadReport):
            self._loads.append(item)
        elif isinstance(item, AccessSummary):
            self._accesses.append(item)
        elif isinstance(item, AgentReport):
            self._agents.append(item)
        elif isinstance(item, Policy):
            self._policy = item
        else:
            self._clients.append(item)
        self._arrived.set()

    def retry(self) -> None:
        """Have the next step try again what Envoys rejected."""
        self._retry = True
        self._arrived.set()

    def order(self, request: Request) -> None:
        """Have the next step take an operator's request; the answer is in its outcome, under the same number."""
        self._orders.append(request)
        self._arrived.set()

    async def run(self) -> None:
        """Step for as long as the task lives."""
        wake_at: float | None = None
        while True:
            await self._wait(wake_at)
            wake_at = self.step()

    def step(self) -> float | None:
        """Take what is in the inbox; return when time alone may next change something."""
        inputs = Inputs(
            policy=self._policy,
            observations=tuple(self._observations),
            resolutions=tuple(self._resolutions),
            clients=tuple(self._clients),
            loads=tuple(self._loads),
            accesses=tuple(self._accesses),
            agents=tuple(self._agents),
            retry=self._retry,
            orders=tuple(self._orders),
            behind=self.behind() if self._controller.pacing else 0,
            accepted=tuple(Accepted(what, self.accepting(what)) for what in self._controller.doubted(self._now())),
        )
        self._policy, self._retry, self._orders = None, False, []
        inboxes = (self._observations, self._resolutions, self._clients, self._loads, self._accesses, self._agents)
        for inbox in inboxes:
            inbox.clear()
        self._arrived.clear()
        started = self._now()
        outcome = self._controller.step(inputs, started)
        self.step_seconds = self._now() - started
        if self.recorder is not None:
            self.recorder.took(inputs, started, outcome)
        self._on_outcome(outcome)
        return outcome.wake_at

    async def _wait(self, wake_at: float | None) -> None:
        due_in = TICK_S if wake_at is None else min(TICK_S, max(COALESCE_S, wake_at - self._now()))
        try:
            async with asyncio.timeout(due_in):
                await self._arrived.wait()
        except TimeoutError:
            return
        await asyncio.sleep(COALESCE_S)
