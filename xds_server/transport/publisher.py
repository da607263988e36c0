"""A broadcast with one slot per view: the latest snapshot, and nothing before it. Slow readers skip versions.

There is no queue to grow. Readers are told that something changed and fetch the latest when they are ready to send.

While a new policy is on trial, the streams of its cohort read from a second set of slots; the others notice nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

from xds_server.model import ViewKey
from xds_server.snapshot.resource import Key, Snapshot

KeptBack = tuple[ViewKey, Key, str]
"""A view, and a resource with its version that the view does not get."""


class Publisher:
    """Written by the control loop, read by every stream; all on one event loop."""

    def __init__(self) -> None:
        self.kept_back: Set[KeptBack] = frozenset()
        """What snapshots lack because a client rejected it: it is still to be had."""
        self._latest: dict[ViewKey, Snapshot] = {}
        self._listeners: set[Callable[[frozenset[ViewKey]], None]] = set()
        self._trial: Mapping[ViewKey, Snapshot] = {}
        self._cohort: frozenset[int] = frozenset()

    def publish(self, snapshots: Mapping[ViewKey, Snapshot]) -> None:
        """Replace the snapshots of these views; the others keep theirs."""
        changed = frozenset(view for view, snapshot in snapshots.items() if self._latest.get(view) is not snapshot)
        self._latest.update(snapshots)
        self._tell(changed)

    def withdraw(self, views: frozenset[ViewKey]) -> None:
        """Forget views that no longer exist. Their clients keep what they have until they are assigned anew."""
        for view in views:
            self._latest.pop(view, None)

    def trial(self, snapshots: Mapping[ViewKey, Snapshot], cohort: frozenset[int]) -> None:
        """Have the streams of a cohort, by number, read these snapshots; with nobody in it the trial is over."""
        if cohort == self._cohort and snapshots is self._trial:
            return
        changed = frozenset(snapshots) | frozenset(self._trial)
        self._trial, self._cohort = (snapshots, cohort) if cohort else ({}, cohort)
        self._tell(changed)

    def on_trial(self, stream: int) -> bool:
        """Return whether a stream belongs to the cohort of a trial."""
        return stream in self._cohort

    def latest(self, view: ViewKey, stream: int = 0) -> Snapshot | None:
        """Return the snapshot of a view, or None before the first; for a stream of the cohort, the one on trial."""
        if stream in self._cohort and view in self._trial:
            return self._trial[view]
        return self._latest.get(view)

    def views(self) -> frozenset[ViewKey]:
        """Return the views that have a snapshot."""
        return frozenset(self._latest)

    def listen(self, listener: Callable[[frozenset[ViewKey]], None]) -> Callable[[], None]:
        """Have `listener` called with the views that changed, each time; return what undoes it."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def _tell(self, changed: frozenset[ViewKey]) -> None:
        if not changed:
            return
        for listener in tuple(self._listeners):
            listener(changed)
