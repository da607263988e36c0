"""What to send one delta client of one type now: the same gates as in `plan.py`, and removals by name.

Rules, with their sections of Envoy's `xds_protocol` page:

- A response carries what is new to the client and nothing else ("Grouping Resources into Responses"), for listeners and
  clusters too; what is gone is named in `removed_resources` ("Deleting Resources").
- A name that was asked for and does not exist is told as removed ("Knowing When a Requested Resource Does Not Exist"
  under "Incremental xDS"), once; it is sent when it appears. One that exists and is only held back is not.
- Removals come last ("Eventual consistency considerations"): a resource is kept while anything that the client has
  names it. Absence cannot delete by accident here, so unlike in SotW this holds for every type.
- A client that comes back names what it has, and the server may have forgotten what those resources need. Clusters that
  are gone are kept until the client has spoken of its routes; the first response, empty if need be, makes it speak.
- An answer to `*` is due even if there is nothing: a client that starts waits for it.
- The virtual hosts of one route configuration move together: as long as one of them waits for a cluster, all changes
  wait. A host that moves from one service to another would otherwise be in neither for a moment, or in both, which
  Envoy rejects; together they do what one route configuration does. What the client has rejected holds up nobody.
- A virtual host that nobody knows is answered by its name without content ("Virtual Host Discovery Service"): the
  request that waits for it must be told, and a removal does not tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from xds_server.protocol.events import Version
from xds_server.protocol.holding import Shelf
from xds_server.protocol.plan import Plan, Scene, after_sending, sorted_out
from xds_server.protocol.rules import WILDCARD
from xds_server.protocol.subscription import Subscription
from xds_server.snapshot.resource import Resource, TypeUrl


def delta_plan(scene: Scene) -> Plan:
    """Decide what to send."""
    shelf = scene.around.shelf
    wanted = shelf.wanted(scene.subscription)
    asked = _resolved(shelf, scene.fresh)
    changed, waiting = sorted_out(scene, wanted, asked)
    gone = (scene.held.resources.keys() | asked) - wanted.keys() - {WILDCARD}
    kept = _kept(scene, gone & scene.held.resources.keys())
    if scene.type_url == TypeUrl.VIRTUAL_HOST and waiting:
        held_up = _held_up(scene, wanted, waiting)
        waiting |= {resource.name for resource in changed if _configuration(resource.name) in held_up}
        changed = [resource for resource in changed if resource.name not in waiting]
        kept |= {name for name in gone & scene.held.resources.keys() if _configuration(name) in held_up}
    lost = gone - kept
    unresolved = lost - scene.held.resources.keys() if scene.type_url == TypeUrl.VIRTUAL_HOST else frozenset[str]()
    removed = lost - unresolved
    return Plan(
        after=after_sending(scene, wanted, waiting, kept) if changed or lost else scene.held,
        carried=tuple(changed),
        changed=tuple(Version(r.name, r.version) for r in changed),
        waiting=frozenset(waiting | kept),
        due=bool(changed or lost) or WILDCARD in asked or (_keeps_all(scene) and bool(gone)),
        removed=frozenset(removed),
        unresolved=tuple(sorted(unresolved)),
        aliases=_aliases(shelf, scene.subscription, changed),
    )


def _held_up(scene: Scene, wanted: Mapping[str, Resource], waiting: Set[str]) -> frozenset[str]:
    """Return the route configurations that have a virtual host which waits for its clusters."""
    good = (name for name in waiting if Version(name, wanted[name].version) not in scene.refused)
    return frozenset(map(_configuration, good))


def _configuration(virtual_host: str) -> str:
    """Return the route configuration that a virtual host belongs to ("VHDS", naming convention)."""
    return virtual_host.rpartition("/")[0]


def _resolved(shelf: Shelf, names: frozenset[str]) -> frozenset[str]:
    """Return names with aliases replaced by what they stand for."""
    return frozenset(shelf.find(name) or name for name in names) if shelf.aliases else names


def _aliases(shelf: Shelf, subscription: Subscription, changed: list[Resource]) -> tuple[tuple[str, str], ...]:
    """Return the names asked for that a carried resource answers to without listing them."""
    if not shelf.aliases:
        return ()
    carried = {resource.name for resource in changed}
    strange = sorted(subscription.names - shelf.resources.keys() - shelf.aliases.keys())
    return tuple((name, found) for name in strange if (found := shelf.find(name)) in carried and found is not None)


def _keeps_all(scene: Scene) -> bool:
    return scene.returning and scene.type_url == TypeUrl.CLUSTER and scene.subscription.wildcard


def _kept(scene: Scene, gone: Set[str]) -> frozenset[str]:
    if not gone or (scene.type_url == TypeUrl.CLUSTER and not scene.subscription.wildcard):
        return frozenset()
    needed = frozenset[str]().union(*(user.needed(scene.type_url) for user in scene.around.users))
    return frozenset(gone) if _keeps_all(scene) or WILDCARD in needed else needed & gone
