"""The JSON Schema of a policy, from the grammar: what lets an editor complete keys and mark mistakes while typing.

It knows every key, type and range of numbers. What takes more than one key to judge (a region that is not declared, a
host claimed twice) or arithmetic on a unit (`0ms` for an interval) only the parser finds.
"""

from __future__ import annotations

import json
from typing import Any

from xds_server.policy.grammar import POLICY


def schema() -> dict[str, Any]:
    """Return the schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xds-server policy",
        "description": "Regions, services and the settings by which traffic is spread over them.",
    } | POLICY.schema()


def schema_text() -> str:
    """Return the schema as policy.schema.json holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
