"""The certificate of the xDS port: read at start, followed from then on, and told of.

A file that turns bad changes nothing: the port goes on with what it has, and an alarm says why.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from xds_server.model import Event
from xds_server.signals.tls_files import TlsFiles, TlsFound, TlsPaths, TlsTrouble, TlsWatch, read_tls
from xds_server.transport.tls import PortCertificate, PortCredentials


class PortTlsError(Exception):
    """The port cannot speak TLS; the message names the file and what is wrong with it."""


class PortTls:
    """Keeps the credentials of the port as the files say. `wall` is seconds since 1970, `now` the events' clock."""

    def __init__(
        self,
        paths: TlsPaths,
        tell: Callable[[Event], None],
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        found = read_tls(paths, wall())
        if isinstance(found, TlsTrouble):
            raise PortTlsError(str(found))
        self._tell = tell
        self._now = now
        self._files = found
        self._trouble: TlsTrouble | None = None
        self._credentials = PortCredentials(_certificate(found))
        self._watch = TlsWatch(paths, self._found, wall)
        self.credentials = self._credentials.credentials

    @property
    def ends(self) -> float | None:
        """Return when the certificate expires, in seconds since 1970."""
        return self._files.ends

    @property
    def handshakes(self) -> int:
        """Return how many handshakes were begun."""
        return self._credentials.handshakes

    async def run(self) -> None:
        """Follow the files until cancelled."""
        await self._watch.run()

    def _found(self, found: TlsFound) -> None:
        if isinstance(found, TlsTrouble):
            self._trouble = found
            words = f"the new certificate of the xDS port cannot be used, the one before stays: {found}"
            self._tell(Event("xds.certificate", self._now(), words, "alarm"))
            return
        mended, self._trouble = self._trouble is not None, None
        if found != self._files:
            self._files = found
            self._credentials.replace(_certificate(found))
            self._tell(Event("xds.certificate", self._now(), f"the xDS port has a new certificate, {_until(found)}"))
        elif mended:
            words = f"the xDS port's files hold again the certificate in use, {_until(found)}"
            self._tell(Event("xds.certificate", self._now(), words))


def _certificate(found: TlsFiles) -> PortCertificate:
    return PortCertificate(found.chain, found.key, found.ca)


def _until(found: TlsFiles) -> str:
    assert found.ends is not None
    return f"valid until {datetime.fromtimestamp(found.ends, UTC):%Y-%m-%d %H:%M} UTC"
