"""TLS for probes: what OpenSSL and gRPC make of a service's files, once for each content.

OpenSSL takes a certificate chain only from a file. The content that was checked is what must be used, and a private key
must not be left on a disk, so it goes through a file in memory (`memfd_create`).
"""

from __future__ import annotations

import os
import ssl

import grpc

from xds_server.signals.tls_files import TlsFiles


class ProbeTls:
    """How probes of one service speak TLS."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.context = ssl.create_default_context(cadata=files.ca.decode("ascii"))
        if files.chain:
            _load(self.context, files.chain + b"\n" + files.key)

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the same for gRPC."""
        return grpc.ssl_channel_credentials(self.files.ca, self.files.key or None, self.files.chain or None)


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
