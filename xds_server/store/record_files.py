"""A record on disk: segments in one directory, `00000001.rec` and up, and who may be read from them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import xds_server
from xds_server.record.segment import MAGIC, SegmentReader, Start, Step
from xds_server.record.values import Registry, UnreadableError

RECORD = "record"
"""The directory of a record in a state directory."""

SUFFIX = ".rec"
_LAYERS = ("model", "policy", "decision", "orders", "snapshot", "rollout", "step", "controller")


def registry() -> Registry:
    """Return every class of the pure layers: whatever the controller holds or is given is of one of them.

    All of their modules are loaded for it, so that the answer does not depend on what has been used so far.
    """
    root = xds_server.__name__
    loaded = [module for layer in _LAYERS for module in _modules(f"{root}.{layer}")]
    return {
        f"{module.__name__.removeprefix(root + '.')}.{cls.__qualname__}": cls
        for module in sorted(loaded, key=lambda m: m.__name__)
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__
    }


def _modules(name: str) -> Iterator[ModuleType]:
    """Return a module, and those below it if it is a package."""
    module = importlib.import_module(name)
    yield module
    for below in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
        yield importlib.import_module(below.name)


def segments(directory: Path) -> list[Path]:
    """Return the segments there are, oldest first."""
    return sorted(path for path in directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal())


def read(where: Path, notes: list[str]) -> Iterator[Start | Step]:
    """Read a segment, or all segments of a directory (or of the record in a state directory), in order.

    Adds to `notes` what could not be read. Raises UnreadableError, or OSError if there is nothing there.
    """
    known = registry()
    for path in _paths(where):
        content = path.read_bytes()
        if len(content) < len(MAGIC) and MAGIC.startswith(content):
            notes.append(f"{path.name}: nothing in it yet")
            continue
        try:
            reader = SegmentReader(content, known)
            yield from reader.read()
        except UnreadableError as error:
            raise UnreadableError(f"{path}: {error}") from error
        if reader.tail:
            notes.append(f"{path.name}: {reader.tail}")


def _paths(where: Path) -> list[Path]:
    if not where.is_dir():
        return [where]
    inner = where / RECORD
    return segments(inner if inner.is_dir() else where)
