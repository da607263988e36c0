"""Who is connected: their streams, names and views, and how many Envoys a fleet has in a region."""

from __future__ import annotations

from collections.abc import Mapping, Set

from xds_server.decision.fleet_size import FleetSizes, Group
from xds_server.model import FleetSize, ViewKey
from xds_server.rollout.canary import Client
from xds_server.rollout.news import Joined
from xds_server.snapshot.kinds import GRPC


class Clientele:
    """The clients that are connected now. All but `of` costs the same however many there are."""

    def __init__(self) -> None:
        self._clients: dict[int, Client] = {}
        self._view_of: dict[int, ViewKey] = {}
        self._in_view: dict[ViewKey, int] = {}
        self._views: frozenset[ViewKey] = frozenset()
        self._sizes = FleetSizes()

    @property
    def views(self) -> frozenset[ViewKey]:
        """Return every view that a client has asked for so far: nobody pays for those that are not in use."""
        return self._views

    def joined(self, said: Joined) -> None:
        """Take in a client, or that one is seen as another now."""
        self.left(said.stream)
        self._clients[said.stream] = Client(said.stream, said.node_id, said.view.kind)
        self._view_of[said.stream] = said.view
        self._in_view[said.view] = self.count(said.view) + 1
        self._views |= {said.view}
        if said.view.kind != GRPC:
            self._sizes.joined(_group(said.view), said.node_id)

    def left(self, stream: int) -> None:
        """Take in that a client has gone, if it was there."""
        client, view = self._clients.pop(stream, None), self._view_of.pop(stream, None)
        if client is None or view is None:
            return
        self._in_view[view] -= 1
        if view.kind != GRPC:
            self._sizes.left(_group(view), client.node_id)

    def find(self, stream: int) -> tuple[Client, ViewKey] | None:
        """Return a client and its view; None if it is not connected."""
        client = self._clients.get(stream)
        return (client, self._view_of[stream]) if client is not None else None

    def count(self, view: ViewKey) -> int:
        """Return how many clients a view has."""
        return self._in_view.get(view, 0)

    def of(self, views: Set[ViewKey]) -> Mapping[int, Client]:
        """Return the clients of these views, by stream."""
        return {stream: client for stream, client in self._clients.items() if self._view_of[stream] in views}

    def settle(self, now: float) -> bool:
        """Bring the sizes of fleets up to date; True if one changed."""
        return self._sizes.settle(now)

    def sizes(self) -> tuple[FleetSize, ...]:
        """Return the sizes of fleets that are in force (decision/fleet_size.py)."""
        return self._sizes.sizes()

    def next_change(self) -> float | None:
        """Return when time alone may change a size; None if nothing waits."""
        return self._sizes.next_change()


def _group(view: ViewKey) -> Group:
    return view.fleet, view.region
