"""The owner of all decision state: `step(inputs, now)` → what changed. Pure; the control loop is its only caller.

    policy ────────┐
    observations ──┼─► addresses, health ─► track: decide, build ─► snapshots of the policy in force
    resolutions ───┤                    └─► track of a policy on trial ─► snapshots for the cohort
    clients ───────┘                                            └► events

The first decision waits until something is known of every place, at most `START_GRACE_S`: a control plane that has just
started must not send a fleet towards a region it would find dead half a second later. With a `Memory` of an earlier
process it decides at once, and then nothing moves without fresh evidence.

A policy that replaces another is tried on a cohort first (rollout/canary.py). Health moves weights and endpoints under
both policies meanwhile; nothing waits for the trial but the new policy itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xds_server.decision.addresses import AddressBook
from xds_server.decision.frame import Prior
from xds_server.decision.health import HealthBook
from xds_server.decision.ordered import NOTHING_ORDERED, Ordered
from xds_server.decision.profiles import restored
from xds_server.decision.verdicts import Place
from xds_server.decision.what_if import Case
from xds_server.model import (
    Decision,
    Health,
    Target,
)
from xds_server.orders.book import OrderBook, Scene
from xds_server.orders.types import Orders, Request
from xds_server.policy.types import Policy
from xds_server.rollout import canary, reunion
from xds_server.rollout.clientele import Clientele
from xds_server.rollout.news import Disputed, Joined, Left, Refused, Settled, TrialSnapshots
from xds_server.rollout.quarantine import Held
from xds_server.rollout.rejections import Rejections
from xds_server.rollout.track import Track
from xds_server.rollout.words import edited, moves
from xds_server.snapshot.resource import Key, Snapshot
from xds_server.step import Inputs, Memory, Outcome, Told

START_GRACE_S = 1.5


class Controller:
    """All decision state of one control plane. Not thread-safe: one caller, the control loop.

    `orders` are those of an earlier process; `wall_offset` is seconds since 1970 less the clock of `now`.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        orders: Orders = Orders(),  # noqa: B008  (frozen)
        wall_offset: float = 0.0,
    ) -> None:
        self._memory = memory or Memory()
        self._restored = memory is not None
        self._health = HealthBook()
        self._health.restore(self._memory.beliefs, self._memory.measured, self._memory.links)
        self._book = AddressBook().restored(self._memory.addresses)
        self._located_with: AddressBook | None = None
        self._rejections = Rejections()
        self._clientele = Clientele()
        self._track: Track | None = None
        self._candidate: Track | None = None
        self._trial: canary.Trial | None = None
        self._reunion: reunion.Reunion | None = None
        self._unhealthy: frozenset[Target] = frozenset()
        self._orders = OrderBook(orders, wall_offset)
        self._ordered: dict[str, Ordered] = {}
        self._asked: list[Request] = []
        self._told = Told()
        self._decide_by = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Return what a replay starts from, between two steps (record/capture.py)."""
        return {name: value for name, value in vars(self).items() if name != "_told"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take that state, and make the snapshots in force again."""
        vars(self).update(state)
        self._told = Told()
        for track in (self._track, self._candidate):
            if track is not None and track.decision is not None:
                track.build(self._unhealthy, self._rejections.quarantine, self._clientele.views)

    @property
    def policy(self) -> Policy | None:
        """Return the policy in force."""
        return self._track.policy if self._track is not None else None

    @property
    def candidate(self) -> Policy | None:
        """Return the policy on trial, if one is."""
        return self._candidate.policy if self._candidate is not None else None

    @property
    def decision(self) -> Decision | None:
        """Return the decision in force; None before the first."""
        return self._track.decision if self._track is not None else None

    @property
    def orders(self) -> Orders:
        """Return all orders."""
        return self._orders.orders

    @property
    def pacing(self) -> bool:
        """Return whether an evacuation is under way, so that the next step should know who is behind."""
        return self._orders.pacing

    @property
    def quarantined(self) -> tuple[Held, ...]:
        """Return what is kept back from clients because one of them rejected it."""
        return self._rejections.quarantine.entries()

    def doubted(self, now: float) -> tuple[Disputed, ...]:
        """Return the contents of which the next step should know how many clients have accepted them."""
        return self._rejections.dissent.due(now)

    def cases(self) -> tuple[Case, ...]:
        """Return what the decisions in force rest on, as values: for questions about what would be if."""
        return self._track.cases(self._health, self._ordered) if self._track is not None else ()

    def memory(self) -> Memory:
        """Return what a later process needs to go on without moving a weight."""
        weights = self._track.weights() if self._track is not None else {}
        profiles = self._track.profiles() if self._track is not None else self._memory.profiles
        weights = weights or self._memory.weights
        measured = self._health.remembered(self._track.offered() if self._track is not None else {})
        trial = self.candidate.digest if self.candidate is not None else ""
        known, links = self._book.known(), self._health.links()
        return Memory(self._health.beliefs(), weights, known, profiles, measured, links, trial)

    def step(self, inputs: Inputs, now: float) -> Outcome:
        """Take what came in, and return what follows from it at `now` (seconds, monotonic)."""
        self._told = Told()
        stale = inputs.retry and self._rejections.forget() > 0
        if inputs.policy is not None:
            self._take_policy(inputs.policy, now)
        if self._track is None:
            return Outcome()
        for resolution in inputs.resolutions:
            self._book = self._book.learn(resolution)
        stale |= self._hear(inputs, now)
        self._advance_trial(now)
        stale |= self._relocate()
        self._learn(inputs)
        moved, events = self._health.assess(now)
        self._told.events.extend(events)
        self._asked.extend(inputs.orders)
        if self._waiting(now):
            return self._told.outcome(wake_at=self._decide_by)
        self._follow_orders(inputs.behind, now)
        stale |= self._marks_moved() | self._resized(now)
        self._renew(moved, now, stale=stale)
        return self._told.outcome(trial=self._renew_candidate(moved, now, stale=stale), wake_at=self._wake_at(now))

    def _learn(self, inputs: Inputs) -> None:
        for seen in inputs.observations:
            self._health.learn(seen)
        for load in inputs.loads:
            self._health.learn_load(load)
            self._orders.learn_load(load)
        for access in inputs.accesses:
            self._health.learn_access(access)
            self._orders.learn_access(access)
        for said in inputs.agents:
            self._health.learn_agent(said)

    # The policy in force, and the one on trial.

    def _take_policy(self, policy: Policy, now: float) -> None:
        self._told.names_due = True
        if self._track is None:
            self._ordered = self._orders.ordered(policy)
            self._track = Track(policy, self._remembered(now))
            self._decide_by = now if self._restored else now + START_GRACE_S
            self._reunion = reunion.begin(now) if self._memory.trial else None
            self._told.add("policy.accepted", now, f"policy {policy.digest} in force", digest=policy.digest)
            self._told.configure_due = True
            self._told.promoted = policy
            return
        self._candidate = self._trial = None
        if policy.digest == self._track.policy.digest:
            self._told.add("policy.accepted", now, "back to the policy in force", digest=policy.digest)
            return
        self._candidate = Track(policy, {}, earlier=self._track)
        self._decide_by = now + START_GRACE_S

    def _remembered(self, now: float) -> dict[str, tuple[tuple[str, ...], Prior]]:
        """Return what an earlier process had in force, under the orders that are in force still."""
        known = self._memory.profiles
        return {
            name: (
                regions,
                Prior(
                    table,
                    (),
                    ordered=self._ordered.get(name, NOTHING_ORDERED),
                    profiles=restored(regions, known.get(name, {}), now),
                ),
            )
            for name, (regions, table) in self._memory.weights.items()
        }

    def _advance_trial(self, now: float) -> None:
        """Begin the trial of a candidate once its names are looked up; end one that is overdue."""
        if self._candidate is None or self._track is None or self._track.decision is None:
            return
        if self._trial is not None:
            self._settle(canary.overdue(self._trial, now), now)
            return
        self._candidate.sites.locate(self._book)
        if now < self._decide_by and not self._candidate.sites.located(self._book):
            return
        if self._reunion is not None and now < self._reunion.over_at:
            return
        if self._track.lacks(self._clientele.views):
            return  # until the next step: whom the edit concerns shows beside what is in force
        self._begin_trial(self._candidate, self._track, now)

    def _begin_trial(self, candidate: Track, standing: Track, now: float) -> None:
        self._reunion = None
        ordered = self._orders.ordered(candidate.policy)
        candidate.take_over(standing, ordered)
        candidate.decide(self._health, (), now, ordered)
        candidate.build(self._unhealthy, self._rejections.quarantine, self._clientele.views, on_trial=True)
        rollout = candidate.policy.rollout
        share, timeout_s = rollout.canary, rollout.timeout_ms / 1000
        result = canary.begin(candidate.policy.digest, self._concerned(), share, timeout_s, now)
        self._settle(result, now)
        if isinstance(result, canary.Trial):
            words = f"policy {result.digest} on trial with {canary.names(result.members.values())}"
            self._told.add("policy.trial", now, words, digest=result.digest, members=str(len(result.members)))

    def _concerned(self) -> Mapping[int, canary.Client]:
        """Return the clients that are sent something else under the policy on trial: the others have nothing to try."""
        assert self._candidate is not None
        assert self._track is not None
        return self._clientele.of(self._candidate.other_views(self._track))

    def _settle(self, result: canary.Trial | canary.Ended, now: float) -> None:
        """Take in what became of the trial."""
        if isinstance(result, canary.Trial):
            self._trial = result
            return
        candidate, self._candidate, self._trial = self._candidate, None, None
        assert candidate is not None
        assert self._track is not None
        if result.promoted:
            self._promote(self._track, candidate, result, now)
            return
        self._told.names_due = True
        self._told.refused = (candidate.policy, result.reason)
        words = f"policy {candidate.policy.digest} rolled back, the one before stays in force: {result.reason}"
        self._told.add("policy.rejected", now, words, "alarm", digest=candidate.policy.digest)

    def _promote(self, before: Track, after: Track, result: canary.Ended, now: float) -> None:
        self._track = after
        self._told.promoted = after.policy
        self._told.configure_due = self._told.names_due = True
        digest = after.policy.digest
        self._told.add(
            "policy.accepted", now, f"policy {digest} in force: {edited(before.policy, after.policy)}", digest=digest
        )
        if result.silent:
            words = f"policy {digest} is in force although {', '.join(result.silent)} did not answer in time"
            self._told.add("policy.warning", now, words, "warning", digest=digest)
        self._told.succeeds = before
        after.succeed(before)
        self._ordered = self._orders.ordered(after.policy)
        after.take_over(before, self._ordered)
        after.decide(self._health, (), now, self._ordered)
        self._told.decision = after.decision
        self._told.events.extend(event for pair in after.since(before) for event in moves(*pair, now))

    # What clients say.

    def _hear(self, inputs: Inputs, now: float) -> bool:
        """Take in what clients said; True if it changes what is to be built."""
        before = len(self._rejections.quarantine), self._clientele.views
        for said in inputs.clients:
            if isinstance(said, Joined):
                self._rejections.dissent.left(said.stream)  # it may have had another view
                self._clientele.joined(said)
                self._reunion = self._reunion.joined(now) if self._reunion is not None else None
            elif isinstance(said, Left):
                self._clientele.left(said.stream)
                self._rejections.dissent.left(said.stream)
                if self._trial is not None and said.stream in self._trial.members:
                    self._settle(canary.left(self._trial, said.stream, self._concerned()), now)
            elif isinstance(said, Settled):
                if self._trial is not None:
                    self._settle(canary.settled(self._trial, said.stream), now)
            else:
                self._refuse(said, now)
        if self._track is not None:
            self._told.events += self._rejections.judge(inputs.accepted, self._track, self._clientele.count, now)
        return (len(self._rejections.quarantine), self._clientele.views) != before

    def _resized(self, now: float) -> bool:
        """Follow the size of the fleets; True if breakers change."""
        changed = self._clientele.settle(now)
        for track in (self._track, self._candidate) if changed else ():
            if track is not None:
                track.resize(self._clientele.sizes())
                self._told.resized = True
        return changed

    def _refuse(self, said: Refused, now: float) -> None:
        """Blame the trial if the rejected content is new in it; else keep back what one client proved bad."""
        found = self._clientele.find(said.stream)
        if found is None:
            return
        client, view = found
        assert self._track is not None
        standing = self._track.snapshots.get(view)
        new = [(k, v) for k, v in said.resources if standing is None or not _has(standing, k, v)]
        if self._trial is not None and said.stream in self._trial.members and (new or not said.resources):
            self._settle(canary.refused(self._trial, said.stream, said.error), now)
            return
        if len(said.resources) != 1:
            return
        (key, version), *_ = said.resources
        if self._restored and self._track.from_start(view, key):
            return  # to leave it out could take from others what they have of it from an earlier process
        if not new:
            held = Held(view, key, version, client.node_id, said.error)
            self._told.events += self._rejections.heard(said.stream, held, self._track, self._clientele.count, now)

    # What follows.

    def _relocate(self) -> bool:
        """Bring addresses and what is watched up to date; True if that changed for the policy in force."""
        assert self._track is not None
        if self._book is self._located_with and not (self._told.configure_due or self._told.names_due):
            return False
        self._located_with = self._book
        located = self._track.sites.locate(self._book)
        unresolvable = self._track.sites.unresolvable(self._book)
        if located or self._told.configure_due or unresolvable != self._health.unresolvable:
            self._health.configure(self._track.policy, self._track.sites.targets, unresolvable)
            self._told.targets = dict(self._track.sites.targets)
        if self._candidate is not None:
            self._candidate.sites.locate(self._book)
        if self._told.names_due:
            tracks = [self._track, *([self._candidate] if self._candidate is not None else [])]
            self._told.names = frozenset(name for track in tracks for name in track.sites.names(self._book))
            self._book = self._located_with = self._book.only(self._told.names)
        return located

    def _follow_orders(self, behind: int, now: float) -> None:
        """Take requests and move orders on, once there is something to judge them by."""
        assert self._track is not None
        policy, track, before = self._track.policy, self._track, self._orders.orders
        if track.decision is None or not (self._asked or before.standing):
            return
        requests, self._asked = self._asked, []
        for request in requests:
            answer = self._orders.take(request, policy, lambda: track.cases(self._health, self._ordered), now)
            self._told.answers.append(answer)
        decided = {decision.service: decision for decision in track.decision.services}
        self._orders.advance(Scene(policy, decided, behind, self._blind), now)
        self._told.events.extend(self._orders.take_events())
        if self._orders.orders != before:
            self._told.orders = self._orders.orders
            self._ordered = self._orders.ordered(policy)

    def _blind(self, service: str, region: str) -> bool:
        """Return whether there is no fresh evidence of a service in a region."""
        return self._health.verdict(Place(service, region)).health is Health.UNKNOWN

    def _waiting(self, now: float) -> bool:
        assert self._track is not None
        return self._track.decision is None and now < self._decide_by and bool(self._health.undecided())

    def _marks_moved(self) -> bool:
        before, self._unhealthy = self._unhealthy, self._health.unhealthy()
        return before != self._unhealthy

    def _renew(self, moved: frozenset[str], now: float, *, stale: bool) -> None:
        """Decide and build again under the policy in force, as far as anything changed."""
        assert self._track is not None
        first = self._track.decision is None
        pairs = self._track.decide(self._health, moved, now, self._ordered)
        if pairs or first or self._told.resized:
            self._told.decision = self._track.decision
            self._told.events.extend(event for pair in pairs for event in moves(*pair, now))
            self._health.refused(self._track.let_through())
        if pairs or first or stale or self._told.succeeds is not None:
            self._told.snapshots = self._track.build(
                self._unhealthy, self._rejections.quarantine, self._clientele.views
            )
        if self._told.succeeds is not None:
            self._told.snapshots = dict(self._track.snapshots)
            self._told.gone = frozenset(self._told.succeeds.snapshots.keys() - self._track.snapshots.keys())

    def _renew_candidate(self, moved: frozenset[str], now: float, *, stale: bool) -> TrialSnapshots | None:
        """Decide and build again under the policy on trial."""
        if self._candidate is None or self._trial is None:
            return None
        ordered = self._orders.ordered(self._candidate.policy)
        if self._candidate.decide(self._health, moved, now, ordered) or stale:
            self._candidate.build(self._unhealthy, self._rejections.quarantine, self._clientele.views, on_trial=True)
        return TrialSnapshots(frozenset(self._trial.members), self._candidate.snapshots)

    def _wake_at(self, now: float) -> float | None:
        times = [self._health.next_change(now), self._orders.next_change(now), self._clientele.next_change()]
        times.append(self._rejections.dissent.next_look())
        times.append(self._trial.deadline if self._trial is not None else None)
        times += [track.next_change() for track in (self._track, self._candidate) if track is not None]
        if self._candidate is not None and self._trial is None:
            times.append(max(self._decide_by, self._reunion.over_at if self._reunion is not None else 0.0))
        if self._asked:
            times.append(now)
        if any(track is not None and track.behind for track in (self._track, self._candidate)):
            times.append(now)
        return min((t for t in times if t is not None), default=None)


def _has(snapshot: Snapshot, key: Key, version: str) -> bool:
    resource = snapshot.get(key)
    return resource is not None and resource.version == version
