"""The map in docs/ARCHITECTURE.md: every module of a package stands on it, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "xds_server"
MAP = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
UNMAPPED = {"agent", "demo"}
"""A client of one module, and a program of its own."""

PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name not in UNMAPPED)


def rows(package: str) -> list[str]:
    """Return the last cell of each row that lists modules of a package; those of the decision have a table alone."""
    if package == "decision":
        table = MAP.partition("### Modules of the decision")[2].partition("\n#")[0]
        return [line.split("|")[3] for line in table.splitlines() if line.startswith("| ")]
    table = MAP.partition("### Modules of the other packages")[2].partition("\n#")[0]
    return [line.split("|")[3] for line in table.splitlines() if line.startswith(f"| `{package}/` |")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_on_the_map_and_once(package: str) -> None:
    folder = PACKAGE / package
    modules = (path for path in folder.rglob("*.py") if path.name != "__init__.py" and "_pb2" not in path.name)
    there = sorted(str(path.relative_to(folder)) for path in modules)
    assert sorted(name for row in rows(package) for name in re.findall(r"`([\w/]+\.py)`", row)) == there
