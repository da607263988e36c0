"""A client that behaves as Envoy does, for the state machine: what it has, what it then asks for, what it rejects.

It takes messages in order and answers each. A version that starts with 9 is bad. As in Envoy a rejected set of clusters
or listeners is applied as far as it is good, removals included; a changed cluster warms until an assignment arrives
after it, and makes the client repeat its request for assignments before it acknowledges the clusters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeVar

from envoy.service.discovery.v3 import discovery_pb2

from tests.protocol.talk import LETTERS, TYPES, node
from xds_server.protocol.wire import Request

BAD = "9"


Q = TypeVar("Q")


class FakeEnvoy(ABC, Generic[Q]):
    """Its own state, and the requests on their way to the server."""

    def __init__(self) -> None:
        self.has: dict[str, dict[str, str]] = {letter: {} for letter in "CELR"}
        self.warm: set[str] = set()
        self.warming: set[str] = set()
        self.out: deque[Q] = deque()
        self.rejected = False
        self.fresh: set[tuple[str, str]] = set()

    @abstractmethod
    def connects(self) -> None:
        """Begin a new stream: every type is asked for at once, with what it has."""

    @abstractmethod
    def takes(self, data: bytes) -> None:
        """Process one response."""

    def learns(self, data: bytes) -> bool:
        """Return whether a response says anything, be it nothing new."""
        return True

    def accepted(self, cluster: str) -> bool:
        """Return whether the server can know of a cluster that is there, from what was accepted."""
        return True

    def mistaken(self, letter: str) -> frozenset[str]:
        """Return the names that it says it has, and has not."""
        return frozenset()

    @abstractmethod
    def _request(self, letter: str, error: str | None = None) -> None:
        """Say which names it wants now."""

    def names(self, letter: str) -> frozenset[str]:
        """Return what it asks for: the assignments of its clusters, the routes of its listeners."""
        if letter == "E":
            return frozenset(self.has["C"])
        if letter == "R":
            return frozenset(version.split(":")[1] for version in self.has["L"].values())
        return frozenset()

    def _clusters(self, came: dict[str, str]) -> None:
        had = self.has["C"]
        good = {name: version for name, version in came.items() if not version.startswith(BAD)}
        kept = {name: had[name] for name in came if name not in good and name in had}
        self.has["C"] = good | kept
        changed = {name for name in good if had.get(name) != good[name]}
        self.warming = (self.warming | changed) & self.has["C"].keys()
        gone = had.keys() - self.has["C"].keys()
        self.warm -= gone
        for name in gone:
            self.has["E"].pop(name, None)
        self.fresh |= {("E", name) for name in changed}
        if changed or gone:
            self._request("E")

    def _endpoints(self, came: dict[str, str]) -> None:
        for name, version in sorted(came.items()):
            if version.startswith(BAD):
                return
            self._new("E", name, version)
            if name in self.has["C"]:
                self.has["E"][name] = version
                self.warm.add(name)
                self.warming.discard(name)

    def _listeners(self, came: dict[str, str]) -> None:
        before = self.names("R")
        good = {name: version for name, version in came.items() if not version.startswith(BAD)}
        self.has["L"] = good | {name: v for name, v in self.has["L"].items() if name in came and name not in good}
        after = self.names("R")
        self.has["R"] = {name: version for name, version in self.has["R"].items() if name in after}
        self.fresh |= {("R", name) for name in after - before}
        if before != after:
            self._request("R")

    def _routes(self, came: dict[str, str]) -> None:
        for name, version in sorted(came.items()):
            if version.startswith(BAD):
                return
            self._new("R", name, version)
            if name in self.names("R"):
                self.has["R"][name] = version

    def _new(self, letter: str, name: str, version: str) -> None:
        """Nothing comes twice, except what was asked for anew, or after a rejection."""
        asked = (letter, name) in self.fresh
        assert asked or self.rejected or self.has[letter].get(name) != version, f"{letter} {name}={version} came twice"
        self.fresh.discard((letter, name))


class FakeSotwEnvoy(FakeEnvoy[Request]):
    """It states all its names each time."""

    def __init__(self) -> None:
        super().__init__()
        self.versions = dict.fromkeys("CELR", "")
        self.nonces = dict.fromkeys("CELR", "")
        self.agreed: frozenset[str] = frozenset()

    def accepted(self, cluster: str) -> bool:
        """Return whether the cluster was in the last set that was accepted: parts of a rejected one stay, too."""
        return cluster in self.agreed

    def connects(self) -> None:
        """Begin a new stream: every type is asked for at once, with the version it has."""
        self.out.clear()
        self.nonces = dict.fromkeys("CELR", "")
        self.fresh = {(letter, name) for letter in "CELR" for name in self.names(letter)}
        for letter in "CELR":
            self._request(letter)

    def takes(self, data: bytes) -> None:
        """Process one response."""
        message = discovery_pb2.DiscoveryResponse.FromString(data)
        letter = LETTERS[message.type_url]
        came = dict(resource.value.decode().split("=") for resource in message.resources)
        bad = sorted(name for name, version in came.items() if version.startswith(BAD))
        {"C": self._clusters, "E": self._endpoints, "L": self._listeners, "R": self._routes}[letter](came)
        self.nonces[letter] = message.nonce
        if not bad:
            self.versions[letter] = message.version_info
            self.agreed = frozenset(came) if letter == "C" else self.agreed
        self.rejected |= bool(bad)
        self._request(letter, f"bad: {bad}" if bad else None)

    def _request(self, letter: str, error: str | None = None) -> None:
        asked = Request(TYPES[letter], self.names(letter), self.versions[letter], self.nonces[letter], error, node())
        self.out.append(asked)
