"""A conversation that reads like one: `Peer` speaks for a client, `world` writes a snapshot in a few words.

    world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a")

is a snapshot with a cluster `a`, its assignment, a listener and a route configuration; versions after `=`, what it
needs after `>`, its aliases after `@`. A cluster needs the assignment of its name. What a peer is sent reads
`C 1: a=1 b=1`: type, nonce, resources.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2

from xds_server.protocol.conversation import Limits
from xds_server.protocol.events import Event, Identified
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.wire import Request
from xds_server.snapshot.resource import Key, Resource, Snapshot, TypeUrl

TYPES = {
    "C": TypeUrl.CLUSTER,
    "E": TypeUrl.ENDPOINT,
    "L": TypeUrl.LISTENER,
    "R": TypeUrl.ROUTE,
    "T": TypeUrl.RUNTIME,
    "V": TypeUrl.VIRTUAL_HOST,
    "S": TypeUrl.SECRET,
    "P": TypeUrl.SCOPED_ROUTE,
    "X": TypeUrl.EXTENSION,
}
LETTERS = {url: letter for letter, url in TYPES.items()}


def world(*lines: str, **versions: str) -> Snapshot:
    """Return a snapshot; `versions` are the caller's own, by letter."""
    given = {TYPES[letter]: version for letter, version in versions.items()}
    return Snapshot.of((_resource(line) for line in lines), given)


def _resource(line: str) -> Resource:
    line, _, aliases = line.partition(" @ ")
    what, _, needs = line.partition(" > ")
    letter, named = what.split()
    name, _, version = named.partition("=")
    keys = [Key(TYPES[need[0]], need[2:]) for need in needs.split()]
    if letter == "C":
        keys.append(Key(TypeUrl.ENDPOINT, name))
    return Resource(TYPES[letter], name, version, f"{name}={version}".encode(), tuple(keys), tuple(aliases.split()))


@dataclass
class Answered:
    """One response as the client decoded it."""

    letter: str
    nonce: str
    version: str
    said: str

    def __str__(self) -> str:
        return f"{self.letter} {self.nonce}: {self.said}".rstrip()


def node(agent: str = "envoy") -> Identified:
    return Identified("n1", "web", "us-east-1", "", agent, "1.40.0")


class Peer:
    """A client of one stream. It remembers the names it asked for and the last response of each type."""

    def __init__(self, agent: str = "envoy", sharing: Sharing | None = None, limits: Limits | None = None) -> None:
        self.stream = SotwStream(sharing or Sharing(), limits)
        self._node: Identified | None = node(agent)
        self._names: dict[str, tuple[str, ...]] = {}
        self._last: dict[str, Answered] = {}
        self.versions: dict[str, str] = {}
        self.now = 0.0

    def asks(self, letter: str, *names: str, version: str = "", nonce: str | None = None) -> list[Event]:
        """Send a request: the first of its type, or a change of names."""
        self._names[letter] = names
        last = self._last.get(letter)
        current = (last.nonce if last else "") if nonce is None else nonce
        return self._send(letter, version or self.versions.get(letter, ""), current, None)

    def sees(self, snapshot: Snapshot) -> list[str]:
        """Be offered a snapshot, and say what came."""
        answers = [decode(response.encode()) for response in self.stream.offer(snapshot)]
        self._last |= {answer.letter: answer for answer in answers}
        return [str(answer) for answer in answers]

    def acks(self, letter: str, *names: str) -> list[Event]:
        """Accept the last response of a type, perhaps with other names from now on."""
        if names:
            self._names[letter] = names
        last = self._last[letter]
        self.versions[letter] = last.version
        return self._send(letter, last.version, last.nonce, None)

    def nacks(self, letter: str, error: str = "bad") -> list[Event]:
        """Reject the last response of a type."""
        return self._send(letter, self.versions.get(letter, ""), self._last[letter].nonce, error)

    def settles(self, snapshot: Snapshot) -> list[str]:
        """Accept everything until nothing more comes; say all that came."""
        heard = []
        while came := self.sees(snapshot):
            heard += came
            for answer in came:
                self.acks(answer[0])
        return heard

    def synced(self, letter: str) -> str:
        """Return the snapshot's version that the client is said to be in sync with."""
        return next(status.synced for status in self.stream.status() if status.type_url == TYPES[letter])

    def waiting(self, letter: str) -> set[str]:
        """Return the names that are held back."""
        return set(next(status.waiting for status in self.stream.status() if status.type_url == TYPES[letter]))

    def _send(self, letter: str, version: str, nonce: str, error: str | None) -> list[Event]:
        names = frozenset(self._names.get(letter, ()))
        request = Request(TYPES[letter], names, version, nonce, error, self._node)
        self._node = None
        return list(self.stream.receive(request, self.now))


def decode(data: bytes) -> Answered:
    """Read a response as a client does, with the generated messages."""
    message = discovery_pb2.DiscoveryResponse.FromString(data)
    assert all(resource.type_url == message.type_url for resource in message.resources)
    said = " ".join(sorted(resource.value.decode() for resource in message.resources))
    return Answered(LETTERS[message.type_url], message.nonce, message.version_info, said)


def envoy_on(snapshot: Snapshot, clusters: str, sharing: Sharing | None = None) -> Peer:
    """Return an Envoy that has all of a snapshot, with one listener `l`, route `r`, and these clusters."""
    peer = Peer(sharing=sharing)
    peer.asks("C")
    peer.asks("E", *clusters.split())
    peer.asks("L")
    peer.asks("R", "r")
    peer.settles(snapshot)
    return peer
