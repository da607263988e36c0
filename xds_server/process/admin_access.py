"""Who may use the admin address, as files say: read at start, followed from then on, and told of.

A file that turns bad changes nothing: those who were let in still are, and an alarm says why.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xds_server.model import Event, Severity
from xds_server.operator.access import Door, Guard
from xds_server.operator.https import Https
from xds_server.operator.tokens import BadTokensError, Tokens, parse_tokens
from xds_server.signals.tls_files import TlsFiles, TlsFound, TlsPaths, TlsTrouble, TlsWatch, read_tls
from xds_server.signals.watch import Stamp, Watch, look, why

MOST_BYTES = 2**20

Found = Tokens | str
"""What a file holds, or why it cannot be used."""


class AdminAccessError(Exception):
    """The admin side cannot be guarded as asked for; the message names the file and what is wrong with it."""


class AccessPaths(NamedTuple):
    """The files that say who may: tokens, and what https is spoken with."""

    tokens: Path | None = None
    tls: TlsPaths | None = None


class AdminAccess:
    """Keeps a door as the files say. `now` is the events' clock, `count` is told of each refusal by its reason."""

    def __init__(
        self,
        paths: AccessPaths,
        tell: Callable[[Event], None],
        count: Callable[[str], None],
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        found = read_tokens(paths.tokens) if paths.tokens is not None else None
        if isinstance(found, str):
            raise AdminAccessError(found)
        self._certificate = _Certificate(paths.tls, tell, wall, now) if paths.tls is not None else None
        self.https = self._certificate.https if self._certificate is not None else None
        self.door = Door(Guard(found, self.https is not None and self.https.asks), tell, count, now)
        self._path = paths.tokens
        self._tell = tell
        self._now = now

    @property
    def ends(self) -> float | None:
        """Return when the certificate expires, in seconds since 1970."""
        return self._certificate.ends if self._certificate is not None else None

    async def run(self) -> None:
        """Follow the files until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._certificate is not None:
                group.create_task(self._certificate.watch.run())
            if self._path is not None:
                group.create_task(self._follow(self._path))

    async def _follow(self, path: Path) -> None:
        if exposed(path):
            self._say("others on this machine can read or change it", "warning")

        def read() -> tuple[Found, Stamp]:
            stamp = look(path)
            return read_tokens(path), stamp

        await Watch[Found](lambda: look(path), read, self._take).run()

    def _take(self, found: Found) -> None:
        if isinstance(found, str):
            self._say(f"cannot be used, those who were let in still are: {found.splitlines()[0]}", "alarm")
        elif found != self.door.guard.tokens:
            self.door.guard = Guard(found, self.door.guard.certificates)
            self._say(f"{len(found.hashes)} tokens are let in now", "info")

    def _say(self, words: str, severity: Severity) -> None:
        self._tell(Event("admin.tokens", self._now(), f"{self._path}: {words}", severity))


class _Certificate:
    """Keeps what https is spoken with as the files say."""

    def __init__(
        self, paths: TlsPaths, tell: Callable[[Event], None], wall: Callable[[], float], now: Callable[[], float]
    ) -> None:
        found = read_tls(paths, wall())
        if isinstance(found, TlsTrouble):
            raise AdminAccessError(str(found))
        assert paths.certificate is not None
        assert paths.key is not None
        try:
            self.https = Https(paths.certificate, paths.key, paths.ca)
        except OSError as error:  # replaced since it was read
            raise AdminAccessError(f"{paths.certificate}: cannot be used: {error.strerror}") from error
        self.watch = TlsWatch(paths, self._found, wall)
        self._files = found
        self._tell = tell
        self._now = now

    @property
    def ends(self) -> float | None:
        """Return when it expires."""
        return self._files.ends

    def _found(self, found: TlsFound) -> None:
        if found == self._files:
            return
        try:
            if isinstance(found, TlsFiles):
                self.https.reload()
        except OSError as error:  # being replaced again: the next look finds that
            found = TlsTrouble("a file", str(error.strerror))
        if isinstance(found, TlsFiles):
            self._files = found
            self._say("the admin address has a new certificate or authority", "info")
        else:
            self._say(f"a new certificate of the admin address cannot be used, the one before stays: {found}", "alarm")

    def _say(self, words: str, severity: Severity) -> None:
        self._tell(Event("admin.certificate", self._now(), words, severity))


def read_tokens(path: Path) -> Found:
    """Read the file of tokens; a text says why it cannot be used."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            return f"{path}: larger than {MOST_BYTES // 2**20} MiB"
        return parse_tokens(data.decode(), str(path))
    except OSError as error:
        return f"{path}: cannot be read: {why(error)}"
    except UnicodeDecodeError:
        return f"{path}: is not UTF-8"
    except BadTokensError as error:
        return str(error)


def exposed(path: Path) -> bool:
    """Return whether everybody on this machine can read or change a file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False
