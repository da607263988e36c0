"""From what the policy file says to a `Policy`, or to the reasons why it is none. Parsing runs in a thread.

A large policy takes a good part of a second to parse; streams and probes must not wait for it. Only one is parsed at a
time, and if the file changed again meanwhile only its last text is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.signals.policy_file import Found, PolicyFile, PolicyUnreadable


@dataclass(frozen=True, slots=True)
class Accepted:
    """A valid policy, its text, and what its author may not have meant, a line each."""

    policy: Policy
    text: bytes
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why what the file says now is not a policy, a line each. Whatever was in force stays."""

    source: str
    errors: tuple[str, ...]


Reading = Accepted | Rejected


def judge(found: Found) -> Reading:
    """Parse what was found in the file."""
    if isinstance(found, PolicyUnreadable):
        return Rejected(found.source, (f"{found.source}: cannot be read: {found.reason}",))
    try:
        parsed = parse(found.text, found.source)
    except PolicyError as error:
        return Rejected(found.source, tuple(str(problem) for problem in error.problems))
    return Accepted(parsed.policy, found.text, tuple(str(warning) for warning in parsed.warnings))


class PolicyReader:
    """Follows one policy file; hands each reading to `emit`, on the event loop."""

    def __init__(self, path: Path, emit: Callable[[Reading], None]) -> None:
        self._file = PolicyFile(path, self._found)
        self._emit = emit
        self._latest: Found | None = None
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Follow the file until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._file.run())
            group.create_task(self._parse())

    def _found(self, found: Found) -> None:
        self._latest = found
        self._arrived.set()

    async def _parse(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            found, self._latest = self._latest, None
            if found is not None:
                self._emit(await asyncio.to_thread(judge, found))
