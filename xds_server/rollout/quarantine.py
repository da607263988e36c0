"""Resources that Envoys rejected, kept back at their last good content while everything else flows.

A stream finds out by itself which resource of a rejected response is the bad one (protocol/refusals.py) and does not
send it to its client again. That is one client's experience; here it becomes the fleet's: content that clients of a
view proved bad (dissent.py says when) is not sent to the others of that view either. They get what the view had before
it, or nothing if it is new. Other views are not touched: another kind of client, or another address to listen on, may
well accept it.

New content under the same name is new, and tried; then nothing is kept back any more, but what was rejected is still
known, should the policy come back to it. An operator may order a retry: then everything is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xds_server.model import ViewKey
from xds_server.snapshot.resource import Key, Resource, Snapshot

MOST_KEPT = 1_000
"""Entries; beyond that the oldest is forgotten, and tried once more."""


class Held(NamedTuple):
    """What is kept back, from whom it was learned, what Envoy said."""

    view: ViewKey
    key: Key
    version: str
    node_id: str
    error: str


class Quarantine:
    """What is kept back now. Owned by the controller."""

    def __init__(self) -> None:
        self._held: dict[tuple[ViewKey, Key, str], Held] = {}
        self._good: dict[tuple[ViewKey, Key], Resource] = {}
        self._moot: frozenset[tuple[ViewKey, Key, str]] = frozenset()

    def __bool__(self) -> bool:
        return bool(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def entries(self) -> tuple[Held, ...]:
        """Return everything that is kept back now, oldest first; not what nobody would be sent anyway."""
        return tuple(held for place, held in self._held.items() if place not in self._moot)

    def add(self, held: Held, before: Resource | None) -> bool:
        """Keep a resource back; `before` is what the view had under that name. False if it is known already."""
        place = (held.view, held.key, held.version)
        if place in self._held:
            return False
        self._held[place] = held
        self._moot -= {place}
        if len(self._held) > MOST_KEPT:
            del self._held[next(iter(self._held))]
        if before is not None and before.version != held.version:
            self._good[held.view, held.key] = before
        return True

    def knows(self, held: Held) -> bool:
        """Return whether a resource is kept back already, or was and nobody would be sent it now."""
        return (held.view, held.key, held.version) in self._held

    def forget(self) -> int:
        """Let everything be tried again; return how much that is."""
        count = len(self._held)
        self._held.clear()
        self._good.clear()
        self._moot = frozenset()
        return count

    def compare(self, view: ViewKey, snapshot: Snapshot) -> None:
        """Note which of what this view's clients rejected they would be sent, if it were not kept back."""
        mine = {place for place in self._held if place[0] == view}
        self._moot = (self._moot - mine) | {place for place in mine if not _is(snapshot.get(place[1]), place[2])}

    def apply(self, view: ViewKey, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with last good content in place of what is kept back from this view.

        If that would leave a reference without its target, the resource goes out as it is: streams that rejected it do
        not get it again, and the others may know better.
        """
        bad = [key for (of, key, version) in self._held if of == view and _is(snapshot.get(key), version)]
        if not bad:
            return snapshot
        kept = {key: resource for key, resource in _all(snapshot).items() if key not in bad}
        kept |= {key: good for key in bad if (good := self._good.get((view, key))) is not None}
        cleaned = Snapshot.of(kept.values())
        return snapshot if cleaned.missing() else cleaned


def _is(resource: Resource | None, version: str) -> bool:
    return resource is not None and resource.version == version


def _all(snapshot: Snapshot) -> Mapping[Key, Resource]:
    return {resource.key: resource for by_name in snapshot.resources.values() for resource in by_name.values()}
