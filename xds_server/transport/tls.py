"""What the xDS port shows and whom it trusts, replaceable while it serves.

gRPC asks for the configuration at the start of every handshake (`dynamic_ssl_server_credentials`), in a thread of its
own, so a rotated certificate is used from the next connection on. Connections that are up go on with what they were
made with: TLS looks at certificates in the handshake only.

With a `ca`, every client must show a certificate that it has signed. Without, nobody is asked for one. Whether there is
a `ca` cannot change while the port is open: a file that is emptied by mistake must not let everybody in.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field

import grpc


@dataclass(frozen=True, slots=True)
class PortCertificate:
    """A certificate chain, its key and the authorities of clients (empty: clients are not asked), all PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    ca: bytes = b""


class PortCredentials:
    """The credentials of one port. `credentials` goes to the server, `replace` is for later."""

    def __init__(self, first: PortCertificate) -> None:
        self._with_ca = bool(first.ca)
        self._begun = itertools.count(1)
        self.handshakes = 0
        """Handshakes begun. gRPC tells nobody of those that fail: they are this number less what comes of them."""
        self._next: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(first), self._fetch, require_client_authentication=self._with_ca
        )

    def replace(self, new: PortCertificate) -> None:
        """Use this from the next handshake on. It must be sound: gRPC would go on silently with what it has."""
        assert bool(new.ca) == self._with_ca
        self._next.append(_configuration(new))

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is new since the last time. Called in gRPC's threads: take it, do not look first."""
        self.handshakes = next(self._begun)
        try:
            return self._next.pop()
        except IndexError:
            return None


def _configuration(found: PortCertificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(found.key, found.chain)], root_certificates=found.ca or None)
