"""TLS for the admin side: what each new connection is served with, and the name in a client's certificate.

A context keeps what it has read, so every connection is taken with the newest: a rotation needs no restart and no
dropped connection. What was negotiated before goes on as it was. No session is resumed: a client would be taken for
verified by what was trusted then. There are no tickets; and TLS 1.2, whose sessions OpenSSL keeps besides, with no way
in Python to tell it not to, is not spoken.

A client is asked for a certificate but needs none to connect, because probes and people with tokens have none; who has
one that nobody vouches for does not get through the handshake.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from xds_server.operator.doorstep import Caller

_FORMS = (
    ("URI", re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")),
    ("DNS", re.compile(r"[^\s:/]+")),
)


class Https:
    """The certificate in use. Raises OSError (ssl.SSLError is one) if the files cannot be used together."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._files = certificate, key, client_ca
        self.context = _context(*self._files)

    @property
    def asks(self) -> bool:
        """Return whether clients are asked for a certificate."""
        return self._files[2] is not None

    def reload(self) -> None:
        """Serve new connections with what the files hold now; if it cannot be used nothing changes and it raises."""
        self.context = _context(*self._files)


def _context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.load_cert_chain(certificate, key, password=lambda: b"")
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(client_ca)
    return context


def name_in(certificate: Mapping[str, Any]) -> str | None:
    """Return the name that a verified certificate (as `getpeercert` has it) goes by; None if it has none to go by.

    The first URI of the alternative names (SPIFFE), else the first DNS name. Authorities check less strictly what
    stands elsewhere (a common name is often whatever was asked for), so that is not looked at, and a DNS name that
    could be taken for a URI is no name.
    """
    names = certificate.get("subjectAltName", ())
    for kind, form in _FORMS:
        for found, name in names:
            if found == kind:
                return str(name) if form.fullmatch(name) and name.isprintable() else None
    return None


class Connection(Caller):
    """A connection whose requests carry the name in the client's certificate, as `scope["certificate"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look at the certificate, which is verified by now."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        name = name_in(secured.getpeercert() or {}) if secured is not None else None
        if name is not None:
            self.app = _named(self.app, name)


def _named(app: Any, name: str) -> Any:
    inner: ASGIApp = app

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "certificate": name}, receive, send)

    return named
