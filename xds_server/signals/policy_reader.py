"""From what the policy file and the folder of resources say to a `Policy`, or to the reasons why they are none.

File and folder are watched and judged as one: a route of the operator's own may name a service, so neither is good or
bad without the other, and a deployment that changes both is one change.

The certificates and keys that services name are read with it: a policy is only good together with them. Which files
those are is known once it is parsed; from then on they are watched as well, also while one of them is bad.

A large policy takes a good part of a second to parse; streams and probes must not wait for it. Parsing runs in a
thread, one at a time, and if something changed again meanwhile only the last state is parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy, Tls
from xds_server.signals.policy_file import Found, PolicyText, PolicyUnreadable, read_stamped
from xds_server.signals.resource_folder import NO_FOLDER, FolderFound, look_folder, read_folder
from xds_server.signals.tls_files import TlsFiles, TlsPaths, TlsTrouble, look_all, read_tls
from xds_server.signals.watch import INTERVAL_S, Stamp, Watch, look
from xds_server.snapshot.own.files import merge
from xds_server.snapshot.tls import Pem, with_secrets


@dataclass(frozen=True, slots=True)
class Accepted:
    """A valid policy, the texts it came from, and what its author may not have meant, a line each.

    `tls` is what the files of services hold, by service; `files` are these files.
    """

    policy: Policy
    text: bytes
    warnings: tuple[str, ...]
    resources: tuple[PolicyText, ...] = ()
    tls: Mapping[str, TlsFiles] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why what the files say now is not a policy, a line each. Whatever was in force stays.

    `files` are those of its services, one of which is bad; None if it is not known which there are.
    """

    source: str
    errors: tuple[str, ...]
    files: tuple[Path, ...] | None = None


Reading = Accepted | Rejected

_Found = tuple[Found, FolderFound, Stamp]


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
    return _with_tls(Accepted(merged.policy, found.text, tuple(warnings), folder.files), found.source)


def _with_tls(reading: Accepted, source: str) -> Reading:
    """Add what the files of services hold, or say what is wrong with them."""
    services = {name: tls for name, service in reading.policy.services.items() if (tls := service.tls) is not None}
    if not services:
        return reading
    paths = {name: _paths(tls, Path(source).parent) for name, tls in services.items()}
    files = tuple(sorted({path for found in paths.values() for path in found.all}))
    now = time.time()
    read = {name: read_tls(found, now) for name, found in paths.items()}
    if bad := {name: found for name, found in read.items() if isinstance(found, TlsTrouble)}:
        return Rejected(source, tuple(f"{source}: services.{name}.tls: {found}" for name, found in bad.items()), files)
    good = {name: found for name, found in read.items() if isinstance(found, TlsFiles)}
    policy = with_secrets(reading.policy, {name: Pem(found.ca, found.chain, found.key) for name, found in good.items()})
    return replace(reading, policy=policy, tls=good, files=files)


def _paths(tls: Tls, folder: Path) -> TlsPaths:
    return TlsPaths(
        folder / tls.certificate if tls.certificate is not None else None,
        folder / tls.key if tls.key is not None else None,
        folder / tls.ca,
    )


def read_now(path: Path, resources: Path | None = None) -> Reading:
    """Read and judge once, now."""
    found, folder, _ = _read(path, resources, ())[0]
    return judge(found, folder)


class PolicyReader:
    """Follows one policy file, and a folder of resources if there is one; hands each reading to `emit`, on the loop."""

    def __init__(
        self,
        path: Path,
        emit: Callable[[Reading], None],
        resources: Path | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._files: tuple[Path, ...] = ()
        self._watch = Watch(
            lambda: _look(path, resources, self._files),
            lambda: _read(path, resources, self._files),
            self._found,
            interval_s,
        )
        self._emit = emit
        self._latest: _Found | None = None
        self._said: Rejected | str | None = None
        self._grew = False
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Follow the files until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run())
            group.create_task(self._parse())

    def _found(self, found: _Found) -> None:
        self._latest = found
        self._arrived.set()

    async def _parse(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            latest, self._latest = self._latest, None
            if latest is not None:
                found, folder, _ = latest
                self._tell(await asyncio.to_thread(judge, found, folder))

    def _tell(self, reading: Reading) -> None:
        """Hand on a reading, but not the one that only looking at more files has caused."""
        before, grew = self._files, self._grew
        self._files = reading.files if reading.files is not None else before
        self._grew = self._files != before
        said = reading if isinstance(reading, Rejected) else reading.policy.digest
        repeated, self._said = said == self._said, said
        if not (repeated and grew):
            self._emit(reading)


def _look(path: Path, resources: Path | None, files: tuple[Path, ...]) -> Stamp:
    return (look(path), look_folder(resources) if resources is not None else "", look_all(files))


def _read(path: Path, resources: Path | None, files: tuple[Path, ...]) -> tuple[_Found, Stamp]:
    stamps = look_all(files)
    found, stamp = read_stamped(path)
    folder, folder_stamp = read_folder(resources) if resources is not None else (NO_FOLDER, "")
    return (found, folder, stamps), (stamp, folder_stamp, stamps)
