"""The import table: who may import whom. Default deny: what is not listed here fails the build.

The table is the architecture (docs/ARCHITECTURE.md). Pure layers may not touch the world, so for them the standard
library and third parties are listed as well.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "xds_server"

ABOVE_THE_LINE = {
    "model": set(),
    "policy": {"model"},
    "decision": {"histogram", "model", "policy"},
    "snapshot": {"model", "policy", "decision"},
    "protocol": {"snapshot"},
    "rollout": {"model", "policy", "decision", "snapshot"},
    "histogram": set(),
    "orders": {"model", "policy", "decision"},
    "step": {"model", "policy", "decision", "orders", "snapshot", "rollout"},
    "inbox": {"model", "policy", "orders", "rollout", "step"},
    "controller": {"model", "policy", "decision", "orders", "snapshot", "rollout", "step"},
    "record": {"model", "policy", "orders", "snapshot", "rollout", "step", "controller"},
}
"""Pure layers, and which of our layers each may import besides itself."""

BELOW_THE_LINE = {
    "agent": set(),
    "signals": {"agent", "histogram", "model", "policy", "protocol", "snapshot"},
    "transport": {"model", "snapshot", "protocol"},
    "history": {"model", "store"},
    "screens": {"model"},
    "operator": {
        "screens",
        "history",
        "store",
        "model",
        "policy",
        "decision",
        "snapshot",
        "rollout",
        "transport",
        "protocol",
        "orders",
    },
    "store": {"model", "policy", "decision", "step", "controller", "record"},
    "control_loop": {"model", "snapshot", "step", "controller", "inbox", "orders", "rollout"},
    "demo": {"model", "policy"},
    "break_glass": {"model", "policy", "step", "controller", "rollout", "snapshot", "store"},
    "serving": {"model", "snapshot", "protocol", "transport"},
    "process": set(),
    "process.admin_access": {"model", "operator", "signals"},
    "process.app": {"*"},
    "process.desk": {"*"},
    "process.doorkeeper": {"model", "policy", "protocol", "snapshot", "transport"},
    "process.edits": {"model", "operator", "policy", "signals"},
    "process.port_tls": {"model", "signals", "transport"},
    "process.startup": {"*"},
    "cli": {"commands", "demo"},
    "commands": {
        "break_glass",
        "process",
        "model",
        "policy",
        "decision",
        "step",
        "controller",
        "record",
        "operator",
        "screens",
        "signals",
        "snapshot",
        "store",
    },
    "__init__": set(),
    "__main__": {"cli"},
}

"""The others. In a package whose modules cross different borders each has a row of its own, and no leave for others."""

PURE_STDLIB = {
    "__future__", "abc", "base64", "bisect", "collections", "dataclasses", "decimal", "difflib", "enum",
    "functools", "hashlib", "heapq", "ipaddress", "itertools", "json", "math", "operator", "re", "struct", "types",
    "typing", "weakref", "zlib",
}  # fmt: skip
PURE_THIRD_PARTY = {
    "policy": {"yaml"},
    "snapshot": {"google", "envoy", "xds", "udpa", "validate", "yaml", "binascii", "importlib", "pkgutil"},
    "protocol": {"google", "envoy"},
}
"""`importlib` and `pkgutil`: snapshot/own loads generated modules of Envoy's API by the names that a text has."""


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_pb2" not in p.name)


def layer_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def row_of(path: Path) -> str:
    """Return the row of the table that a module is under: its own, if it has one, else its layer's."""
    dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts[:2])
    return dotted if dotted in BELOW_THE_LINE else layer_of(path)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            found.add(node.module or "")
            if node.module == "xds_server":
                found |= {f"xds_server.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    layer, row = layer_of(path), row_of(path)
    table = ABOVE_THE_LINE | BELOW_THE_LINE
    assert row in table, f"{row} is not in the import table: say what it may import"
    allowed = table[row] | ({layer} if row == layer else set())
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("xds_server.")}
    ours -= {"__version__"}
    assert "*" in allowed or ours <= allowed, f"{layer} may not import {sorted(ours - allowed)}"


@pytest.mark.parametrize(
    "path", [p for p in modules() if layer_of(p) in ABOVE_THE_LINE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_pure_module_does_not_touch_the_world(path: Path) -> None:
    allowed = PURE_STDLIB | PURE_THIRD_PARTY.get(layer_of(path), set()) | {"xds_server"}
    roots = {name.split(".")[0] for name in imports(path)}
    assert roots <= allowed, f"a pure layer may not import {sorted(roots - allowed)}"


def test_only_snapshot_builds_envoy_messages() -> None:
    """Protocol, transport and signals read and write the messages of Envoy's services; nobody else sees any proto."""
    for path in modules():
        protos = {name for name in imports(path) if name.split(".")[0] in {"envoy", "xds"}}
        if layer_of(path) == "snapshot":
            continue
        if layer_of(path) in {"protocol", "transport", "signals"}:
            protos = {name for name in protos if not name.startswith(("envoy.service.", "envoy.config.core."))}
        assert not protos, f"{path}: {protos}"


def test_the_table_names_only_what_exists() -> None:
    there = {name for path in modules() for name in (layer_of(path), row_of(path))}
    assert set(ABOVE_THE_LINE) | set(BELOW_THE_LINE) == there
    for allowed in (ABOVE_THE_LINE | BELOW_THE_LINE).values():
        assert allowed - {"*"} <= set(ABOVE_THE_LINE) | set(BELOW_THE_LINE)
