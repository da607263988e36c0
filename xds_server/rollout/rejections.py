"""What becomes of what a client rejects outside of a trial: kept back from its view, or upheld, and said either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xds_server.model import Event, ViewKey
from xds_server.rollout.dissent import Dissent, Judged
from xds_server.rollout.news import Accepted
from xds_server.rollout.quarantine import Held, Quarantine
from xds_server.rollout.track import Track

InView = Callable[[ViewKey], int]
"""How many clients a view has."""


class Rejections:
    """What is kept back now, and what is yet to be judged. Owned by the controller."""

    def __init__(self) -> None:
        self.quarantine = Quarantine()
        self.dissent = Dissent()

    def forget(self) -> int:
        """Let everything be tried again; return how much of it was kept back."""
        self.dissent.forget()
        return self.quarantine.forget()

    def heard(self, stream: int, held: Held, track: Track, in_view: InView, now: float) -> list[Event]:
        """Take in that a client rejects what the policy in force has for its view; return what is to be told."""
        if self.quarantine.knows(held) or not self.dissent.heard(stream, held, in_view(held.view), now):
            return []
        return self._settle(Judged(held, upheld=False), track, now)

    def judge(self, counts: Iterable[Accepted], track: Track, in_view: InView, now: float) -> list[Event]:
        """Take in what other clients have accepted; return what is to be told."""
        judged = self.dissent.judge(counts, in_view, now)
        return [event for each in judged for event in self._settle(each, track, now)]

    def _settle(self, judged: Judged, track: Track, now: float) -> list[Event]:
        """Keep back what clients proved bad, or say that it stays; nothing if nobody is to have it any more."""
        view, key, version, node_id, error = judged.held
        standing = track.snapshots.get(view)
        found = standing.get(key) if standing is not None else None
        if found is None or found.version != version:
            return []
        where, fields = "/".join(view), (("name", key.name), ("client", node_id))
        if judged.upheld:
            among = "alone" if judged.rejecting == 1 else f"and {judged.rejecting - 1} more"
            taken = f"{key.name} stays in force in {where}, where {judged.accepting} clients have accepted it"
            words = f"{taken}: {node_id} {among} rejected it: {error}"
            return [Event("resource.upheld", now, words, "warning", fields)]
        if not self.quarantine.add(judged.held, track.replaced(view, key)):
            return []
        words = f"{key.name} is kept back from {where}: {node_id} rejected it: {error}"
        return [Event("resource.quarantined", now, words, "alarm", fields)]
