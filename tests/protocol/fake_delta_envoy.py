"""The same client over delta: names come and go one by one, and what it says it has is what it has accepted.

As in Envoy a rejected response is applied as far as it is good, and none of its versions count as had; a removal of an
assignment or a route is noted and changes nothing; a changed cluster warms without asking for its assignment again.
"""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2

from tests.protocol.fake_envoy import BAD, FakeEnvoy
from tests.protocol.talk import LETTERS, TYPES, node
from xds_server.protocol.delta_wire import DeltaRequest


class FakeDeltaEnvoy(FakeEnvoy[DeltaRequest]):
    """Its own state, and the requests on their way to the server."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, dict[str, str]] = {letter: {} for letter in "CELR"}
        self.subscribed: dict[str, frozenset[str]] = {}

    def connects(self) -> None:
        """Begin a new stream: every type is asked for at once, with the versions it has."""
        self.out.clear()
        self.fresh = {(letter, name) for letter in "CELR" for name in (*self.names(letter), *self.has[letter])}
        for letter in "CELR":
            names = self.subscribed[letter] = self.names(letter)
            had = {n: v for n, v in self.told[letter].items() if letter in "CL" or n in names}
            self.out.append(DeltaRequest(TYPES[letter], names, versions=frozenset(had.items()), node=node()))

    def takes(self, data: bytes) -> None:
        """Process one response."""
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        letter = LETTERS[message.type_url]
        came = {resource.name: resource.resource.value.decode().split("=")[1] for resource in message.resources}
        gone = set(message.removed_resources)
        assert not gone & came.keys()
        bad = sorted(name for name, version in came.items() if version.startswith(BAD))
        if letter in "CL":
            self._take_whole(letter, came, gone)
        else:
            {"E": self._endpoints, "R": self._routes}[letter](came)
        if not bad:
            self.told[letter] |= {resource.name: resource.version for resource in message.resources}
            self.told[letter] = {name: v for name, v in self.told[letter].items() if name not in gone}
        self.rejected |= bool(bad)
        self._answer(letter, message.nonce, f"bad: {bad}" if bad else None)

    def learns(self, data: bytes) -> bool:
        """Return whether a response says anything: one that has nothing yet is told that there is nothing."""
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        return bool(message.resources or message.removed_resources)

    def accepted(self, cluster: str) -> bool:
        """Return whether the cluster came in a response that was accepted: parts of a rejected one stay, too."""
        return cluster in self.told["C"]

    def mistaken(self, letter: str) -> frozenset[str]:
        """Return what was removed by a response that it rejected: removals are applied, and versions stay."""
        return frozenset(self.told[letter].keys() - self.has[letter].keys())

    def _take_whole(self, letter: str, came: dict[str, str], gone: set[str]) -> None:
        """Take clusters or listeners in the form of a full state: what stays, what is new, and not what is gone."""
        for name, version in came.items():
            self._new(letter, name, version)
        stays = {name: version for name, version in self.has[letter].items() if name not in gone}
        (self._clusters if letter == "C" else self._listeners)(stays | came)

    def _request(self, letter: str, error: str | None = None) -> None:
        names, before = self.names(letter), self.subscribed[letter]
        self.subscribed[letter] = names
        for name in before - names:
            self.told[letter].pop(name, None)
        if names != before:
            self.out.append(DeltaRequest(TYPES[letter], names - before, before - names))

    def _answer(self, letter: str, nonce: str, error: str | None) -> None:
        self.out.append(DeltaRequest(TYPES[letter], nonce=nonce, error=error))
