"""Running a record again, with the production controller: the same decisions, or the first difference.

A record is segments in order; segments that follow each other without a loss are one *run*. A run's first segment gives
the controller, with all its state, even in the middle of a trial; after that every step goes in as it was taken, and
what comes out must have the fingerprint that was recorded. Later segments of a run go on with the controller there is.
The first difference ends a run: what follows a wrong decision proves nothing.

With another policy (`what_if`) there are two controllers. One replays. The other starts from the beliefs and weights of
the first under the new policy, gets the same evidence, and none of the policy edits and trials that were. What it knows
of places that the recorded policy did not have is nothing, so it takes them for healthy: the caller is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from xds_server.controller import Controller
from xds_server.model import Decision, Event, Row, ShedClass
from xds_server.policy.types import Policy
from xds_server.record.fingerprint import Fingerprint, Fingerprints, parts_that_differ
from xds_server.record.segment import Start, Step
from xds_server.rollout.news import Joined, Left
from xds_server.step import Inputs

Entry = Start | Step


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay first told something else: the how-manieth step of its run, when, which parts."""

    step: int
    wall: float
    parts: tuple[str, ...]
    recorded: Fingerprint
    replayed: Fingerprint


@dataclass
class Run:
    """One run: when it began and ended (seconds since 1970), by which process and version, and how it went."""

    process: str
    version: str
    began: float
    ended: float
    lost_before: int
    steps: int = 0
    decisions: int = 0
    events: list[tuple[float, Event]] = field(default_factory=list)
    difference: Difference | None = None


class Clock:
    """The controller's seconds as seconds since 1970, by the last start of a segment."""

    def __init__(self, start: Start) -> None:
        self._offset = start.wall - start.at

    def wall(self, at: float) -> float:
        """Return when `at` was."""
        return at + self._offset


def runs(entries: Iterable[Entry]) -> Iterator[tuple[Start, Iterator[Step]]]:
    """Group entries into runs. Each run's steps must be taken before the next run is."""
    source = iter(entries)
    head = next(source, None)
    while head is not None:
        assert isinstance(head, Start), "a segment begins with its start"
        ended: list[Start] = []
        yield head, _steps(head, source, ended)
        head = ended[0] if ended else None


def _steps(start: Start, source: Iterator[Entry], ended: list[Start]) -> Iterator[Step]:
    number = start.number
    for entry in source:
        if isinstance(entry, Step):
            yield entry
            continue
        if entry.process != start.process or entry.number != number + 1 or entry.lost:
            ended.append(entry)
            return
        number = entry.number


def replay(entries: Iterable[Entry]) -> Iterator[Run]:
    """Replay every run; yield each when it is done."""
    for start, steps in runs(entries):
        clock = Clock(start)
        run = Run(start.process, start.version, start.wall, start.wall, start.lost)
        fingerprints = Fingerprints()
        for step in steps:
            run.ended = clock.wall(step.now)
            if run.difference is None:
                _replay_step(run, start.controller, step, fingerprints, clock)
        yield run


def _replay_step(run: Run, controller: Controller, step: Step, fingerprints: Fingerprints, clock: Clock) -> None:
    outcome = controller.step(step.inputs, step.now)
    told = fingerprints.of(outcome)
    run.steps += 1
    run.decisions += outcome.decision is not None
    if told != step.told:
        parts = tuple(parts_that_differ(step.told, told))
        run.difference = Difference(run.steps, clock.wall(step.now), parts, step.told, told)
        return
    run.events.extend((clock.wall(event.at), event) for event in outcome.events)


class InForce(NamedTuple):
    """The weights of one view, and what it refuses: the percentage of its requests, and of which classes."""

    weights: Row
    refused: int = 0
    classes: tuple[ShedClass, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """From a moment on: what was in force for one view and what would have been. None: nothing.

    `regions` are those of both policies. If both are equal the two agree again.
    """

    wall: float
    service: str
    view: str
    regions: tuple[str, ...]
    was: InForce | None
    would: InForce | None


@dataclass
class Comparison:
    """What another policy would have changed. `unseen` are the places of which the record says nothing."""

    began: float = 0.0
    ended: float = 0.0
    changes: list[Change] = field(default_factory=list)
    unseen: tuple[str, ...] = ()


def what_if(entries: Iterable[Entry], policy: Policy) -> Comparison:
    """Run the record under its own policies and under another one; return where it differs what is in force."""
    result = Comparison()
    seen: set[tuple[str, str]] = set()
    for start, steps in runs(entries):
        clock = Clock(start)
        result.began = result.began or start.wall
        actual: Controller = start.controller
        other = Controller(actual.memory())
        other.step(Inputs(policy=policy), start.at)
        differing: dict[tuple[str, str], tuple[InForce | None, InForce | None]] = {}
        for step in steps:
            actual.step(step.inputs, step.now)
            other.step(_evidence(step.inputs), step.now)
            result.ended = clock.wall(step.now)
            seen |= {(o.target.service, o.target.region) for o in step.inputs.observations}
            result.changes.extend(_changes(actual.decision, other.decision, differing, result.ended))
    places = {(name, region) for name, service in policy.services.items() for region in service.deployments}
    result.unseen = tuple(f"{service} in {region}" for service, region in sorted(places - seen))
    return result


def _evidence(inputs: Inputs) -> Inputs:
    """Leave out what belongs to the recorded policies: their edits, and what clients said of their content."""
    clients = tuple(said for said in inputs.clients if isinstance(said, (Joined, Left)))
    return replace(inputs, policy=None, clients=clients, retry=False, accepted=())


def _changes(
    actual: Decision | None,
    other: Decision | None,
    known: dict[tuple[str, str], tuple[InForce | None, InForce | None]],
    wall: float,
) -> Iterator[Change]:
    """Yield what differs otherwise than before, and what has come to agree; nothing before the first decision."""
    if actual is None:
        return
    regions = tuple(sorted({*actual.regions, *(other.regions if other else ())}))
    was, would = _rows(actual, regions), _rows(other, regions)
    for place in sorted(was.keys() | would.keys()):
        pair = was.get(place), would.get(place)
        if known.get(place) == pair or (place not in known and pair[0] == pair[1]):
            continue
        if pair[0] == pair[1]:
            del known[place]
        else:
            known[place] = pair
        yield Change(wall, *place, regions, *pair)


def _rows(decision: Decision | None, regions: tuple[str, ...]) -> dict[tuple[str, str], InForce]:
    """Return what is in force for every service and view, over these regions."""
    rows: dict[tuple[str, str], InForce] = {}
    for service in decision.services if decision is not None else ():
        sheds = service.shed or (None,) * len(service.regions)
        for view, row, shed in zip(service.regions, service.weights, sheds, strict=True):
            shares = dict(zip(service.regions, row, strict=True))
            weights = tuple(shares.get(region, 0) for region in regions)
            refused = (shed.percent, shed.classes) if shed else (0, ())
            rows[service.service, view] = InForce(weights, *refused)
    return rows
