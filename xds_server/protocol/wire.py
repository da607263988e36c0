"""Bytes in, bytes out: the border between this package and protobuf.

Requests are parsed with the generated messages. Responses are put together from bytes by hand, because a resource is
already serialized and because protobuf allows the fields of a message in any order ("Message Structure", encoding
guide): a response is one shared run of bytes for all streams of a view, followed by the nonce field of each stream.
Building the message per stream instead was rejected: it copies and re-encodes every resource for every client.

`DiscoveryResponse`: version_info = 1, resources = 2 (`Any`: type_url = 1, value = 2), type_url = 4, nonce = 5,
control_plane = 6 (`ControlPlane`: identifier = 1).

What a client says of itself is bounded here, before anything else sees it: it goes into events, answers and memory,
also when the client is turned away. Texts that are too long end the stream rather than being cut, because two clients
must not become one; the words of a rejection are for people, and are cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from xds_server.protocol.events import MOST_ERROR, MOST_TEXT, Code, Identified, ProtocolError
from xds_server.snapshot.resource import Resource
from xds_server.snapshot.wire import varint

_LENGTH_DELIMITED = 2


class Request(NamedTuple):
    """A SotW `DiscoveryRequest`, without what is not used. `error` is None unless `error_detail` is set."""

    type_url: str
    names: frozenset[str] = frozenset()
    version: str = ""
    nonce: str = ""
    error: str | None = None
    node: Identified | None = None


def decode_request(data: bytes, *, with_node: bool) -> Request:
    """Parse a request. Only the first on a stream is sure to carry the node ("Basic Protocol Overview")."""
    try:
        message = discovery_pb2.DiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise ProtocolError(Code.INVALID_ARGUMENT, f"not a DiscoveryRequest: {error}") from error
    return Request(
        type_url=bounded("type_url", message.type_url),
        names=frozenset(message.resource_names),
        version=bounded("version_info", message.version_info),
        nonce=bounded("response_nonce", message.response_nonce),
        error=error_text(message),
        node=identify(message.node) if with_node else None,
    )


def encode_response(type_url: str, version: str, resources: Iterable[Resource], server: str = "") -> bytes:
    """Return a `DiscoveryResponse` without its nonce."""
    any_type = field(1, type_url.encode())
    parts = [field(1, version.encode()), field(4, type_url.encode())]
    if server:
        parts.append(field(6, field(1, server.encode())))
    for resource in resources:
        value = header(2, len(resource.body))
        parts += (header(2, len(any_type) + len(value) + len(resource.body)), any_type, value, resource.body)
    return b"".join(parts)


def with_nonce(body: bytes, nonce: str) -> bytes:
    """Return the complete response for one stream."""
    return body + field(5, nonce.encode())


def error_text(message: Any) -> str | None:
    """Return why a client rejects a response, in its words as far as they are kept; None if it does not."""
    if not message.HasField("error_detail"):
        return None
    words: str = message.error_detail.message.strip()  # Envoy's end in a line break
    return (words if len(words) <= MOST_ERROR else f"{words[:MOST_ERROR]}…") or f"code {message.error_detail.code}"


def bounded(what: str, text: str) -> str:
    """Return a text of a client's. Raises ProtocolError if it is too long."""
    if len(text) > MOST_TEXT:
        raise ProtocolError(Code.INVALID_ARGUMENT, f"{what} has {len(text)} characters, more than {MOST_TEXT}")
    return text


def identify(node: Any) -> Identified:
    """Return what is kept of a client's node. Raises ProtocolError if it says too much of itself."""
    build = node.user_agent_build_version.version
    numbers = f"{build.major_number}.{build.minor_number}.{build.patch}"
    return Identified(
        node_id=bounded("node.id", node.id),
        cluster=bounded("node.cluster", node.cluster),
        region=bounded("node.locality.region", node.locality.region),
        zone=bounded("node.locality.zone", node.locality.zone),
        agent=bounded("node.user_agent_name", node.user_agent_name),
        version=bounded("node.user_agent_version", node.user_agent_version) or (numbers if numbers != "0.0.0" else ""),
    )


def field(number: int, value: bytes) -> bytes:
    """Return a field of bytes or text."""
    return header(number, len(value)) + value


def header(number: int, length: int) -> bytes:
    """Return what stands before the content of a field of that length."""
    return bytes((number << 3 | _LENGTH_DELIMITED,)) + varint(length)
