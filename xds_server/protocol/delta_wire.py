"""Delta's bytes in, bytes out: the same border as `wire.py`, for the messages of the incremental variant.

`DeltaDiscoveryResponse`: system_version_info = 1, resources = 2 (`Resource`: version = 1, resource = 2 (`Any`),
name = 3, aliases = 4), type_url = 4, nonce = 5, removed_resources = 6, control_plane = 7. Nonce, version and type have
the numbers that they have in SotW, so that the nonce is appended alike.

The version of an assignment on the wire names the cluster it was delivered for too (`wire_version`): the client sends
it back after a reconnect, and an Envoy that was still warming that cluster gets the assignment that it waits for. A
caller's own version goes on the wire unchanged, and says less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from xds_server.protocol.events import MOST_NAME, Code, Identified, ProtocolError
from xds_server.protocol.plan import Plan
from xds_server.protocol.wire import bounded, error_text, field, header, identify
from xds_server.snapshot.resource import Resource


class DeltaRequest(NamedTuple):
    """A `DeltaDiscoveryRequest`, without what is not used. `versions` are the `initial_resource_versions`."""

    type_url: str
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    versions: frozenset[tuple[str, str]] = frozenset()
    nonce: str = ""
    error: str | None = None
    node: Identified | None = None


def decode_delta_request(data: bytes, *, with_node: bool) -> DeltaRequest:
    """Parse a request. Only the first on a stream is sure to carry the node ("Basic Protocol Overview")."""
    try:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise ProtocolError(Code.INVALID_ARGUMENT, f"not a DeltaDiscoveryRequest: {error}") from error
    versions = frozenset(message.initial_resource_versions.items())
    if any(len(name) > MOST_NAME or len(version) > MOST_NAME for name, version in versions):
        problem = f"initial_resource_versions: more than {MOST_NAME} characters"
        raise ProtocolError(Code.INVALID_ARGUMENT, problem)
    return DeltaRequest(
        type_url=bounded("type_url", message.type_url),
        added=frozenset(message.resource_names_subscribe),
        removed=frozenset(message.resource_names_unsubscribe),
        versions=versions,
        nonce=bounded("response_nonce", message.response_nonce),
        error=error_text(message),
        node=identify(message.node) if with_node else None,
    )


def encode_delta_response(type_url: str, planned: Plan, server: str = "") -> bytes:
    """Return a `DeltaDiscoveryResponse` without its nonce."""
    parts = [field(1, planned.after.version.encode()), field(4, type_url.encode())]
    if server:
        parts.append(field(7, field(1, server.encode())))
    for resource in planned.carried:
        parts += _wrapped(resource, planned)
    for name in planned.unresolved:
        parts.append(field(2, field(3, name.encode()) + field(4, name.encode())))
    parts += (field(6, name.encode()) for name in sorted(planned.removed))
    return b"".join(parts)


def wire_version(resource: Resource, under: str, label: str) -> str:
    """Return the version of a resource as the client sees it."""
    return f"{resource.version}.{under}" if under and not label else resource.version


def _wrapped(resource: Resource, planned: Plan) -> Iterator[bytes]:
    """Return the field with one resource; its content comes last and is not copied."""
    version = wire_version(resource, planned.after.under.get(resource.name, ""), planned.after.label)
    aliases = {*resource.aliases, *(asked for asked, name in planned.aliases if name == resource.name)}
    before = [field(1, version.encode()), field(3, resource.name.encode())]
    before += (field(4, alias.encode()) for alias in sorted(aliases))
    any_type = field(1, resource.type_url.encode()) + header(2, len(resource.body))
    before += (header(2, len(any_type) + len(resource.body)), any_type)
    yield header(2, sum(map(len, before)) + len(resource.body))
    yield from before
    yield resource.body
