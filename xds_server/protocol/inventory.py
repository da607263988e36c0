"""Where a client is with each resource of one type: what operators and CSDS are shown.

The states are those that CSDS has for a management server (`ConfigStatus` of Envoy's `csds.proto`), told by content and
not by the last message: a client that was sent a newer cluster and has not answered is STALE for that cluster alone.

    SYNCED     it has accepted what the snapshot has under that name
    STALE      sent, not answered yet
    ERROR      it rejected what it was sent; what it has is the last content it took, if any
    NOT_SENT   the snapshot has it and the client does not: it waits for something else, or for its turn;
               or the client asks for a name that does not exist

What the snapshot no longer has, and the client still has because its routes use it, counts as SYNCED: it was accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xds_server.protocol.holding import UNKNOWN, Shelf
from xds_server.protocol.rules import WILDCARD
from xds_server.protocol.typestate import Refusal, TypeState
from xds_server.protocol.updates import when
from xds_server.snapshot.resource import Resource


class ConfigState(StrEnum):
    """Names are those of CSDS."""

    SYNCED = "SYNCED"
    NOT_SENT = "NOT_SENT"
    STALE = "STALE"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource of one client. `resource` is what the state speaks of; for ERROR what the client has instead.

    None if there is none, or if only the client's word for its name and version is known. `had` tells that the client
    has accepted something under that name, and `updated` when it last did so on this stream, if that is known; `failed`
    is what it rejected, if that is still what it is to have.
    """

    type_url: str
    name: str
    version: str
    state: ConfigState
    resource: Resource | None = None
    had: bool = False
    refusal: Refusal | None = None
    updated: float | None = None
    failed: Resource | None = None


def inventory(state: TypeState, shelf: Shelf) -> tuple[ResourceStatus, ...]:
    """Return the resources that the client has, is to have, asks for or rejected, by name."""
    wanted = shelf.wanted(state.subscription)
    asked = () if shelf.aliases else state.subscription.names - {WILDCARD}
    flying = {name for name, _ in state.flight.plan.changed} if state.flight else frozenset()
    names = {*wanted, *asked, *state.held.resources, *state.words, *flying}
    return tuple(_status(state, name, wanted.get(name), flying=name in flying) for name in sorted(names))


def _status(state: TypeState, name: str, wanted: Resource | None, *, flying: bool) -> ResourceStatus:
    held = state.held.resources.get(name)
    refusal = None
    if flying and state.flight is not None:
        config, shown = ConfigState.STALE, state.flight.plan.after.resources.get(name)
    elif name in state.words:
        config, shown, refusal = ConfigState.ERROR, held, state.words[name]
    elif held is not None and (wanted is None or wanted.version == held.version):
        config, shown = ConfigState.SYNCED, held
    else:
        config, shown = ConfigState.NOT_SENT, wanted
    version = shown.version if shown is not None else ""
    known = None if shown is None or shown.needs == UNKNOWN else shown
    updated = when(state.updates, name)
    failed = wanted if refusal is not None and wanted is not None and wanted.version == refusal.version else None
    return ResourceStatus(state.type_url, name, version, config, known, held is not None, refusal, updated, failed)
