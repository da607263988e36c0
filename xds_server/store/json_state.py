"""The state as versions before SQLite kept it: `state.json`, `policy.yaml`, `resources.json`. Read once, never written.

After they are taken over (state.py) they stay beside, renamed: somebody who goes back to the earlier version can
rename them again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xds_server.store.directory import StateDirectory, set_aside, why

STATE, POLICY, RESOURCES = "state.json", "policy.yaml", "resources.json"
SCHEMA = 1
MAX_BYTES = 256 * 1024 * 1024
"""A state larger than this is not ours: 1,000 services in 8 regions take about a megabyte."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there was; None where there is no such file, or none that can be used."""

    state: dict[str, Any] | None
    policy: bytes | None
    resources: tuple[tuple[str, bytes], ...]


def load(directory: StateDirectory) -> Found | None:
    """Return what an earlier version kept; None if it kept nothing. Files that are of no use are set aside."""
    texts = {name: _read(directory, name) for name in (STATE, POLICY, RESOURCES)}
    if not any(text is not None for text in texts.values()):
        return None
    state = resources = None
    if (text := texts[STATE]) is not None:
        state = _state(text)
        if state is None:
            set_aside(directory.path / STATE, "corrupt", "is corrupt", directory.report)
    if (text := texts[RESOURCES]) is not None:
        resources = _resources(text)
        if resources is None:
            set_aside(directory.path / RESOURCES, "corrupt", "is corrupt", directory.report)
    return Found(state, texts[POLICY], resources or ())


def retire(directory: StateDirectory) -> None:
    """Rename the files, now that what is in them is elsewhere."""
    for name in (STATE, POLICY, RESOURCES):
        path = directory.path / name
        try:
            path.replace(path.with_name(f"{name}.migrated"))
        except FileNotFoundError:
            continue
        except OSError as error:
            directory.report(f"{path} is no longer used and cannot be renamed: {why(error)}")


def peek(directory: Path) -> tuple[dict[str, Any] | None, bytes | None]:
    """Return state and policy of a directory that no newer version has opened. Only reads."""
    texts: list[bytes | None] = []
    for name in (STATE, POLICY):
        try:
            texts.append((directory / name).read_bytes())
        except OSError:
            texts.append(None)
    state, policy = texts
    return _state(state) if state is not None else None, policy


def _read(directory: StateDirectory, name: str) -> bytes | None:
    path = directory.path / name
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        directory.report(f"{path} cannot be read: {why(error)}; going on without it")
        return None
    if len(text) > MAX_BYTES:
        set_aside(path, "corrupt", f"is larger than {MAX_BYTES} bytes", directory.report)
        return None
    return text


def _state(text: bytes) -> dict[str, Any] | None:
    try:
        envelope = json.loads(text)
        state = envelope["state"] if envelope["schema"] == SCHEMA else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


def _resources(text: bytes) -> tuple[tuple[str, bytes], ...] | None:
    try:
        return tuple((str(name), body.encode()) for name, body in json.loads(text).items())
    except (ValueError, AttributeError, RecursionError):
        return None
