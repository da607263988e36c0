"""What clients say that decisions depend on, and what a cohort is to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xds_server.model import ViewKey
from xds_server.snapshot.resource import Key, Snapshot


@dataclass(frozen=True, slots=True)
class Joined:
    """A client connected and was given a view."""

    stream: int
    node_id: str
    view: ViewKey


@dataclass(frozen=True, slots=True)
class Left:
    """A client's stream ended."""

    stream: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A client has acknowledged everything that the latest snapshot for it holds."""

    stream: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A client rejected a response. `resources` is what was new to it: one is bad, several are suspects."""

    stream: int
    resources: tuple[tuple[Key, str], ...]
    error: str


class Disputed(NamedTuple):
    """Content of a view that a client rejected and others may have accepted."""

    view: ViewKey
    key: Key
    version: str


class Accepted(NamedTuple):
    """How many connected clients of its view have accepted disputed content."""

    what: Disputed
    clients: int


ClientNews = Joined | Left | Settled | Refused


@dataclass(frozen=True, slots=True)
class TrialSnapshots:
    """What a cohort gets instead of the policy in force: its members, by stream, and the snapshots of all views."""

    members: frozenset[int]
    snapshots: Mapping[ViewKey, Snapshot]
