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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xds_server.protocol.events import Version
from xds_server.protocol.holding import NOTHING, Holding, Offering
from xds_server.protocol.rules import rule
from xds_server.protocol.subscription import Subscription
from xds_server.snapshot.resource import Resource, TypeUrl


class Scene(NamedTuple):
    """All that a plan depends on. Hashable, so that clients in the same situation share one plan.

    `fresh` are names to answer with even if unchanged; `answer` asks for a response even if it says nothing new.
    `sent_clusters` is what the client was last sent (for assignments), None if it takes no clusters here;
    `clusters_due` tells that newer ones wait behind it. `placed_clusters` and `placed_endpoints` are what it has
    accepted (for routes and listeners), None where nothing is gated on them. `users` are the routes and listeners it
    has or may have (for clusters); `returning` tells that it came back with clusters and has not said yet what it has
    of the other types.
    """

    offering: Offering
    type_url: str
    subscription: Subscription
    held: Holding = NOTHING
    fresh: frozenset[str] = frozenset()
    answer: bool = False
    refused: frozenset[Version] = frozenset()
    sent_clusters: Holding | None = None
    clusters_due: bool = False
    placed_clusters: Holding | None = None
    placed_endpoints: Holding | None = None
    users: tuple[Holding, ...] = ()
    returning: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """What to send, if `due`: `carried`, of which `changed` is new to the client; then it has `after`.

    `waiting` is where it then still differs from the snapshot: held back, or kept although it is gone.
    """

    after: Holding
    carried: tuple[Resource, ...]
    changed: tuple[Version, ...]
    waiting: frozenset[str]
    due: bool


def plan(scene: Scene) -> Plan:
    """Decide what to send."""
    wanted = scene.offering.wanted(scene.type_url, scene.subscription)
    changed: list[Resource] = []
    waiting: set[str] = set()
    for resource in wanted.values():
        if resource.name not in scene.fresh and scene.held.has(resource, under(scene, resource.name)):
            continue
        if _must_wait(scene, resource):
            waiting.add(resource.name)
        else:
            changed.append(resource)
    gone = scene.held.resources.keys() - wanted.keys()
    full = rule(scene.type_url).full_state
    kept = gone & _in_use(scene) if full and not scene.returning else gone
    after = _after(scene, wanted, waiting, kept)
    asked = scene.answer or bool(scene.fresh) or (scene.returning and bool(gone))
    due = bool(changed) or (full and (asked or gone != kept))
    return Plan(
        after=after,
        carried=tuple(after.resources.values()) if full else tuple(changed),
        changed=tuple(Version(r.name, r.version) for r in changed),
        waiting=frozenset(waiting | kept) if full else frozenset(waiting),
        due=due,
    )


def complete(scene: Scene) -> Holding:
    """Return what the client would hold if it had everything it asks for, gates apart: to compare with its claim."""
    wanted = scene.offering.wanted(scene.type_url, scene.subscription)
    return _holding(scene, wanted, {name: under(scene, name) for name in wanted})


def under(scene: Scene, name: str) -> str:
    """Return the version of the cluster that an assignment sent now is delivered for; empty for other types."""
    if scene.type_url != TypeUrl.ENDPOINT or scene.sent_clusters is None:
        return ""
    return scene.sent_clusters.parents.get(name, "")


def _must_wait(scene: Scene, resource: Resource) -> bool:
    if scene.refused and Version(resource.name, resource.version) in scene.refused:
        return True
    if scene.type_url == TypeUrl.ENDPOINT:
        return scene.clusters_due and under(scene, resource.name) != scene.offering.clusters.parents.get(
            resource.name, ""
        )
    if scene.type_url == TypeUrl.CLUSTER or scene.placed_clusters is None:
        return False
    clusters = (need.name for need in resource.needs if need.type_url == TypeUrl.CLUSTER)
    return not _in_place(clusters, scene.placed_clusters, scene.placed_endpoints)


def _in_place(names: Iterable[str], clusters: Holding, endpoints: Holding | None) -> bool:
    for name in names:
        cluster = clusters.resources.get(name)
        if cluster is None:
            return False
        if endpoints is None:
            continue
        if any(n.type_url == TypeUrl.ENDPOINT and n.name not in endpoints.resources for n in cluster.needs):
            return False
    return True


def _in_use(scene: Scene) -> frozenset[str]:
    if not scene.subscription.wildcard:
        return frozenset()
    return frozenset().union(*(user.needed_clusters for user in scene.users))


def _after(
    scene: Scene,
    wanted: Mapping[str, Resource],
    waiting: set[str],
    kept: set[str],
) -> Holding:
    if not waiting and not kept:
        return _holding(scene, wanted, {name: under(scene, name) for name in wanted})
    held = scene.held
    old = {name: held.resources[name] for name in (*kept, *waiting) if name in held.resources}
    resources = {**{name: r for name, r in wanted.items() if name not in waiting}, **old}
    unders = {name: held.under.get(name, "") if name in old else under(scene, name) for name in resources}
    return _holding(scene, {name: resources[name] for name in sorted(resources)}, unders)


def _holding(scene: Scene, resources: Mapping[str, Resource], unders: Mapping[str, str]) -> Holding:
    told = {name: version for name, version in unders.items() if version}
    return Holding(resources, told, scene.offering.label(scene.type_url))
