"""An Envoy and a server that talk at random, and what must hold whatever happens.

The oracle is dumb on purpose: at every moment each route the client has names only clusters that are there with their
endpoints; nothing comes twice; and when all is quiet the client has exactly the snapshot, apart from what is bad.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tests.protocol.fake_delta_envoy import FakeDeltaEnvoy
from tests.protocol.fake_envoy import BAD, FakeEnvoy, FakeSotwEnvoy
from tests.protocol.talk import LETTERS, TYPES, world
from xds_server.protocol.conversation import Conversation
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.sotw import SotwStream


def needs_of(route_version: str) -> list[str]:
    return [name for name in route_version.split(":")[1].split("+") if name]


class Talk:
    """An Envoy and a server, and what is on the wire between them. The public methods are the moves."""

    envoy_type: type[FakeEnvoy[Any]]
    stream_type: type[Conversation[Any, Any]]

    def __init__(self) -> None:
        self.snapshot = world()
        self.sharing = Sharing()
        self.down: deque[bytes] = deque()
        self.envoy = self.envoy_type()
        self.blind = False
        self.broken = False
        self.forgotten = False
        self._connect()

    def _connect(self) -> None:
        self.stream = self.stream_type(self.sharing)
        self.down.clear()
        self.envoy.connects()

    def publish(self, lines: list[str]) -> None:
        self.snapshot = world(*lines)

    def publish_and_send(self, lines: list[str]) -> None:
        self.publish(lines)
        self.server_sends()

    def server_sends(self) -> None:
        if self.stream.status():
            self.down.extend(response.encode() for response in self.stream.offer(self.snapshot))

    def envoy_takes_one(self) -> None:
        if self.down:
            self.envoy.takes(self.down.popleft())

    def server_hears_one(self) -> None:
        if self.envoy.out:
            self.stream.receive(self.envoy.out.popleft())

    def stream_breaks(self) -> None:
        self.broken = True
        self.stream.end()
        self._connect()

    def stream_breaks_in_peace(self) -> None:
        """Where nothing is bad or owed, a client that comes back is sent nothing."""
        self.all_is_said()
        self.stream_breaks()
        while self.envoy.out:
            self.server_hears_one()
        self.server_sends()
        assert self._any_bad() or self.envoy.rejected or self._owed() or not any(map(self.envoy.learns, self.down))

    def all_is_said(self) -> None:
        while self.envoy.out or self.down:
            self._exchange()
        self._compare()

    def server_restarts_when_all_is_said(self) -> None:
        """A new server knows nothing of what clients have: it must find that out before anything else changes.

        It cannot where something is bad: what the client has instead is known to the client alone, and what that
        might need is kept (delta) or not (SotW) until the bad one is mended. What a delta client took of a rejected
        response it cannot name, so a new server cannot remove it: in SotW the next full state does. Nor does a new
        server see through what such a client names and has lost.
        """
        self.all_is_said()
        self.blind = self._any_bad()
        self.forgotten |= self.blind and self.stream_type is DeltaStream
        self.sharing = Sharing()
        self._connect()
        self.all_is_said()

    def no_route_without_its_clusters(self) -> None:
        for route in self.envoy.has["R"].values():
            for cluster in () if self.blind else needs_of(route):
                assert cluster in self.envoy.warm, f"route {route} without {cluster}"

    def _exchange(self) -> None:
        while self.envoy.out:
            self.stream.receive(self.envoy.out.popleft())
            self.server_sends()
        while self.down:
            self.envoy.takes(self.down.popleft())
            self.no_route_without_its_clusters()
            self.server_sends()

    def _compare(self) -> None:
        self.server_sends()
        while self.envoy.out or self.down:
            self._exchange()
        good = {letter: self._good(letter) for letter in "CEL"}
        for letter in "CEL":
            has, unclear = self.envoy.has[letter], self.envoy.mistaken(letter) if self.forgotten else ()
            due = {name: version for name, version in good[letter].items() if name not in unclear}
            assert {name: has.get(name) for name in due} == due, letter
        routes = self._good("R")
        for name, version in routes.items():
            if not self.blind and all(self._in_place(cluster) for cluster in needs_of(version)):
                assert self.envoy.has["R"].get(name) == version
        kept = self.forgotten or (self.broken and self._any_bad())  # what the bad one's old content needs is kept
        assert kept or self._left_over() == set()
        assert not self.envoy.warming & good["E"].keys()
        if not self._any_bad():
            self.blind = False
            assert {LETTERS[s.type_url]: s.synced for s in self.stream.status() if s.resources} == {
                LETTERS[s.type_url]: self.snapshot.versions[s.type_url] for s in self.stream.status() if s.resources
            }

    def _in_place(self, cluster: str) -> bool:
        """Return whether a route may go there; what was dropped or taken in part must be there to be sent again."""
        there = cluster in self.envoy.warm and self.envoy.accepted(cluster)
        return there and (not (self.broken or self.envoy.rejected) or cluster in self._good("E"))

    def _good(self, letter: str) -> dict[str, str]:
        """What a client must have: all that is not bad of what it gets."""
        offered = self.snapshot.resources.get(TYPES[letter], {})
        asked = offered if letter in "CL" else self.envoy.names(letter)
        return {n: offered[n].version for n in asked if n in offered and not offered[n].version.startswith(BAD)}

    def _left_over(self) -> set[str]:
        """Clusters and listeners that should be gone: not in the snapshot, and not named by a route that stays."""
        named = {cluster for route in self.envoy.has["R"].values() for cluster in needs_of(route)}
        clusters = self.envoy.has["C"].keys() - self.snapshot.resources.get(TYPES["C"], {}).keys() - named
        return clusters | (self.envoy.has["L"].keys() - self.snapshot.resources.get(TYPES["L"], {}).keys())

    def _owed(self) -> bool:
        """Return whether something is asked for that does not exist, or is kept although it is gone."""
        return any(status.waiting for status in self.stream.status()) or any(
            name not in self.snapshot.resources.get(TYPES[letter], {})
            for letter in "CELR"
            for name in (*self.envoy.names(letter), *self.envoy.has[letter])
        )

    def _any_bad(self) -> bool:
        return any(r.version.startswith(BAD) for by_name in self.snapshot.resources.values() for r in by_name.values())


class SotwTalk(Talk):
    envoy_type = FakeSotwEnvoy
    stream_type = SotwStream


class DeltaTalk(Talk):
    envoy_type = FakeDeltaEnvoy
    stream_type = DeltaStream
