"""A client that asks by name and changes its mind as it likes, as gRPC's does: in the end it has just what it asks for.

It forgets what it drops. Names change while answers are under way, streams break, the world changes.
`pytest tests/protocol/test_names_at_random.py --talks 20000` has as many talks.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from tests.protocol.talk import LETTERS, TYPES, node, world
from xds_server.protocol.conversation import Conversation
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.delta_wire import DeltaRequest
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.wire import Request

TALKS = 1_000
BOTH = "CE"
ACTS = (
    "asks",
    "asks",
    "publish",
    "sends",
    "sends",
    "takes",
    "takes",
    "hears",
    "hears",
    "hears",
    "all_is_said",
    "breaks",
)


class NamedTalk(ABC):
    """Such a client and its server. Methods named in `ACTS` are what may happen."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.sharing = Sharing()
        self.snapshot = world()
        self.names: dict[str, frozenset[str]] = dict.fromkeys(BOTH, frozenset())
        self.has: dict[str, dict[str, str]] = {letter: {} for letter in BOTH}
        self.up: deque[Any] = deque()
        self.down: deque[bytes] = deque()
        self.stream = self.connected()

    @abstractmethod
    def new_stream(self) -> Conversation[Any, Any]:
        """Return the server's side."""

    @abstractmethod
    def says(self, letter: str, before: frozenset[str], *, first: bool) -> None:
        """Tell which names it wants now."""

    @abstractmethod
    def learns(self, data: bytes) -> None:
        """Take in a response, and answer it."""

    def connected(self) -> Conversation[Any, Any]:
        self.up.clear()
        self.down.clear()
        self.spoken: set[str] = set()
        for letter in BOTH:
            if self.names[letter]:
                self.spoken.add(letter)
                self.says(letter, frozenset(), first=True)
        return self.new_stream()

    def asks(self) -> None:
        letter = self.rng.choice(BOTH)
        before, names = self.names[letter], frozenset(self.rng.sample("ab", self.rng.randint(0, 2)))
        if names == before or not (names or letter in self.spoken):
            return
        self.names[letter] = names
        self.has[letter] = {name: content for name, content in self.has[letter].items() if name in names}
        first = letter not in self.spoken
        self.spoken.add(letter)
        self.says(letter, before, first=first)

    def publish(self) -> None:
        names = [f"{letter} {name}" for letter in BOTH for name in "ab" if self.rng.random() < 0.85]
        self.snapshot = world(*(f"{name}={self.rng.choice('12')}" for name in names))

    def sends(self) -> None:
        if self.stream.status():
            self.down.extend(response.encode() for response in self.stream.offer(self.snapshot))

    def takes(self) -> None:
        if self.down:
            self.learns(self.down.popleft())

    def hears(self) -> None:
        if self.up:
            self.stream.receive(self.up.popleft())

    def breaks(self) -> None:
        self.stream.end()
        self.stream = self.connected()

    def all_is_said(self) -> None:
        self.sends()
        while self.up or self.down:
            self.hears()
            self.takes()
            self.sends()
        for letter in BOTH:
            offered = self.snapshot.resources.get(TYPES[letter], {})
            wanted = {name: f"{name}={offered[name].version}" for name in self.names[letter] if name in offered}
            assert {n: content for n, content in self.has[letter].items() if n in offered} == wanted, letter


class NamedSotw(NamedTalk):
    """It states all its names; a set of clusters is the full state. Its versions are not believed."""

    def new_stream(self) -> Conversation[Any, Any]:
        return SotwStream(self.sharing)

    def connected(self) -> Conversation[Any, Any]:
        self.nonces = dict.fromkeys(BOTH, "")
        self.versions = getattr(self, "versions", dict.fromkeys(BOTH, ""))
        return super().connected()

    def says(self, letter: str, before: frozenset[str], *, first: bool) -> None:
        names, version, nonce = self.names[letter], self.versions[letter], self.nonces[letter]
        self.up.append(Request(TYPES[letter], names, version, nonce, None, node("grpc")))

    def learns(self, data: bytes) -> None:
        message = discovery_pb2.DiscoveryResponse.FromString(data)
        letter = LETTERS[message.type_url]
        came = {content.partition("=")[0]: content for content in (r.value.decode() for r in message.resources)}
        kept = {} if letter == "C" else self.has[letter]
        self.has[letter] = kept | {name: content for name, content in came.items() if name in self.names[letter]}
        self.versions[letter], self.nonces[letter] = message.version_info, message.nonce
        self.says(letter, self.names[letter], first=False)


class NamedDelta(NamedTalk):
    """It adds and removes names, and says what it has when it comes back."""

    def __init__(self, rng: random.Random) -> None:
        self.told: dict[str, dict[str, str]] = {letter: {} for letter in BOTH}
        super().__init__(rng)

    def new_stream(self) -> Conversation[Any, Any]:
        return DeltaStream(self.sharing)

    def says(self, letter: str, before: frozenset[str], *, first: bool) -> None:
        names = self.names[letter]
        self.told[letter] = {name: version for name, version in self.told[letter].items() if name in self.has[letter]}
        had = frozenset(self.told[letter].items() if first else ())
        self.up.append(DeltaRequest(TYPES[letter], names - before, before - names, versions=had, node=node("grpc")))

    def learns(self, data: bytes) -> None:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        letter = LETTERS[message.type_url]
        for resource in message.resources:
            if resource.name in self.names[letter]:
                self.has[letter][resource.name] = resource.resource.value.decode()
                self.told[letter][resource.name] = resource.version
        for name in message.removed_resources:
            self.has[letter].pop(name, None)
        self.up.append(DeltaRequest(TYPES[letter], nonce=message.nonce))


@pytest.mark.parametrize("kind", [NamedSotw, NamedDelta])
def test_in_the_end_it_has_what_it_asks_for(kind: type[NamedTalk], request: pytest.FixtureRequest) -> None:
    for seed in range(request.config.getoption("--talks") or TALKS):
        rng = random.Random(seed)
        talk, acts = kind(rng), rng.choices(ACTS, k=rng.choice([10, 20, 40]))
        try:
            for act in [*acts, "all_is_said"]:
                getattr(talk, act)()
        except AssertionError:
            print(f"seed {seed}: {acts}")
            raise
