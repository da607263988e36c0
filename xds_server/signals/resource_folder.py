"""The folder of an operator's own resources: the text of every file in it, or the reason why it cannot be read.

Its files are those whose names end in `.yaml`, `.yml` or `.json` and do not begin with a dot: so a ConfigMap's `..data`
and an editor's swap file are none. Folders inside are not entered, because a link in them could lead anywhere; they are
named, so that nobody waits for what they hold. One file that cannot be read makes the folder unreadable: leaving it
out would take from Envoys what it defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xds_server.signals.policy_file import PolicyText, PolicyUnreadable, read_stamped
from xds_server.signals.watch import Stamp, look, why

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILES = 1_000
MAX_TOTAL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FolderTexts:
    """What all files say, by name. `folders` are those inside, which are not read."""

    source: str
    files: tuple[PolicyText, ...]
    folders: tuple[str, ...] = ()


FolderFound = FolderTexts | PolicyUnreadable

NO_FOLDER = FolderTexts("", ())
"""What is found where no folder was asked for."""


def look_folder(path: Path) -> Stamp:
    """Return the stamp of the folder: those of all its files."""
    try:
        return (str(path.resolve(strict=True)), *((str(file), look(file)) for file in _entries(path)))
    except (OSError, RuntimeError) as error:
        return why(error)


def read_folder(path: Path) -> tuple[FolderFound, Stamp]:
    """Return what is there and the stamp that goes with it."""
    source = str(path)
    try:
        resolved = str(path.resolve(strict=True))
        entries = _entries(path)
        if len(entries) > MAX_FILES:
            many = f"{len(entries)} files; at most {MAX_FILES} are read"
            return PolicyUnreadable(source, many), look_folder(path)
        folders = tuple(str(entry) for entry in entries if entry.is_dir())
        read = [(str(file), *read_stamped(file)) for file in entries if str(file) not in folders]
        stamps = {name: stamp for name, _, stamp in read}
        stamp = (resolved, *((str(file), stamps.get(str(file), look(file))) for file in entries))
    except (OSError, RuntimeError) as error:
        return PolicyUnreadable(source, why(error)), look_folder(path)
    return _found(source, [found for _, found, _ in read], folders), stamp


def _found(source: str, read: list[PolicyText | PolicyUnreadable], folders: tuple[str, ...]) -> FolderFound:
    bad = next((found for found in read if isinstance(found, PolicyUnreadable)), None)
    if bad is not None:
        return bad
    texts = tuple(found for found in read if isinstance(found, PolicyText))
    if sum(len(found.text) for found in texts) > MAX_TOTAL_BYTES:
        return PolicyUnreadable(source, f"more than {MAX_TOTAL_BYTES // 2**20} MiB in all; split what it defines")
    return FolderTexts(source, texts, folders)


def _entries(path: Path) -> list[Path]:
    """Return files to read and folders not to enter, by name. Raises OSError if the path is no folder."""
    return sorted(_visible(path))


def _visible(path: Path) -> Iterator[Path]:
    for entry in path.iterdir():
        if not entry.name.startswith(".") and (entry.suffix in SUFFIXES or entry.is_dir()):
            yield entry
