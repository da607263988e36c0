"""What goes into one step of the controller, what comes out of it, and what outlives the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.decision.links import Links
from xds_server.decision.measured import Measured
from xds_server.decision.profiles import Choice
from xds_server.decision.verdicts import Belief, Place
from xds_server.model import (
    AccessSummary,
    AgentReport,
    Decision,
    Event,
    LoadReport,
    Observation,
    Resolution,
    Severity,
    Table,
    Target,
    ViewKey,
)
from xds_server.orders.types import Answer, Orders, Request
from xds_server.policy.types import HealthCheck, Policy
from xds_server.rollout.news import Accepted, ClientNews, TrialSnapshots
from xds_server.rollout.track import Track
from xds_server.snapshot.resource import Snapshot


@dataclass(frozen=True, slots=True)
class Memory:
    """What outlives a process.

    That is beliefs, the weights in force (regions and table by service), the last addresses, profiles that do not
    follow from the policy, by service what was measured (demand and latencies), links that are cut, and the digest of
    the policy on trial.
    """

    beliefs: Mapping[Place, Belief] = field(default_factory=dict)
    weights: Mapping[str, tuple[tuple[str, ...], Table]] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Choice]] = field(default_factory=dict)
    measured: Mapping[str, Measured] = field(default_factory=dict)
    links: Links = field(default_factory=dict)
    trial: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that came in since the last step, in the order it came. `policy` is a new one, already validated.

    `loads`, `accesses` and `agents` are what Envoys and others report. `retry` is an operator's order to try again what
    was rejected, `orders` are what operators want of the decision. `behind` is how many clients have not acknowledged
    what they were last sent; it is only looked at while `Controller.pacing`. `accepted` says how many
    clients have accepted what `Controller.doubted` names.
    """

    policy: Policy | None = None
    observations: tuple[Observation, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    clients: tuple[ClientNews, ...] = ()
    loads: tuple[LoadReport, ...] = ()
    accesses: tuple[AccessSummary, ...] = ()
    agents: tuple[AgentReport, ...] = ()
    retry: bool = False
    orders: tuple[Request, ...] = ()
    behind: int = 0
    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step changed. None or empty: nothing. `wake_at` is when time alone may change something.

    `trial` is the trial under way after the step, whether or not it changed. `refused` is a policy that was rolled
    back, with the reason; `promoted` one that is now in force. `orders` are all orders, if any of them changed;
    `answers` belong to requests.
    """

    decision: Decision | None = None
    snapshots: Mapping[ViewKey, Snapshot] = field(default_factory=dict)
    gone: frozenset[ViewKey] = frozenset()
    targets: Mapping[Target, HealthCheck] | None = None
    names: frozenset[str] | None = None
    trial: TrialSnapshots | None = None
    promoted: Policy | None = None
    refused: tuple[Policy, str] | None = None
    events: tuple[Event, ...] = ()
    wake_at: float | None = None
    orders: Orders | None = None
    answers: tuple[Answer, ...] = ()


class Told:
    """What a step has to tell, gathered while it runs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.decision: Decision | None = None
        self.snapshots: dict[ViewKey, Snapshot] = {}
        self.gone: frozenset[ViewKey] = frozenset()
        self.targets: dict[Target, HealthCheck] | None = None
        self.names: frozenset[str] | None = None
        self.promoted: Policy | None = None
        self.refused: tuple[Policy, str] | None = None
        self.succeeds: Track | None = None
        self.orders: Orders | None = None
        self.answers: list[Answer] = []
        self.resized = False
        self.names_due = False
        self.configure_due = False

    def add(self, kind: str, now: float, message: str, severity: Severity = "info", **fields: str) -> None:
        """Add an event."""
        self.events.append(Event(kind, now, message, severity, tuple(fields.items())))

    def outcome(self, *, trial: TrialSnapshots | None = None, wake_at: float | None = None) -> Outcome:
        """Return what was gathered."""
        return Outcome(
            decision=self.decision,
            snapshots=self.snapshots,
            gone=self.gone,
            targets=self.targets,
            names=self.names,
            trial=trial,
            promoted=self.promoted,
            refused=self.refused,
            events=tuple(self.events),
            wake_at=wake_at,
            orders=self.orders,
            answers=tuple(self.answers),
        )
