"""The names by which a peer is known: those that its verified certificate carries.

From a TLS connection's properties as gRPC gives them (`grpc_security_constants.h`): URIs, of which a SPIFFE id is one
(SPIFFE X.509-SVID, "SPIFFE ID": exactly one URI SAN), and DNS names. The common name is not among them: certificates
without alternative names have been deprecated since RFC 2818, and whoever may write any common name may write one that
looks like a DNS name.

A URI has a scheme, and so a colon; a DNS name has none. What stands under the one kind and looks like the other is no
name at all: whoever may write any URI must not become a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_URI_MARKS = frozenset(":/")


def identities(properties: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """Return the names in a peer's certificate, URIs first; none if it showed no certificate."""
    uris = [value.decode(errors="replace") for value in properties.get("peer_uri", ())]
    names = [value.decode(errors="replace") for value in properties.get("peer_dns", ())]
    with_scheme = (uri for uri in uris if _SCHEME.match(uri))
    return (*with_scheme, *(name for name in names if not _URI_MARKS & set(name)))


def host_of(peer: str) -> str:
    """Return where a peer is, without its port, from gRPC's name of it: `ipv4:10.0.0.1:4711`, `ipv6:%5B::1%5D:4711`."""
    return peer.rpartition(":")[0]
