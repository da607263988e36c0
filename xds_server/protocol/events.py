"""What a client's conversation told us, as named values. The shell logs and counts them; none is an error of ours.

A violation of the protocol by the peer is another kind of thing: `ProtocolError` carries the gRPC status to close with.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MOST_TEXT = 512
"""Characters of a node's id, cluster and so on, of a type, a version, a nonce. A host name has up to 253, and ids are
put together from such names."""

MOST_NAME = 1_024
"""Characters of the name of a resource that is asked for."""

MOST_ERROR = 2_000
"""Characters kept of why a client rejects something; what was cut has one more."""


@dataclass(frozen=True, slots=True)
class Identified:
    """Who the client is, from its first request. The rest of the node (some 60 KB of Envoy's) is not kept.

    All of that the client says itself. `identities` are the names in its verified certificate; none without one.
    """

    node_id: str
    cluster: str
    region: str
    zone: str
    agent: str
    version: str
    identities: tuple[str, ...] = ()


class Version(NamedTuple):
    """A resource by name and version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The client asked for these names of a type, for the first time or differently from before."""

    type_url: str
    names: frozenset[str]
    wildcard: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """A response was handed to the transport. `resources` counts what it carries."""

    type_url: str
    version: str
    nonce: str
    resources: int
    size: int


@dataclass(frozen=True, slots=True)
class Acked:
    """The client accepted a response."""

    type_url: str
    version: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client rejected a response, in its own words (`MOST_ERROR`). `resources` were new to it: the suspects."""

    type_url: str
    version: str
    nonce: str
    error: str
    resources: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class StaleNonce:
    """A request that crossed a newer response on the wire; it was ignored, the client will speak again."""

    type_url: str
    nonce: str


Event = Identified | Subscribed | Sent | Acked | Nacked | StaleNonce


class Code(StrEnum):
    """The gRPC statuses a stream can end with; values are gRPC's names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"


class ProtocolError(Exception):
    """The peer broke the protocol or a limit: close its stream with this status and message."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
