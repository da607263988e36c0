"""Everything that follows from one policy: what to watch (sites.py), decisions, snapshots.

There is one track, and during a trial of a new policy a second one: the controller decides under both, from the same
evidence. A track decides again only for services whose inputs changed, and builds again only what follows from that. So
a track that follows another takes over what the other decided of services that are the same under both policies.

Snapshots are built for views that a client has asked for. A control plane has the Envoys of its own region or of a few,
and what nobody reads is most of the work in a policy of a thousand services and eight regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from xds_server.decision.carry import carried
from xds_server.decision.complete import complete
from xds_server.decision.decide import place
from xds_server.decision.frame import Frame, Prior, frame
from xds_server.decision.health import HealthBook
from xds_server.decision.ordered import NOTHING_ORDERED, Ordered
from xds_server.decision.profiles import Choice, chosen, follow, next_change, remembered
from xds_server.decision.shedding import NOTHING_SHED, in_force
from xds_server.decision.standin import stand_in
from xds_server.decision.verdicts import Place
from xds_server.decision.what_if import Case
from xds_server.model import Decision, FleetSize, ServiceDecision, Target, Verdict, ViewKey
from xds_server.policy.types import Policy
from xds_server.rollout.backlog import Backlog
from xds_server.rollout.quarantine import Quarantine
from xds_server.rollout.sites import Sites
from xds_server.snapshot.build import Builder
from xds_server.snapshot.resource import Key, Resource, Snapshot

Priors = Mapping[str, tuple[tuple[str, ...], Prior]]
"""By service: the regions its tables are over, and what is in force."""

NO_ORDERS: Mapping[str, Ordered] = MappingProxyType({})

Moved = tuple[ServiceDecision | None, ServiceDecision]

_FOLLOWS = frozenset({"builder", "frames", "snapshots"})
"""What a replay works out again."""


class Track:
    """One policy and what follows from it. `earlier` is the track whose decisions are in force, if there is one."""

    def __init__(self, policy: Policy, priors: Priors, earlier: Track | None = None) -> None:
        self.policy = policy
        self.decision: Decision | None = None
        self.sites: Sites = Sites(policy, earlier.sites if earlier else None)
        self.snapshots: dict[ViewKey, Snapshot] = {}
        self.builder: Builder = earlier.builder.copy() if earlier else Builder()
        self.frames = _frames(policy, earlier)
        self.priors: dict[str, tuple[tuple[str, ...], Prior]] = dict(earlier.priors if earlier else priors)
        self.sizes: tuple[FleetSize, ...] = earlier.sizes if earlier else ()
        self._decisions: dict[str, ServiceDecision] = {}
        self._due: dict[str, float] = {}
        self.replaced_by_key: dict[tuple[ViewKey, Key], Resource | None] = (
            dict(earlier.replaced_by_key) if earlier else {}
        )
        self._forced = earlier is not None
        self._ordered: dict[str, Ordered] = {}
        self._backlog = Backlog()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a replay starts from (record/capture.py): all but what follows from the rest."""
        return {name: value for name, value in vars(self).items() if name not in _FOLLOWS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take that state; `build` makes the snapshots again."""
        vars(self).update(state)
        self.builder, self.frames, self.snapshots = Builder(), _frames(self.policy, None), {}

    def weights(self) -> Mapping[str, tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]]:
        """Return the weights in force, by service, with the regions they are over."""
        return {name: (decision.regions, decision.weights) for name, decision in self._decisions.items()}

    def profiles(self) -> Mapping[str, Mapping[str, Choice]]:
        """Return the profiles in force that do not follow from the policy, by service and region."""
        found = {name: remembered(regions, prior.profiles) for name, (regions, prior) in self.priors.items()}
        return {name: choices for name, choices in found.items() if choices}

    def offered(self) -> Mapping[str, Mapping[str, float]]:
        """Return the demand of views of which something is refused, by service: less than that is let through."""
        found = {
            name: {view: rps for view, rps, shed in zip(d.regions, d.demand_rps, d.shed, strict=True) if shed}
            for name, d in self._decisions.items()
            if d.shed
        }
        return {name: views for name, views in found.items() if views}

    def let_through(self) -> Mapping[tuple[str, str], float]:
        """Return the share that is let through, of services and views of which something is refused."""
        return {
            (name, view): 1 - shed.percent / 100
            for name, d in self._decisions.items()
            for view, shed in zip(d.regions, d.shed, strict=False)
            if shed
        }

    def replaced(self, view: ViewKey, key: Key) -> Resource | None:
        """Return what a view had under this name before the content it has now; None if it is new."""
        return self.replaced_by_key.get((view, key))

    def from_start(self, view: ViewKey, key: Key) -> bool:
        """Return whether a view has had this content since it was first built: an earlier process may know another."""
        return (view, key) not in self.replaced_by_key

    def since(self, earlier: Track) -> list[Moved]:
        """Return what is decided otherwise than under another policy."""
        before = earlier._decisions
        return [(before.get(name), now) for name, now in sorted(self._decisions.items()) if before.get(name) != now]

    @property
    def behind(self) -> bool:
        """Return whether plans are still to be made: `decide` goes on with them."""
        return bool(self._backlog)

    def take_over(self, standing: Track, ordered: Mapping[str, Ordered]) -> None:
        """Keep, before the first `decide`, what is in force of services that this policy does not change.

        Not of those whose plans are still to be made, or that operators want otherwise under this policy.
        """
        if self.decision is not None or self.policy.latency_ms != standing.policy.latency_ms:
            return
        for name, service in self.policy.services.items():
            found = standing._decisions.get(name)
            if found is None or standing.policy.services[name] != service or standing._backlog.has(name):
                continue
            prior = standing.priors[name]
            if prior[1].ordered == ordered.get(name, NOTHING_ORDERED):
                self._decisions[name], self.priors[name] = found, prior
                self._wake(name, standing._due.get(name))

    def succeed(self, standing: Track) -> None:
        """Note what clients have when this policy comes in force: a rejected resource goes back to that."""
        self.replaced_by_key = dict(standing.replaced_by_key)
        for view, before in standing.snapshots.items():
            self._note_replaced(view, before, self.snapshots.setdefault(view, before))

    def decide(
        self, health: HealthBook, services: Iterable[str], now: float, ordered: Mapping[str, Ordered] = NO_ORDERS
    ) -> list[Moved]:
        """Decide again for some services (the first time all but those taken over); return what was and is, if other.

        Services whose time has come are decided as well (`next_change`).

        `ordered` is what operators want, by service. Where there is much to plan, plans follow in later calls
        (backlog.py), in which `services` may be empty.
        """
        first, behind = self.decision is None, self.behind
        due = {name for name, at in self._due.items() if at <= now}
        wanted = self.frames.keys() - self._decisions.keys() if first else {*services}
        names = sorted(self.frames.keys() & {*wanted, *due, *self._ordered_otherwise(ordered)})
        at_once = first or self._backlog.has_room(self.frames, names)
        moved: list[Moved] = []
        for name in names:
            moved += self._decide(name, health, now, ordered.get(name, NOTHING_ORDERED), at_once=at_once)
        if behind:
            self._backlog.work(self.frames, self._decisions)
        if moved or not self._backlog:
            for name, after in self._backlog.take().items():
                moved += self._replace(after, replace(self.priors[name][1], reflex=after.reflex))
        if moved or first:
            regions = tuple(sorted(self.policy.regions))
            decided = tuple(self._decisions[name] for name in sorted(self._decisions))
            self.decision = Decision(regions, decided, self.sizes)
        return moved

    def _ordered_otherwise(self, ordered: Mapping[str, Ordered]) -> set[str]:
        """Return the services that operators want otherwise than when they were decided."""
        if ordered == self._ordered:
            return set()
        self._ordered = dict(ordered)
        decided = ((name, self.priors[name][1]) for name in self._decisions)
        return {name for name, prior in decided if prior.ordered != ordered.get(name, NOTHING_ORDERED)}

    def next_change(self) -> float | None:
        """Return when time alone may change a decision; None if nothing waits."""
        return min(self._due.values(), default=None)

    def _decide(self, name: str, health: HealthBook, now: float, wanted: Ordered, *, at_once: bool) -> list[Moved]:
        base, before = self.frames[name], self._decisions.get(name)
        verdicts = self._verdicts(base, health)
        measured = health.measured(name)
        prior = self._prior(base, verdicts)
        forced = self._forced and before is None
        placed = place(base, verdicts, prior, forced=forced, measured=measured, ordered=wanted, now=now)
        profiles = follow(base.service, placed.decision, prior.profiles if prior else (), now)
        placed = replace(placed, profiles=chosen(profiles))
        if at_once or before is None:
            self._backlog.drop(name)
            after = complete(placed, prior.reflex if prior else ())
        else:
            self._backlog.add(name, placed)
            after = stand_in(placed, before)
        shedding = in_force(after, prior.shedding if prior else NOTHING_SHED, now)
        self._wake(name, shedding.settles_at(now), next_change(profiles, now))
        closed = placed.base.cuts | placed.base.returning.keys()
        return self._replace(
            after, Prior(after.weights, after.verdicts, after.reflex, closed, wanted, shedding, profiles)
        )

    def _wake(self, name: str, *times: float | None) -> None:
        """Decide a service again at the first of these times, whatever happens until then."""
        self._due.pop(name, None)
        if at := min((at for at in times if at is not None), default=None):
            self._due[name] = at

    def _replace(self, after: ServiceDecision, prior: Prior) -> list[Moved]:
        """Put a decision in force; return what was and what is, if that differs."""
        before = self._decisions.get(after.service)
        self.priors[after.service] = (after.regions, prior)
        if after == before:
            return []
        self._decisions[after.service] = after
        return [(before, after)]

    @staticmethod
    def _verdicts(base: Frame, health: HealthBook) -> tuple[Verdict | None, ...]:
        return tuple(
            health.verdict(Place(base.service.name, region)) if region in base.service.deployments else None
            for region in base.regions
        )

    def resize(self, sizes: tuple[FleetSize, ...]) -> None:
        """Share breakers out over fleets of these sizes from the next `build` on."""
        self.sizes = sizes
        if self.decision is not None:
            self.decision = replace(self.decision, sizes=sizes)

    def cases(self, health: HealthBook, ordered: Mapping[str, Ordered] = NO_ORDERS) -> tuple[Case, ...]:
        """Return what every decision rests on, for questions about what would be if (decision/what_if.py)."""
        return tuple(
            Case(
                base,
                self._verdicts(base, health),
                self._prior(base, found.verdicts),
                health.measured(name),
                found,
                ordered.get(name, NOTHING_ORDERED),
            )
            for name, base in sorted(self.frames.items())
            if (found := self._decisions.get(name)) is not None
        )

    def other_views(self, standing: Track) -> frozenset[ViewKey]:
        """Return the views that are sent something else than under the policy in force."""
        return frozenset(v for v, snapshot in self.snapshots.items() if not _same(standing.snapshots.get(v), snapshot))

    def lacks(self, views: Iterable[ViewKey]) -> bool:
        """Return whether one of these views, which a client has just asked for, is not built yet."""
        return any(view not in self.snapshots and self._has(view) for view in views)

    def _has(self, view: ViewKey) -> bool:
        return view.fleet in self.policy.fleets and view.region in self.policy.regions

    def build(
        self,
        unhealthy: frozenset[Target],
        quarantine: Quarantine,
        asked_for: Iterable[ViewKey],
        *,
        on_trial: bool = False,
    ) -> dict[ViewKey, Snapshot]:
        """Build the snapshots of these views again, as far as the policy has them; return what is other than before."""
        assert self.decision is not None
        views = sorted(filter(self._has, asked_for))
        built = self.builder.build_all(self.policy, self.decision, views, self.sites.addresses, unhealthy)
        if quarantine and not on_trial:
            for view, snapshot in built.items():
                quarantine.compare(view, snapshot)
        if quarantine:
            built = {view: quarantine.apply(view, snapshot) for view, snapshot in built.items()}
        before, self.snapshots = self.snapshots, built
        changed = {view: snapshot for view, snapshot in built.items() if not _same(before.get(view), snapshot)}
        for view, snapshot in changed.items():
            self._note_replaced(view, before.get(view), snapshot)
        return changed

    def _note_replaced(self, view: ViewKey, before: Snapshot | None, after: Snapshot) -> None:
        if before is None:
            return
        for type_url, now in after.resources.items():
            old = before.resources.get(type_url, {})
            for name, resource in now.items():
                known = old.get(name)
                if known is not resource and (known is None or known.version != resource.version):
                    self.replaced_by_key[view, resource.key] = known

    def _prior(self, base: Frame, verdicts: tuple[Verdict | None, ...]) -> Prior | None:
        if (found := self.priors.get(base.service.name)) is None:
            return None
        prior = carried(*found, base)
        return prior if prior.verdicts else replace(prior, verdicts=verdicts)


def _frames(policy: Policy, earlier: Track | None) -> dict[str, Frame]:
    """Return the frame of every service, the same object as before where nothing it rests on has changed."""
    kept = earlier.frames if earlier and earlier.policy.latency_ms == policy.latency_ms else {}
    return {
        name: old if (old := kept.get(name)) and old.service == service else frame(policy, service)
        for name, service in policy.services.items()
    }


def _same(before: Snapshot | None, after: Snapshot) -> bool:
    return before is not None and before.versions == after.versions
