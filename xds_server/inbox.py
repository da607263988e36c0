"""What came in since the last step of the controller, until the next one takes it. Pure; the control loop owns it.

Bounded where the world decides how much comes: past `MOST_WAITING` of a kind the oldest go first, because a newer
observation or report of the same thing says more. Look-ups, clients' news and orders are not dropped: each of them
happens once, and there are no more of them than names, streams and operators.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from xds_server.model import AccessSummary, AgentReport, LoadReport, Observation, Resolution
from xds_server.orders.types import Request
from xds_server.policy.types import Policy
from xds_server.rollout.news import Accepted, ClientNews
from xds_server.step import Inputs

MOST_WAITING = 100_000

Item = Policy | Observation | Resolution | LoadReport | AccessSummary | AgentReport | ClientNews


@dataclass(slots=True)
class _Waiting:
    most: int
    policy: Policy | None = None
    observations: deque[Observation] = field(init=False)
    loads: deque[LoadReport] = field(init=False)
    accesses: deque[AccessSummary] = field(init=False)
    agents: deque[AgentReport] = field(init=False)
    resolutions: list[Resolution] = field(default_factory=list)
    clients: list[ClientNews] = field(default_factory=list)
    orders: list[Request] = field(default_factory=list)
    retry: bool = False

    def __post_init__(self) -> None:
        self.observations = deque(maxlen=self.most)
        self.loads = deque(maxlen=self.most)
        self.accesses = deque(maxlen=self.most)
        self.agents = deque(maxlen=self.most)


class Inbox:
    """Takes things one by one, and gives all of them at once, each kind in the order in which it came."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting = _Waiting(most)

    def put(self, item: Item) -> None:
        """Leave something for the next step; of several policies the last counts."""
        match item:
            case Observation():
                self._waiting.observations.append(item)
            case LoadReport():
                self._waiting.loads.append(item)
            case AccessSummary():
                self._waiting.accesses.append(item)
            case AgentReport():
                self._waiting.agents.append(item)
            case Resolution():
                self._waiting.resolutions.append(item)
            case Policy():
                self._waiting.policy = item
            case _:
                self._waiting.clients.append(item)

    def retry(self) -> None:
        """Have the next step try again what Envoys rejected."""
        self._waiting.retry = True

    def order(self, request: Request) -> None:
        """Have the next step take an operator's request."""
        self._waiting.orders.append(request)

    def take(self, behind: int = 0, accepted: tuple[Accepted, ...] = ()) -> Inputs:
        """Return everything, with what the next step should know of clients (step.Inputs), and be empty."""
        found, self._waiting = self._waiting, _Waiting(self._most)
        return Inputs(
            policy=found.policy,
            observations=tuple(found.observations),
            resolutions=tuple(found.resolutions),
            clients=tuple(found.clients),
            loads=tuple(found.loads),
            accesses=tuple(found.accesses),
            agents=tuple(found.agents),
            retry=found.retry,
            orders=tuple(found.orders),
            behind=behind,
            accepted=accepted,
        )
