"""From what the policy file and the folder of resources say to a `Policy`, or to the reasons why they are none.

File and folder are watched and judged as one: a route of the operator's own may name a service, so neither is good or
bad without the other, and a deployment that changes both is one change.

A large policy takes a good part of a second to parse; streams and probes must not wait for it. Parsing runs in a
thread, one at a time, and if something changed again meanwhile only the last state is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.signals.policy_file import Found, PolicyText, PolicyUnreadable, read_stamped
from xds_server.signals.resource_folder import NO_FOLDER, FolderFound, look_folder, read_folder
from xds_server.signals.watch import INTERVAL_S, Stamp, Watch, look
from xds_server.snapshot.own.files import merge


@dataclass(frozen=True, slots=True)
class Accepted:
    """A valid policy, the texts it came from, and what its author may not have meant, a line each."""

    policy: Policy
    text: bytes
    warnings: tuple[str, ...]
    resources: tuple[PolicyText, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why what the files say now is not a policy, a line each. Whatever was in force stays."""

    source: str
    errors: tuple[str, ...]


Reading = Accepted | Rejected

_Pair = tuple[Found, FolderFound]


def judge(found: Found, folder: FolderFound = NO_FOLDER) -> Reading:
    """Parse what was found in the file and in the folder."""
    unreadable = [each for each in (found, folder) if isinstance(each, PolicyUnreadable)]
    if isinstance(found, PolicyUnreadable) or isinstance(folder, PolicyUnreadable):
        return Rejected(found.source, tuple(f"{each.source}: cannot be read: {each.reason}" for each in unreadable))
    try:
        parsed = parse(found.text, found.source)
        merged = merge(parsed.policy, ((file.source, file.text) for file in folder.files))
    except PolicyError as error:
        return Rejected(found.source, tuple(str(problem) for problem in error.problems))
    warnings = [str(warning) for warning in (*parsed.warnings, *merged.warnings)]
    warnings += [f"{name}: a folder; what is in it is not read, move its files up" for name in folder.folders]
    return Accepted(merged.policy, found.text, tuple(warnings), folder.files)


def read_now(path: Path, resources: Path | None = None) -> Reading:
    """Read and judge once, now."""
    return judge(*_read(path, resources)[0])


class PolicyReader:
    """Follows one policy file, and a folder of resources if there is one; hands each reading to `emit`, on the loop."""

    def __init__(
        self,
        path: Path,
        emit: Callable[[Reading], None],
        resources: Path | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._watch = Watch(lambda: _look(path, resources), lambda: _read(path, resources), self._found, interval_s)
        self._emit = emit
        self._latest: _Pair | None = None
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Follow the files until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run())
            group.create_task(self._parse())

    def _found(self, found: _Pair) -> None:
        self._latest = found
        self._arrived.set()

    async def _parse(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            found, self._latest = self._latest, None
            if found is not None:
                self._emit(await asyncio.to_thread(judge, *found))


def _look(path: Path, resources: Path | None) -> Stamp:
    return (look(path), look_folder(resources) if resources is not None else "")


def _read(path: Path, resources: Path | None) -> tuple[_Pair, Stamp]:
    found, stamp = read_stamped(path)
    folder, folder_stamp = read_folder(resources) if resources is not None else (NO_FOLDER, "")
    return (found, folder), (stamp, folder_stamp)
