"""What to send one client of one type now: a pure function of what it asked for, what it has and what there is.

Make before break ("Eventual consistency considerations"), decided by content and not by phases:

- A resource is held back while a cluster it names is not in place with the client: accepted, and its assignment too.
  If all it names is in place it goes at once, whatever else is in flight or was rejected.
- A cluster that is no longer wanted is kept, as the client has it, while a route or listener of the client names it.
  To a client that comes back the first response keeps them all: its routes are only known when it answers that.
- An assignment waits if the cluster it belongs to has changed and that change could not be sent yet, because an older
  response is still unanswered: the endpoints of the new cluster must not reach the old one.

Gates hold only for a client that gets its clusters by wildcard, as Envoy does. One that asks for clusters by name
(gRPC) does so because of the routes it has received: holding those back would wait for ever, and it orders its own
switch.

Phases (all of CDS acknowledged, then all of EDS, …) were rejected: one rejected or slow cluster would hold up every
weight in the fleet.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from xds_server.protocol.events import Version
from xds_server.protocol.holding import MAYBE, NOTHING, UNKNOWN, Holding, Shelf
from xds_server.protocol.rules import rule
from xds_server.protocol.subscription import Subscription
from xds_server.snapshot.resource import Resource, TypeUrl


class Around(NamedTuple):
    """What one type depends on beside itself: the snapshot, and where the client is with other types.

    `clusters` is what the client has of them: for assignments what it was last sent, for others what it has accepted;
    None if it does not take them here, or by name, so that nothing is gated. `endpoints` likewise. `clusters_due` are
    the snapshot's, if they could not be sent yet. `leaving` are clusters that a response under way takes from it.
    `users` are the routes and listeners it has or may have.
    """

    shelf: Shelf
    clusters: Holding | None = None
    endpoints: Holding | None = None
    clusters_due: Shelf | None = None
    users: tuple[Holding, ...] = ()
    leaving: frozenset[str] = frozenset()


class Scene(NamedTuple):
    """All that a plan depends on. Hashable, so that clients in the same situation share one plan.

    `held` is what the client has accepted, `last` what it was last sent: another thing if it has rejected a full state,
    of which clients apply what is good. `fresh` are names to answer with even if unchanged; `answer` asks for a
    response even if it says nothing new. `returning` tells that the client came back with clusters and has not said yet
    what it has of the other types; `unsure` that it came back with something we do not know, so that leaving out a name
    may delete what it has.
    """

    around: Around
    subscription: Subscription
    held: Holding = NOTHING
    last: Holding = NOTHING
    fresh: frozenset[str] = frozenset()
    answer: bool = False
    returning: bool = False
    unsure: bool = False
    refused: frozenset[Version] = frozenset()
    delta: bool = False

    @property
    def type_url(self) -> str:
        """Return the type that the plan is for."""
        return self.around.shelf.type_url


@dataclass(frozen=True, eq=False)
class Plan:
    """What to send, if `due`: `carried`, of which `changed` is new to the client; then it has `after`.

    `waiting` is where it then still differs from the snapshot: held back, or kept although it is gone.

    `removed` goes with this response. In delta, `unresolved` are names of virtual hosts that nothing answers to, and
    `aliases` names asked for that a carried resource answers to without listing them (asked, resource).
    """

    after: Holding
    carried: tuple[Resource, ...]
    changed: tuple[Version, ...]
    waiting: frozenset[str]
    due: bool
    removed: frozenset[str] = frozenset()
    unresolved: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    quiet: bool = False
    """Whether the client refers to the same things before and after: a change of weights, say."""
    names: frozenset[str] = frozenset()
    """Those of `changed`: one object for all plans with the same names."""


def plan(scene: Scene) -> Plan:
    """Decide what to send."""
    wanted = scene.around.shelf.wanted(scene.subscription)
    changed, waiting = sorted_out(scene, wanted, scene.fresh)
    gone = scene.held.resources.keys() - wanted.keys()
    versions = tuple(Version(r.name, r.version) for r in changed)
    if not rule(scene.type_url).full_state:
        after = after_sending(scene, wanted, waiting, gone) if changed else scene.held
        return Plan(after, tuple(changed), versions, frozenset(waiting), due=bool(changed))
    kept = gone if scene.returning else gone & _in_use(scene)
    after = after_sending(scene, wanted, waiting, kept)
    asked = scene.answer or bool(scene.fresh) or (scene.returning and bool(gone))
    due = asked or after.digest != scene.last.digest
    carried = tuple(after.resources.values())
    return Plan(after, carried, versions, frozenset(waiting | kept), due, frozenset(gone - kept))


def sorted_out(scene: Scene, wanted: Mapping[str, Resource], asked: Set[str]) -> tuple[list[Resource], set[str]]:
    """Return what is new to the client or `asked` for anew, and the names of what is held back."""
    changed: list[Resource] = []
    waiting: set[str] = set()
    for resource in wanted.values():
        if resource.name not in asked and scene.held.has(resource, under(scene, resource.name)):
            continue
        if _must_wait(scene, resource):
            waiting.add(resource.name)
        else:
            changed.append(resource)
    return changed, waiting


def complete(scene: Scene) -> Holding:
    """Return what the client would hold if it had everything it asks for, gates apart: to compare with its claim."""
    wanted = scene.around.shelf.wanted(scene.subscription)
    return _holding(scene, wanted, {name: under(scene, name) for name in wanted})


def under(scene: Scene, name: str) -> str:
    """Return the version of the cluster that an assignment sent now is delivered for; empty for other types."""
    return under_now(scene.around, name)


def under_now(around: Around, name: str) -> str:
    """Return the same, by what an assignment depends on."""
    if around.clusters is None or around.shelf.type_url != TypeUrl.ENDPOINT:
        return ""
    return around.clusters.parents.get(name, "")


def _must_wait(scene: Scene, resource: Resource) -> bool:
    if scene.refused and Version(resource.name, resource.version) in scene.refused:
        return True
    around = scene.around
    if scene.type_url == TypeUrl.ENDPOINT:
        due = around.clusters_due
        return due is not None and due.whole.parents.get(resource.name, "") != under(scene, resource.name)
    if around.clusters is None:
        return False
    clusters = (need.name for need in resource.needs if need.type_url == TypeUrl.CLUSTER)
    return not all(_in_place(name, around.clusters, around) for name in clusters)


def _in_place(name: str, clusters: Holding, around: Around) -> bool:
    cluster = clusters.resources.get(name)
    if cluster is None or name in around.leaving or cluster.version == MAYBE:
        return False
    if around.endpoints is None:
        return True
    if cluster.needs == UNKNOWN:  # it came by another server; its assignment most likely has its name
        return name in around.endpoints.resources
    assignments = (need.name for need in cluster.needs if need.type_url == TypeUrl.ENDPOINT)
    return all(assignment in around.endpoints.resources for assignment in assignments)


def _in_use(scene: Scene) -> frozenset[str]:
    if not scene.subscription.wildcard:
        return frozenset()
    return frozenset().union(*(user.needed(TypeUrl.CLUSTER) for user in scene.around.users))


def after_sending(scene: Scene, wanted: Mapping[str, Resource], waiting: Set[str], kept: Set[str]) -> Holding:
    """Return what the client has after a response with all that is wanted and not waiting."""
    if not waiting and not kept:
        return _holding(scene, wanted, {name: under(scene, name) for name in wanted})
    held = scene.held
    old = {name: held.resources[name] for name in (*kept, *waiting) if name in held.resources}
    left_out = frozenset() if scene.unsure else waiting
    resources = {**{name: r for name, r in wanted.items() if name not in left_out}, **old}
    unders = {name: held.under.get(name, "") if name in old else under(scene, name) for name in resources}
    return _holding(scene, {name: resources[name] for name in sorted(resources)}, unders)


def _holding(scene: Scene, resources: Mapping[str, Resource], unders: Mapping[str, str]) -> Holding:
    told = {name: version for name, version in unders.items() if version}
    return Holding(resources, told, scene.around.shelf.label)
