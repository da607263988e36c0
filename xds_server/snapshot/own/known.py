"""Which message types there are: Envoy's API as this program knows it, found by name.

The generated API is 600 modules. Only the packages that a text names are loaded, so a program without own resources
pays nothing. A name leads to a module of the API only: it must lie under one of `ROOTS`, look like a package, and the
modules tried are those that the package has.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from udpa.annotations import status_pb2

PREFIX = "type.googleapis.com/"

ROOTS = ("envoy.", "xds.", "udpa.", "google.protobuf.")

_FULL_NAME = re.compile(r"((?:[a-z][a-z0-9_]*\.)+)[A-Z][A-Za-z0-9_]*(?:\.[A-Z][A-Za-z0-9_]*)*")


def find(full_name: str) -> Descriptor | None:
    """Return a message type by its full name; None if the API has none of that name."""
    match = _FULL_NAME.fullmatch(full_name)
    if match is None or not full_name.startswith(ROOTS):
        return None
    found = _in_pool(full_name)
    if found is None:
        _load(match[1].rstrip("."))
        found = _in_pool(full_name)
    return found


def is_frozen(kind: Descriptor) -> bool:
    """Return whether a type belongs to an API version that Envoy no longer takes."""
    status = kind.file.GetOptions().Extensions[status_pb2.file_status]
    frozen: bool = status.package_version_status == status_pb2.FROZEN
    return frozen


def similar(full_name: str) -> str:
    """Return `; did you mean X?` if the package has a type of nearly that name."""
    package, _, name = full_name.rpartition(".")
    names: dict[str, str] = {}
    for module in _load(package) if package and full_name.startswith(ROOTS) else ():
        names |= {short.lower(): short for short in module.DESCRIPTOR.message_types_by_name}
    close = difflib.get_close_matches(name.lower(), names, 1)
    return f"; did you mean {package}.{names[close[0]]}?" if close else ""


def _in_pool(full_name: str) -> Descriptor | None:
    try:
        found: Descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return found


def _load(package: str) -> list[Any]:
    """Import the generated modules of a package; none if there is no such package."""
    try:
        path = importlib.import_module(package).__path__
    except (ModuleNotFoundError, AttributeError):
        return []
    names = [module.name for module in pkgutil.iter_modules(path) if module.name.endswith("_pb2")]
    return [importlib.import_module(f"{package}.{name}") for name in sorted(names)]
