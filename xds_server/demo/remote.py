"""Faults from another terminal: a Unix socket in the run's directory, one line in, one line out.

`xds-server demo-fault kill:us-east-1` finds the run by looking for such sockets in the temporary directory; one that
does not answer belongs to a run that is gone. A Unix socket rather than a port, so that its name is the run's directory
and only its owner can write to it.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

PREFIX = "xds-server-demo-"
_NAME = "control.sock"
_LINE_LIMIT = 1_000
_PATH_LIMIT = 100  # of the 108 bytes of sockaddr_un
_ANSWER_LIMIT_S = 60.0


@asynccontextmanager
async def listening(directory: Path, handle: Callable[[str], Awaitable[str]]) -> AsyncIterator[None]:
    """Answer each line that comes in with what `handle` returns. Without a socket if its name would be too long."""
    if len(str(directory / _NAME)) > _PATH_LIMIT:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if not line:
                return  # somebody who only looked whether the run answers
            writer.write((await handle(line.decode(errors="replace")) + "\n").encode())
            await writer.drain()
        except (OSError, ValueError):
            return  # the asker went away, or sent a line without end
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, directory / _NAME, limit=_LINE_LIMIT)
    async with server:
        yield


def running(root: Path | None = None) -> list[Path]:
    """Return the directories of the runs that answer."""
    found = sorted((root or Path(tempfile.gettempdir())).glob(f"{PREFIX}*/{_NAME}"))
    return [path.parent for path in found if _answers(path)]


def _answers(path: Path) -> bool:
    connection = _connect(path)
    if connection is None:
        return False
    connection.close()
    return True


def ask(directory: Path, text: str) -> str:
    """Send one line to a run and return its answer. Raises OSError if it does not answer."""
    connection = _connect(directory / _NAME)
    if connection is None:
        raise OSError(f"no demo runs in {directory}")
    with connection:
        connection.settimeout(_ANSWER_LIMIT_S)
        connection.sendall(text.encode() + b"\n")
        with connection.makefile(encoding="utf-8") as answer:
            return answer.readline().strip()


def _connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection
