"""What an order is, and where it stands. Frozen values.

Every order has an author, a reason and an end. Five kinds:

    evacuate    moves all traffic off a region, in steps, and back when it ends
    drill       the same for practice: shorter, turned back at the first sign of harm, weaker than what operators order
    weight      fixes the weights of a service in one view, or in all
    hold        freezes the weights as they are: a service, a view, or all
    capacity    what a region can serve of a service, in place of what the policy says

Times are seconds on the controller's clock. An empty `service` or `view` means all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xds_server.policy.types import OnHarm

MOST_ENDED = 50
"""Ended orders that are remembered, with their reports; the history has the rest."""


class Kind(StrEnum):
    """What is ordered."""

    EVACUATE = "evacuate"
    DRILL = "drill"
    WEIGHT = "weight"
    HOLD = "hold"
    CAPACITY = "capacity"

    @property
    def leaves(self) -> bool:
        """Return whether it moves traffic off a region."""
        return self in {Kind.EVACUATE, Kind.DRILL}


class Phase(StrEnum):
    """Where an order stands. Only those that leave a region are ever anything but in force."""

    IN_FORCE = "in force"
    MOVING = "moving"
    MOVED = "moved"
    STOPPED = "stopped"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it was given. `weights` are parts by region, `over_s` is how long leaving takes (0: at once)."""

    id: str
    kind: Kind
    author: str
    reason: str
    at: float
    ends: float
    region: str = ""
    service: str = ""
    view: str = ""
    weights: tuple[tuple[str, float], ...] = ()
    capacity_rps: float = 0.0
    over_s: float = 0.0
    on_harm: OnHarm = OnHarm.STOP
    forced: bool = False

    @property
    def place(self) -> tuple[Kind, str, str, str]:
        """Return what it is about: of two orders about the same the later replaces the earlier."""
        return (self.kind, self.region, self.service, self.view)

    def concerns(self, service: str) -> bool:
        """Return whether it is about this service."""
        return self.service in {"", service}


@dataclass(frozen=True, slots=True)
class Report:
    """What leaving a region cost and how long it took, in seconds since the order; None: not yet, or not measured.

    `lost` of `requests` were final failures towards clients, of all views, since the order (access logs; every failed
    request is logged). `off_99_s`: 99 % of the requests no longer went there (load reports). `drained_s`: none was in
    progress there any more. `acked_s`: every connected client had acknowledged the last step.
    """

    requests: int | None = None
    lost: int | None = None
    off_99_s: float | None = None
    drained_s: float | None = None
    acked_s: float | None = None
    before_rps: float | None = None
    """The rate to the region when it was ordered."""
    gap: bool = False
    """Whether a restart of the process hid a part of it."""


Held = tuple[tuple[str, str, tuple[tuple[str, int], ...]], ...]
"""Weights in force, by service and view: those of the regions that had any."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An order in force. `moved` (0..1) of the region's share is gone so far, `step_at` is when that last changed.

    `well` are the (service, region) pairs that were healthy when it began: what it may do no harm to. None: not looked
    at since the process began.
    """

    order: Order
    phase: Phase
    step_at: float
    moved: float = 0.0
    detail: str = ""
    well: frozenset[tuple[str, str]] | None = None
    report: Report = Report()
    told: bool = False
    """Whether the report has been told."""
    held: Held = ()
    """Of a hold: the weights that it holds."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An order that is over, and why."""

    standing: Standing
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Orders:
    """All orders. `version` counts what operators would want to know of before they give another one."""

    version: int = 0
    standing: tuple[Standing, ...] = ()
    ended: tuple[Ended, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """An operator wants an order. `wall_offset` is seconds since 1970 less the controller's clock.

    `if_version`, if it is given, must be that of the orders in force; to replace an order it must be given.
    """

    number: int
    order: Order
    wall_offset: float
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class EndOrder:
    """An operator wants an order to end."""

    number: int
    id: str
    author: str
    reason: str
    if_version: int | None = None


Request = PlaceOrder | EndOrder


class Result(StrEnum):
    """What became of a request."""

    CREATED = "created"
    EXISTS = "exists"
    ENDING = "ending"
    WRONG = "wrong"
    MISSING = "missing"
    CONFLICT = "conflict"
    VERSION_NEEDED = "version needed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request, by its number. `words` say why not; `id` is the order's."""

    number: int
    result: Result
    version: int
    id: str = ""
    words: tuple[str, ...] = field(default=())

    @property
    def done(self) -> bool:
        """Return whether what was asked for holds now."""
        return self.result in {Result.CREATED, Result.EXISTS, Result.ENDING}
