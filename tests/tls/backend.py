"""An HTTPS server that wants client certificates, and whose own can be changed while it serves."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import Files

REQUESTS_A_CONNECTION = 5
"""Then the connection is closed, so that handshakes go on all the time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0

    def do_GET(self) -> None:
        assert isinstance(self.connection, ssl.SSLSocket)
        shown = self.connection.getpeercert()
        assert shown
        body = str(int(str(shown["serialNumber"]), 16)).encode()
        self.served += 1
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        if self.served >= REQUESTS_A_CONNECTION:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Backend(ThreadingHTTPServer):
    """Answers with the serial number of the certificate that its client has shown."""

    daemon_threads = True

    def __init__(self, shown: Files, trusted: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.use(shown, trusted)

    def use(self, shown: Files, trusted: Path) -> None:
        """Show another certificate, and trust another authority, from the next connection on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*shown)
        context.load_verify_locations(trusted)
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        plain.settimeout(30)
        wrapped = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of handshakes that fail: some are meant to."""


@contextmanager
def backend(shown: Files, trusted: Path) -> Iterator[Backend]:
    with Backend(shown, trusted) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
