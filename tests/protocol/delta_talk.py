"""A delta conversation that reads like one, with the worlds of `talk.py`.

What a peer is sent reads `C 1: a=1 b=1 -c`: type, nonce, resources, removed names; `?x` is a name nothing answers to.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.service.discovery.v3 import discovery_pb2

from tests.protocol.talk import LETTERS, TYPES, Answered, node
from xds_server.protocol.conversation import Limits
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.delta_wire import DeltaRequest
from xds_server.protocol.events import Event, Identified
from xds_server.protocol.sharing import Sharing
from xds_server.snapshot.resource import Snapshot


class DeltaPeer:
    """A client of one stream. It remembers what it was sent, as Envoy does: versions by name, of what it accepted."""

    def __init__(self, sharing: Sharing | None = None, limits: Limits | None = None) -> None:
        self.stream = DeltaStream(sharing or Sharing(), limits)
        self._node: Identified | None = node()
        self._last: dict[str, discovery_pb2.DeltaDiscoveryResponse] = {}
        self.names: dict[str, set[str]] = {}
        self.versions: dict[str, dict[str, str]] = {}

    def asks(
        self, letter: str, *names: str, drops: str = "", has: Mapping[str, str] | None = None, nonce: str = ""
    ) -> list[Event]:
        """Send a request that is no answer: names added and dropped; in the first of its type, versions it has."""
        removed = frozenset(drops.split())
        self.names.setdefault(letter, set()).update(names)
        self.names[letter] -= removed
        return self._send(letter, frozenset(names), removed, frozenset((has or {}).items()), nonce)

    def sees(self, snapshot: Snapshot) -> list[str]:
        """Be offered a snapshot, and say what came."""
        messages = [
            discovery_pb2.DeltaDiscoveryResponse.FromString(response.encode())
            for response in self.stream.offer(snapshot)
        ]
        self._last |= {LETTERS[message.type_url]: message for message in messages}
        return [str(said(message)) for message in messages]

    def acks(self, letter: str, *names: str) -> list[Event]:
        """Accept the last response of a type, perhaps with more names."""
        last, has = self._last[letter], self.versions.setdefault(letter, {})
        has |= {resource.name: resource.version for resource in last.resources}
        for name in last.removed_resources:
            has.pop(name, None)
        return self.asks(letter, *names, nonce=last.nonce)

    def nacks(self, letter: str, error: str = "bad") -> list[Event]:
        """Reject the last response of a type."""
        return self._send(letter, frozenset(), frozenset(), frozenset(), self._last[letter].nonce, error)

    def settles(self, snapshot: Snapshot) -> list[str]:
        """Accept everything until nothing more comes; say all that came."""
        heard = []
        while came := self.sees(snapshot):
            heard += came
            for answer in came:
                self.acks(answer[0])
        return heard

    def comes_back(self, sharing: Sharing | None = None) -> DeltaPeer:
        """Return the same client on a new stream, which has said what it has."""
        again = DeltaPeer(sharing)
        for letter, names in self.names.items():
            again.asks(letter, *names, has=self.versions.get(letter))
        return again

    def synced(self, letter: str) -> str:
        """Return the snapshot's version that the client is said to be in sync with."""
        return next(status.synced for status in self.stream.status() if status.type_url == TYPES[letter])

    def waiting(self, letter: str) -> set[str]:
        """Return the names that are held back."""
        return set(next(status.waiting for status in self.stream.status() if status.type_url == TYPES[letter]))

    def _send(
        self,
        letter: str,
        added: frozenset[str],
        removed: frozenset[str],
        versions: frozenset[tuple[str, str]],
        nonce: str,
        error: str | None = None,
    ) -> list[Event]:
        request = DeltaRequest(TYPES[letter], added, removed, versions, nonce, error, self._node)
        self._node = None
        return list(self.stream.receive(request))


def said(message: discovery_pb2.DeltaDiscoveryResponse) -> Answered:
    """Read a response as a client does."""
    names = [resource.name for resource in message.resources] + list(message.removed_resources)
    assert len(names) == len(set(names)), "a name twice in one response"
    words = []
    for resource in message.resources:
        if resource.HasField("resource"):
            assert resource.resource.type_url == message.type_url
            words.append(resource.resource.value.decode())
        else:
            assert list(resource.aliases) == [resource.name]
            words.append(f"?{resource.name}")
    words = sorted(words) + [f"-{name}" for name in message.removed_resources]
    return Answered(LETTERS[message.type_url], message.nonce, message.system_version_info, " ".join(words))


def delta_envoy_on(snapshot: Snapshot, clusters: str, sharing: Sharing | None = None) -> DeltaPeer:
    """Return an Envoy that has all of a snapshot, with one listener `l`, route `r`, and these clusters."""
    peer = DeltaPeer(sharing)
    peer.asks("C")
    peer.asks("E", *clusters.split())
    peer.asks("L")
    peer.asks("R", "r")
    peer.settles(snapshot)
    return peer
