"""What must outlive the process, in one directory: the state as JSON, and the texts in force beside it.

A file is replaced whole: written beside, synced, renamed, and the directory synced, so that after a crash or a power
cut there is the old one or the new one. A file that this version cannot use (torn by a disk, or written by a newer
version before a downgrade) is moved aside and reported, and the process starts without: holding up a control plane for
its memory would be worse than its starting fresh.

Two processes on one directory would overwrite each other's memory, so an advisory lock is held while the file is open;
it goes with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCHEMA = 1
STATE, POLICY, RESOURCES, LOCK = "state.json", "policy.yaml", "resources.json", "lock"
MAX_BYTES = 256 * 1024 * 1024
"""A state larger than this is not ours: 1,000 services in 8 regions take about a megabyte."""


Texts = tuple[tuple[str, bytes], ...]
"""Names of files, and what they say."""


class StateError(Exception):
    """The state directory cannot be used; the message says why, in one line."""


class StateFile:
    """The state directory, locked for this process. `report` gets one line for everything that was set aside."""

    def __init__(self, directory: Path, report: Callable[[str], None]) -> None:
        self._directory = directory
        self._report = report
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"state directory {directory} cannot be used: {_why(error)}") from error
        self._take_lock()

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def load(self) -> dict[str, Any] | None:
        """Return the state saved last; None if there is none or none that can be used."""
        path = self._directory / STATE
        text = self._read(path)
        if text is None:
            return None
        try:
            envelope = json.loads(text)
            schema, state = envelope["schema"], envelope["state"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._set_aside(path, "corrupt", f"is corrupt ({error})")
            return None
        if isinstance(schema, int) and schema > SCHEMA:
            self._set_aside(path, f"schema-{schema}", f"has schema {schema}, this version reads {SCHEMA}")
            return None
        if schema != SCHEMA or not isinstance(state, dict):
            self._set_aside(path, "corrupt", "is corrupt (not a state of any version)")
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state. Blocks for the disk; raises StateError if the disk does not take it."""
        envelope = {"schema": SCHEMA, "state": state}
        self._replace(STATE, json.dumps(envelope, separators=(",", ":"), sort_keys=True, allow_nan=False).encode())

    def refuse(self, why: str) -> None:
        """Move the saved state aside: the caller found that it makes no sense."""
        self._set_aside(self._directory / STATE, "corrupt", f"is corrupt ({why})")

    def load_policy(self) -> bytes | None:
        """Return the text of the last policy in force; None if there is none."""
        return self._read(self._directory / POLICY)

    def save_policy(self, text: bytes, resources: Texts = ()) -> None:
        """Keep the text of the policy in force beside the state, and those of the operator's own resources."""
        if resources or (self._directory / RESOURCES).exists():
            self._replace(RESOURCES, json.dumps({name: body.decode() for name, body in resources}).encode())
        self._replace(POLICY, text)

    def load_resources(self) -> Texts:
        """Return the texts of the own resources last in force, by the names of their files."""
        path = self._directory / RESOURCES
        text = self._read(path)
        try:
            return tuple((str(name), body.encode()) for name, body in json.loads(text or b"{}").items())
        except (ValueError, AttributeError, RecursionError) as error:
            self._set_aside(path, "corrupt", f"is corrupt ({type(error).__name__})")
            return ()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
            self.close()
            by = f"process {holder}" if holder else "another process"
            raise StateError(f"state directory {self._directory} is in use by {by}") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _read(self, path: Path) -> bytes | None:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(f"{path} cannot be read: {_why(error)}; going on without it")
            return None
        if len(text) > MAX_BYTES:
            self._set_aside(path, "corrupt", f"is larger than {MAX_BYTES} bytes")
            return None
        return text

    def _replace(self, name: str, content: bytes) -> None:
        path = self._directory / name
        beside = path.with_name(f"{name}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            beside.replace(path)
            self._sync_directory()
        except OSError as error:
            raise StateError(f"{path} cannot be written: {_why(error)}") from error

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _set_aside(self, path: Path, suffix: str, what: str) -> None:
        aside = path.with_name(f"{path.name}.{suffix}")
        try:
            path.replace(aside)
        except OSError as error:
            self._report(f"{path} {what} and cannot be moved aside: {_why(error)}; going on without it")
            return
        self._report(f"{path} {what}; moved to {aside}, going on without it")


def kept(directory: Path) -> tuple[dict[str, Any] | None, bytes | None]:
    """Return the state and the policy text that are kept, each None if it is not there or not usable. Only reads.

    Without the lock: a process may be using the directory, and each file is whole at any moment.
    """
    try:
        envelope = json.loads((directory / STATE).read_bytes())
        state = envelope["state"] if envelope["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        state = None
    try:
        text = (directory / POLICY).read_bytes()
    except OSError:
        text = None
    return state if isinstance(state, dict) else None, text


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
