"""Short forms for JSON Schema (2020-12), which OpenAPI 3.1 uses as it is. Pure.

Objects stay open: a program that reads answers should let fields pass that it does not know, because later versions add
some. The tests close them, so that each field that is sent is in the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

Json = dict[str, Any]

NONE: Mapping[str, Json] = MappingProxyType({})


def text(description: str = "", **more: object) -> Json:
    """Return a string."""
    return _said({"type": "string"} | more, description)


def number(description: str = "", **more: object) -> Json:
    """Return a number."""
    return _said({"type": "number"} | more, description)


def whole(description: str = "", **more: object) -> Json:
    """Return an integer."""
    return _said({"type": "integer"} | more, description)


def flag(description: str = "") -> Json:
    """Return true or false."""
    return _said({"type": "boolean"}, description)


def one_of(values: Iterable[str], description: str = "") -> Json:
    """Return one of some words."""
    return _said({"type": "string", "enum": [str(value) for value in values]}, description)


def time(description: str = "") -> Json:
    """Return a moment as RFC 3339 says it."""
    return text(description, format="date-time")


def maybe(schema: Json) -> Json:
    """Return what may also be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Json, description: str = "") -> Json:
    """Return a list."""
    return _said({"type": "array", "items": items}, description)


def table(values: Json, description: str = "") -> Json:
    """Return an object whose names are data: regions, views, services."""
    return _said({"type": "object", "additionalProperties": values}, description)


def fields(needed: Mapping[str, Json], description: str = "", optional: Mapping[str, Json] = NONE) -> Json:
    """Return an object with fields that are always there, and some that may be."""
    schema = {"type": "object", "properties": {**needed, **optional}, "required": list(needed)}
    return _said(schema, description)


def ref(name: str) -> Json:
    """Return a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _said(schema: Json, description: str) -> Json:
    return schema | ({"description": description} if description else {})
