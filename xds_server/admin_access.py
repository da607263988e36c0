"""Who may use the admin address, as files say: read at start, followed from then on, and told of.

A file that turns bad changes nothing: those who were let in still are, and an alarm says why.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from xds_server.model import Event, Severity
from xds_server.operator.access import Door, Guard
from xds_server.operator.tokens import BadTokensError, Tokens, parse_tokens
from xds_server.signals.watch import Stamp, Watch, look, why

MOST_BYTES = 2**20

Found = Tokens | str
"""What a file holds, or why it cannot be used."""


class AdminAccessError(Exception):
    """The admin side cannot be guarded as asked for; the message names the file and what is wrong with it."""


class AdminAccess:
    """Keeps a door as the files say. `now` is the events' clock, `count` is told of each refusal by its reason."""

    def __init__(
        self,
        tokens: Path | None,
        tell: Callable[[Event], None],
        count: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        found = read_tokens(tokens) if tokens is not None else None
        if isinstance(found, str):
            raise AdminAccessError(found)
        self.door = Door(Guard(found), tell, count, now)
        self._path = tokens
        self._tell = tell
        self._now = now

    async def run(self) -> None:
        """Follow the files until cancelled."""
        path = self._path
        if path is None:
            return
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
