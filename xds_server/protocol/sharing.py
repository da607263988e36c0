"""What the streams of one server share, so that a change costs one plan and one encoding and not one per client.

Plans, encoded responses and names are remembered under the values they were computed from; a miss only costs time.
Holdings are remembered by their wire version, so that a client that comes back with a version gets the difference, and
its old clusters stay until its routes have moved, even if the snapshot has changed meanwhile. Everything is bounded by
count and by bytes, and the least recently used goes first. What clients name counts, too, where it is not ours: names
that do not exist must not stay when who asked for them has left. Names themselves are shared as long as somebody asks
for them. Keeping the latest sets of names, by weight, was rejected: with more sets than fit, every client of a large
fleet would hold its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from xds_server.protocol.delta_plan import delta_plan
from xds_server.protocol.delta_wire import encode_delta_response
from xds_server.protocol.doubt import NO_DOUBTS, Doubts, renewed
from xds_server.protocol.events import MOST_NAME, Code, Identified, ProtocolError
from xds_server.protocol.holding import Holding, Offering, Shelf
from xds_server.protocol.plan import Around, Plan, Scene, complete, plan
from xds_server.protocol.recall import plain_digest, recall
from xds_server.protocol.subscription import Subscription
from xds_server.protocol.wire import encode_response
from xds_server.snapshot.resource import Snapshot

K = TypeVar("K")
V = TypeVar("V")

PLANS = 1_024
"""A change makes about one plan per view and type, and a few for clients that were in the middle of something."""

KEPT_BYTES = 24 * 1024 * 1024
"""Of encoded responses, and of resources that plans, shelves and holdings keep alive, each: enough for the changes that
are under way. What is forgotten is worked out again; what is kept would be a fleet's past in memory."""

OFFERINGS = 64
"""Snapshots looked at lately. Each keeps all of its resources alive."""

HOLDINGS = 512
"""Wire versions remembered for clients that come back: for 8 views and 4 types the last 16 changes."""

CLAIMED_BYTES = 64 * 1024 * 1024
"""Of what clients said they have, and of what those that left may have: 30 times 8,000 names."""

PER_NAME = 100
"""Bytes that a name takes besides itself."""

DOUBTS = 20_000
"""Clients remembered that left in the middle of something: as many as may be connected."""


class Recent(Generic[K, V]):
    """A mapping that forgets what was used longest ago, beyond `count` entries or `weight` in total."""

    def __init__(self, count: int, weight: int | None = None) -> None:
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._count = count
        self._weight = weight
        self._total = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value, if it is still known."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int = 0) -> V:
        """Remember a value, and return it."""
        _, replaced = self._entries.pop(key, (None, 0))
        self._entries[key] = (value, weight)
        self._total += weight - replaced
        while len(self._entries) > self._count or (self._weight is not None and self._total > self._weight):
            _, (_, forgotten) = self._entries.popitem(last=False)
            self._total -= forgotten
        return value


_Claim = tuple[Around, frozenset[tuple[str, str]], bool]


class Sharing:
    """One per server. Not for several threads."""

    def __init__(self, server: str = "") -> None:
        self._server = server
        self._offerings: Recent[int, Offering] = Recent(OFFERINGS)
        self._shelves: Recent[tuple[str, str, str], Shelf] = Recent(PLANS, KEPT_BYTES)
        self._plans: Recent[Scene, Plan] = Recent(PLANS, KEPT_BYTES)
        self._bodies: Recent[tuple[str, Plan], bytes] = Recent(PLANS, KEPT_BYTES)
        self._complete: Recent[Scene, Holding] = Recent(PLANS, KEPT_BYTES)
        self._holdings: Recent[tuple[str, str, str], Holding] = Recent(HOLDINGS, KEPT_BYTES)
        self._claims: Recent[_Claim, Holding] = Recent(PLANS, CLAIMED_BYTES)
        self._doubts: Recent[Identified, Doubts] = Recent(DOUBTS, CLAIMED_BYTES)
        self._names: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()

    def offering(self, snapshot: Snapshot) -> Offering:
        """Return the one offering of a snapshot object."""
        known = self._offerings.get(id(snapshot))
        if known is not None and known.snapshot is snapshot:
            return known
        shelves = {url: self._shelf(snapshot, url) for url in snapshot.versions}
        return self._offerings.put(id(snapshot), Offering(snapshot, shelves))

    def shelf(self, offering: Offering, type_url: str) -> Shelf:
        """Return what there is of a type."""
        return offering.shelves.get(type_url) or self._empty(type_url)

    def plan(self, scene: Scene) -> Plan:
        """Return what to send."""
        known = self._plans.get(scene)
        if known is not None:
            return known
        made = delta_plan(scene) if scene.delta else plan(scene)
        after = self._canonical(scene.type_url, made.after)
        quiet = scene.held.needs == after.needs == scene.last.needs
        names = self._one(frozenset(name for name, _ in made.changed))
        made = replace(made, after=after, quiet=quiet, names=names)
        return self._plans.put(scene, made, _weight(scene))

    def within(self, type_url: str, holding: Holding, subscription: Subscription) -> Holding:
        """Return what is left of a holding for a client with that subscription."""
        if subscription.wildcard or subscription.names.issuperset(holding.resources):
            return holding
        covered = Shelf(type_url, holding.resources).wanted(subscription)
        return self.without(type_url, holding, holding.resources.keys() - covered.keys())

    def without(self, type_url: str, holding: Holding, names: Set[str]) -> Holding:
        """Return the rest of a holding."""
        return self._canonical(type_url, holding.without(names)) if names & holding.resources.keys() else holding

    def body(self, type_url: str, planned: Plan) -> bytes:
        """Return the response of a plan, encoded, without a nonce."""
        key = (type_url, planned)
        known = self._bodies.get(key)
        if known is not None:
            return known
        body = encode_response(type_url, planned.after.version, planned.carried, self._server)
        return self._bodies.put(key, body, len(body))

    def delta_body(self, type_url: str, planned: Plan) -> bytes:
        """Return the delta response of a plan, encoded, without a nonce."""
        key = (type_url, planned)
        known = self._bodies.get(key)
        if known is not None:
            return known
        body = encode_delta_response(type_url, planned, self._server)
        return self._bodies.put(key, body, len(body))

    def recalled(self, around: Around, claim: frozenset[tuple[str, str]], *, doubted: bool) -> Holding:
        """Return what a client has that names these versions; if `doubted`, perhaps newer."""
        key = (around, claim, doubted)
        known = self._claims.get(key)
        if known is not None:
            return known
        type_url = around.shelf.type_url
        before = self._holdings.get((type_url, plain_digest(claim), around.shelf.label))
        made = recall(around, dict(claim), before, doubted=doubted)
        weight = _size(part for pair in claim for part in pair)
        return self._claims.put(key, self._canonical(type_url, made), weight)

    def claimed(self, scene: Scene, version: str) -> Holding | None:
        """Return what a client has that names this version as its own; None if that cannot be told."""
        everything = self._complete.get(scene)
        if everything is None:
            everything = self._canonical(scene.type_url, complete(scene))
            self._complete.put(scene, everything, _weight(scene))
        if everything.version == version:
            return everything
        return self._holdings.get((scene.type_url, version, ""))

    def doubt(self, node: Identified, doubts: Doubts) -> None:
        """Remember what a client's versions are worth when it comes back, of the types that a stream knows of."""
        before = self._doubts.get(node)
        after = renewed(before or NO_DOUBTS, doubts)
        if before or after:
            said = (node.node_id, node.cluster, node.region, node.zone, node.agent, node.version)
            self._doubts.put(node, after, _size(said) + sum(_size(doubt.names) for doubt in after.values()))

    def doubts(self, node: Identified | None) -> Doubts:
        """Return what speaks against a client's versions."""
        return NO_DOUBTS if node is None else self._doubts.get(node) or NO_DOUBTS

    def names(self, names: frozenset[str]) -> frozenset[str]:
        """Return an equal set that others may hold too. Raises ProtocolError if a name is too long."""
        one = self._one(names)
        if one is names and max(map(len, names), default=0) > MOST_NAME:
            raise ProtocolError(Code.INVALID_ARGUMENT, f"a resource name has more than {MOST_NAME} characters")
        return one

    def _one(self, names: frozenset[str]) -> frozenset[str]:
        """Return the one object for equal sets."""
        known = self._names.get(hash(names))
        if known == names:
            return known
        self._names[hash(names)] = names
        return names

    def _canonical(self, type_url: str, holding: Holding) -> Holding:
        """Return the one object for clients that got to the same state by different ways."""
        key = (type_url, holding.digest, holding.label)
        return self._holdings.get(key) or self._holdings.put(key, holding, holding.size)

    def _shelf(self, snapshot: Snapshot, type_url: str) -> Shelf:
        version = snapshot.versions[type_url]
        label = version if type_url in snapshot.labelled else ""
        made = Shelf(type_url, snapshot.resources.get(type_url, {}), label)
        key = (type_url, label, Holding(made.resources).digest if label else version)
        return self._shelves.get(key) or self._shelves.put(key, made, made.size)

    def _empty(self, type_url: str) -> Shelf:
        key = (type_url, "", "")
        return self._shelves.get(key) or self._shelves.put(key, Shelf(type_url))


def _weight(scene: Scene) -> int:
    """Return how many bytes a scene keeps alive: what there is of its type, and names that are not among that."""
    shelf = scene.around.shelf
    strange = (scene.subscription.names | scene.fresh) - shelf.resources.keys()
    return shelf.size + _size(strange)


def _size(names: Iterable[str]) -> int:
    return sum(name.__sizeof__() + PER_NAME for name in names)
