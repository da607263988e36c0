"""What the admin side may see of the process, and do to it: values that are already there, never the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from xds_server.decision.what_if import Loss
from xds_server.history.chronicle import Chronicle
from xds_server.model import Decision
from xds_server.operator.events import EventLog
from xds_server.operator.order_desk import OrderDesk
from xds_server.operator.signal_log import SignalLog
from xds_server.operator.views import PolicyStatus
from xds_server.rollout.quarantine import Held
from xds_server.transport.clients import ClientStatus


class NotTakenError(Exception):
    """What was sent is not taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry tries again: resources kept back, clients that rejected something, a policy rolled back."""

    quarantined: int
    clients: int
    policy: str | None


class Source(Protocol):
    """What the admin side may see of the process."""

    def now(self) -> float:
        """Return the clock that the values below are dated by (monotonic seconds)."""

    def waiting_for(self) -> str | None:
        """Return why the process is not ready, in words; None when it is."""

    def decision(self) -> Decision | None:
        """Return the decision in force."""

    async def losses(self, demand: float) -> tuple[Loss, ...]:
        """Return what the loss of each region would do at `demand` times the present demand."""

    def policy(self) -> PolicyStatus:
        """Return the state of the policy and of its file."""

    def events(self) -> EventLog:
        """Return the recent events."""

    def history(self) -> Chronicle:
        """Return what is kept of the past."""

    def clients(self) -> tuple[ClientStatus, ...]:
        """Return who is connected."""

    async def metrics(self) -> bytes:
        """Return the metrics in Prometheus' text format."""

    def signals(self) -> SignalLog:
        """Return what each source of signals last said."""

    def quarantined(self) -> tuple[Held, ...]:
        """Return what is kept back from clients because one of them rejected it."""

    def retry(self, author: str) -> Retried:
        """Try again what Envoys rejected; return what that is. `author` is who was authenticated, or empty."""

    def order_desk(self) -> OrderDesk:
        """Return where orders are given."""

    def report(self, body: bytes, sender: str, address: str) -> int:
        """Take an agent's reports, as JSON; return how many. Raises NotTakenError.

        `sender` is who was authenticated, or empty; `address` is where the request came from.
        """
