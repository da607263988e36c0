"""Who is connected and what was said, as values for the operator side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from xds_server.model import ViewKey
from xds_server.protocol.events import Code, Event, Identified
from xds_server.protocol.inventory import ResourceStatus
from xds_server.protocol.typestate import TypeStatus


class Refused(Exception):  # noqa: N818  (an outcome that `assign` may have, not a fault)
    """Raised by `assign` for a client that the policy has no place for: its stream ends with this status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Connected:
    """A client said who it is and was given a view."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A client's view changed because the policy did."""

    before: ViewKey


@dataclass(frozen=True, slots=True)
class Settled:
    """A client on trial has acknowledged everything that the snapshot on trial holds for it."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A stream ended. `code` is empty if the client ended it; `message` says why we did."""

    code: str
    message: str


class ClientEvent(NamedTuple):
    """Something that one client said, or that happened to it.

    `view` and `node` are None for a stream that ended before it said who it is or was given a place.
    """

    stream: int
    peer: str
    node: Identified | None
    view: ViewKey | None
    what: Event | Connected | Moved | Settled | Closed


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One connected client. `since` is on the server's clock (monotonic seconds); `variant` is `sotw` or `delta`.

    `latest` are the versions, by type, of the snapshot it is to have; `on_trial` tells that this is a policy on trial.
    """

    stream: int
    peer: str
    node: Identified
    view: ViewKey
    variant: str
    since: float
    types: tuple[TypeStatus, ...]
    latest: Mapping[str, str] = field(default_factory=dict)
    on_trial: bool = False

    def in_sync(self, status: TypeStatus) -> bool:
        """Return whether the client has all of one type that it asks for, in the latest version."""
        return status.synced == self.latest.get(status.type_url, status.synced)


class Inventory(NamedTuple):
    """One connected client, and where it is with each resource that it has or is to have."""

    client: ClientStatus
    resources: tuple[ResourceStatus, ...]
