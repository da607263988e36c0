"""The owner of all decision state: `step(inputs, now)` → what changed. Pure; the control loop is its only caller.

    policy ───────┐
    observations ─┼─► addresses, health ─► services that changed ─► decide_service ─► Decision ─► Builder ─► snapshots
    resolutions ──┘                                                               └► events

A step decides again only for services whose inputs changed, and builds again only the snapshots that such a service is
in; everything else is the same object as before, so "changed" is a comparison of versions.

The first decision waits until something is known of every place, at most `START_GRACE_S`: a control plane that has just
started must not send a fleet towards a region it would find dead half a second later. With a `Memory` of an earlier
process it decides at once, and then nothing moves without fresh evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xds_server.decision.addresses import AddressBook
from xds_server.decision.decide import Frame, Prior, decide_service, frame
from xds_server.decision.health import HealthBook
from xds_server.decision.verdicts import Belief, Place
from xds_server.model import (
    TOTAL_WEIGHT,
    Address,
    Decision,
    Endpoint,
    Event,
    Observation,
    Resolution,
    ServiceDecision,
    Table,
    Target,
    Verdict,
    ViewKey,
)
from xds_server.policy.diff import changes
from xds_server.policy.types import HealthCheck, Policy
from xds_server.snapshot.build import Builder
from xds_server.snapshot.resource import Snapshot

START_GRACE_S = 1.5
MOST_CHANGES_TOLD = 8


@dataclass(frozen=True, slots=True)
class Memory:
    """What outlives a process: beliefs, the weights in force (regions and table by service), and the last addresses."""

    beliefs: Mapping[Place, Belief] = field(default_factory=dict)
    weights: Mapping[str, tuple[tuple[str, ...], Table]] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that came in since the last step, in the order it came. `policy` is a new one, already validated."""

    policy: Policy | None = None
    observations: tuple[Observation, ...] = ()
    resolutions: tuple[Resolution, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step changed. None or empty: nothing. `wake_at` is when time alone may change something."""

    decision: Decision | None = None
    snapshots: Mapping[ViewKey, Snapshot] = field(default_factory=dict)
    gone: frozenset[ViewKey] = frozenset()
    targets: Mapping[Target, HealthCheck] | None = None
    names: frozenset[str] | None = None
    events: tuple[Event, ...] = ()
    wake_at: float | None = None


class Controller:
    """All decision state of one control plane. Not thread-safe: one caller, the control loop."""

    def __init__(self, memory: Memory | None = None) -> None:
        self._health = HealthBook()
        self._book = AddressBook()
        self._addresses: dict[Endpoint, tuple[Address, ...]] = {}
        self._builder = Builder()
        self._policy: Policy | None = None
        self._frames: dict[str, Frame] = {}
        self._priors: dict[str, tuple[tuple[str, ...], Prior]] = {}
        self._decisions: dict[str, ServiceDecision] = {}
        self._decision: Decision | None = None
        self._snapshots: dict[ViewKey, Snapshot] = {}
        self._targets: dict[Target, HealthCheck] = {}
        self._unhealthy: frozenset[Target] = frozenset()
        self._decide_by = 0.0
        self._restored = memory is not None
        if memory is not None:
            self._health.restore(memory.beliefs)
            self._book = self._book.restored(memory.addresses)
            self._priors = {name: (regions, Prior(table, ())) for name, (regions, table) in memory.weights.items()}

    @property
    def policy(self) -> Policy | None:
        """Return the policy in force."""
        return self._policy

    @property
    def decision(self) -> Decision | None:
        """Return the decision in force; None before the first."""
        return self._decision

    def memory(self) -> Memory:
        """Return what a later process needs to go on without moving a weight."""
        return Memory(
            beliefs=self._health.beliefs(),
            weights={name: (d.regions, d.weights) for name, d in self._decisions.items()},
            addresses=self._book.known(),
        )

    def step(self, inputs: Inputs, now: float) -> Outcome:
        """Take what came in, and return what follows from it at `now` (seconds, monotonic)."""
        events: list[Event] = []
        renewed = self._take_policy(inputs.policy, now, events)
        resolved = self._take_resolutions(inputs.resolutions)
        if self._policy is None:
            return Outcome()
        retargeted = (renewed or resolved) and self._retarget()
        for seen in inputs.observations:
            self._health.learn(seen)
        moved, told = self._health.assess(now)
        events.extend(told)
        if self._waiting(now):
            return Outcome(
                targets=dict(self._targets) if retargeted else None,
                names=self._names() if renewed else None,
                events=tuple(events),
                wake_at=self._decide_by,
            )
        decided = self._decide(frozenset(self._frames) if renewed else moved, now, events, forced=renewed)
        snapshots, gone = self._build(stale=decided or renewed or retargeted or self._marks_moved())
        return Outcome(
            decision=self._decision if decided else None,
            snapshots=snapshots,
            gone=gone,
            targets=dict(self._targets) if retargeted else None,
            names=self._names() if renewed else None,
            events=tuple(events),
            wake_at=self._health.next_change(now),
        )

    def _take_policy(self, policy: Policy | None, now: float, events: list[Event]) -> bool:
        if policy is None:
            return False
        events.append(_accepted(self._policy, policy, now))
        if self._policy is None:
            self._decide_by = now if self._restored else now + START_GRACE_S
        same_map = self._policy is not None and self._policy.latency_ms == policy.latency_ms
        self._policy = policy
        kept = self._frames if same_map else {}
        self._frames = {
            name: old if (old := kept.get(name)) and old.service == service else frame(policy, service)
            for name, service in policy.services.items()
        }
        self._decisions = {name: d for name, d in self._decisions.items() if name in policy.services}
        return True

    def _take_resolutions(self, resolutions: tuple[Resolution, ...]) -> bool:
        before = self._book
        for resolution in resolutions:
            self._book = self._book.learn(resolution)
        return self._book != before

    def _names(self) -> frozenset[str]:
        return frozenset(endpoint.host for endpoint in self._addresses if not self._book.literal(endpoint))

    def _retarget(self) -> bool:
        """Work out again which addresses there are and what is to be watched; True if that changed."""
        assert self._policy is not None
        before = (self._addresses, self._targets)
        self._addresses, self._targets, unresolvable = {}, {}, set()
        for name, service in self._policy.services.items():
            for region, deployment in service.deployments.items():
                found = {endpoint: self._book.of(endpoint) for endpoint in deployment.endpoints}
                self._addresses |= found
                addresses = [address for several in found.values() for address in several]
                self._targets |= {Target(name, region, address): service.health for address in addresses}
                if not addresses and all(self._book.failed(endpoint) for endpoint in found):
                    unresolvable.add(Place(name, region))
        self._book = self._book.only(self._names())
        self._health.configure(self._policy, self._targets, frozenset(unresolvable))
        return before != (self._addresses, self._targets)

    def _waiting(self, now: float) -> bool:
        return self._decision is None and now < self._decide_by and bool(self._health.undecided())

    def _decide(self, services: frozenset[str], now: float, events: list[Event], *, forced: bool) -> bool:
        """Decide again for some services (all of them, the first time); True if any decision is another."""
        assert self._policy is not None
        first = self._decision is None
        changed = first
        for name in sorted(self._frames if first else services & self._frames.keys()):
            base, before = self._frames[name], self._decisions.get(name)
            verdicts = self._verdicts(base)
            after = decide_service(base, verdicts, self._prior(base, verdicts), forced=forced and not first)
            if after != before:
                changed = True
                self._decisions[name] = after
                self._priors[name] = (
                    base.regions,
                    Prior(after.weights, verdicts, after.reflex),
                )
                events.extend(_moves(before, after, now))
        if changed or len(self._decisions) != len(self._decision.services if self._decision else ()):
            regions = tuple(sorted(self._policy.regions))
            self._decision = Decision(regions, tuple(self._decisions[name] for name in sorted(self._decisions)))
            return True
        return False

    def _verdicts(self, base: Frame) -> tuple[Verdict | None, ...]:
        name = base.service.name
        return tuple(
            self._health.verdict(Place(name, region)) if region in base.service.deployments else None
            for region in base.regions
        )

    def _prior(self, base: Frame, verdicts: tuple[Verdict | None, ...]) -> Prior | None:
        regions, prior = self._priors.get(base.service.name, ((), None))
        if prior is None or regions != base.regions:
            return None
        return prior if prior.verdicts else replace(prior, verdicts=verdicts)

    def _marks_moved(self) -> bool:
        before, self._unhealthy = self._unhealthy, self._health.unhealthy()
        return before != self._unhealthy

    def _build(self, *, stale: bool) -> tuple[Mapping[ViewKey, Snapshot], frozenset[ViewKey]]:
        """Build all snapshots again if anything in them may have moved; return those that did, and those gone."""
        if not stale or self._policy is None or self._decision is None:
            return {}, frozenset()
        self._unhealthy = self._health.unhealthy()
        views = [ViewKey(fleet, region) for fleet in self._policy.fleets for region in self._policy.regions]
        built = self._builder.build_all(self._policy, self._decision, views, self._addresses, self._unhealthy)
        changed = {
            view: snapshot
            for view, snapshot in built.items()
            if view not in self._snapshots or self._snapshots[view].versions != snapshot.versions
        }
        gone = frozenset(self._snapshots.keys() - built.keys())
        self._snapshots = dict(built)
        return changed, gone


def _accepted(before: Policy | None, after: Policy, now: float) -> Event:
    fields = (("digest", after.digest),)
    if before is None:
        return Event("policy.accepted", now, f"policy {after.digest} in force", "info", fields)
    told = changes(before, after)
    more = f" and {len(told) - MOST_CHANGES_TOLD} more" if len(told) > MOST_CHANGES_TOLD else ""
    words = "; ".join(told[:MOST_CHANGES_TOLD]) + more if told else "no change of meaning"
    return Event("policy.accepted", now, f"policy {after.digest} in force: {words}", "info", fields)


def _moves(before: ServiceDecision | None, after: ServiceDecision, now: float) -> list[Event]:
    """Return one event if weights moved, in the words of the views concerned, and one if the service stops fitting."""
    events = []
    if before is not None and before.regions == after.regions and before.weights != after.weights:
        rows = zip(after.regions, before.weights, after.weights, strict=True)
        views = [f"{view}: {_shift(after.regions, old, new)}" for view, old, new in rows if old != new]
        fields = (("service", after.service), ("views", str(len(views))))
        events.append(Event("weights.changed", now, f"{after.service} from {'; from '.join(views)}", "info", fields))
    was = before.overload if before is not None else 1.0
    if after.overload > 1.0 and was <= 1.0:
        short = f"{after.service}: demand exceeds capacity, every region at {after.overload:.0%}"
        events.append(Event("capacity.short", now, short, "alarm", (("service", after.service),)))
    elif after.overload <= 1.0 < was:
        fits = f"{after.service}: demand fits again"
        events.append(Event("capacity.fits", now, fits, "info", (("service", after.service),)))
    return events


def _shift(regions: tuple[str, ...], old: tuple[int, ...], new: tuple[int, ...]) -> str:
    moved = zip(regions, old, new, strict=True)
    return ", ".join(f"{r} {_percent(a)}→{_percent(b)}" for r, a, b in moved if a != b)


def _percent(weight: int) -> str:
    return f"{100 * weight / TOTAL_WEIGHT:.4g} %"
