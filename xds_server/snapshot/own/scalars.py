"""One value of a field, from the text in a file: protobuf's JSON form (protobuf.dev, "ProtoJSON Format"), strictly.

What a scalar means is said by the field it stands under, not by its looks: YAML readers disagree on `no`, `0644`,
`1_000` and `10:30`. Where they would disagree, it is an error that says what to write. Only `Struct` and `Value`, which
have no field to ask, go by looks; there, plain text that readers take differently must be put in quotes.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from xds_server.policy.nodes import ListNode, MapNode, Node, ScalarNode

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18}|1[0-9]{19})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_DURATION = re.compile(r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,9})?s")
_OTHER_DURATION = re.compile(r"([0-9]+)(ms|m|h)")
_LOOKS_OTHERWISE = re.compile(
    r"(?i:yes|no|on|off|y|n|true|false|null|~|[-+]?\.inf|\.nan)|[-+]?[0-9][0-9_]*(:[0-9_]+)+|[-+]?(0[xob]?[0-9a-fA-F_]+|[0-9]+_[0-9_]*|\.[0-9]+|[0-9]+\.)|\+[0-9.]+"
)
_NOT_TEXT = re.compile(r"true|True|TRUE|false|False|FALSE|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_RANGES = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
        FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    }
)

MOST_NAMES_TOLD = 12

MOST_SECONDS = 315_576_000_000
"""The longest duration that protobuf has: 10,000 years."""


class ValueProblemError(ValueError):
    """What is expected in place of what was written: "a whole number from 0 to 10". Never repeats the text.

    `node` is where, if it is not the value itself but something in it.
    """

    def __init__(self, expected: str, node: Node | None = None) -> None:
        super().__init__(expected)
        self.node = node


def scalar(field: FieldDescriptor, node: ScalarNode) -> Any:
    """Return the value of a field that is no message. Raises ValueProblemError."""
    return _CONVERTERS[field.cpp_type](field, node)


def duration(node: ScalarNode) -> str:
    """Check a duration, and return its text. Raises ValueProblemError."""
    if _DURATION.fullmatch(node.text) and abs(float(node.text[:-1])) <= MOST_SECONDS:
        return node.text
    if match := _OTHER_DURATION.fullmatch(node.text):
        seconds = int(match[1]) * {"ms": 0.001, "m": 60, "h": 3600}[match[2]]
        raise ValueProblemError(f"a duration in seconds, here {seconds:.12g}s")
    raise ValueProblemError("a duration in seconds such as 0.25s")


def loose(node: Node) -> Any:
    """Return a `Value`'s content: text, number, boolean, null, list or mapping. Raises ValueProblemError."""
    if isinstance(node, ListNode):
        return [loose(item) for item in node.items]
    return _loose_mapping(node) if isinstance(node, MapNode) else _by_looks(node)


def _by_looks(node: ScalarNode) -> Any:
    if not node.plain:
        return node.text
    if node.text in {"", "~", "null"}:
        return None
    if node.text in {"true", "false"}:
        return node.text == "true"
    if _NUMBER.fullmatch(node.text):
        return _exact(node)
    if _LOOKS_OTHERWISE.fullmatch(node.text):
        raise ValueProblemError(
            "true, false, a decimal number, or quotes around text: YAML readers differ on this", node
        )
    return node.text


def _loose_mapping(node: MapNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.pairs():
        if not isinstance(key, ScalarNode):
            raise ValueProblemError("text as a key", key)
        if key.text == "<<" and key.plain:
            raise ValueProblemError("the entries themselves: merge keys are not supported", key)
        if key.text in found:
            raise ValueProblemError("each key once", key)
        found[key.text] = loose(value)
    return found


def _exact(node: ScalarNode) -> float:
    text = node.text
    value = float(text)
    if not math.isfinite(value) or ("." not in text and "e" not in text.lower() and int(value) != int(text)):
        raise ValueProblemError("a number that a double can hold, or quotes around it", node)
    return value


def _integer(field: FieldDescriptor, node: ScalarNode) -> int:
    low, high = _RANGES[field.cpp_type]
    if not _INTEGER.fullmatch(node.text) or not low <= int(node.text) <= high:
        raise ValueProblemError(f"a whole number from {low} to {high}, in decimal")
    return int(node.text)


def _number(field: FieldDescriptor, node: ScalarNode) -> float:
    if node.text in {"NaN", "Infinity", "-Infinity"}:
        return float(node.text)
    if not _NUMBER.fullmatch(node.text) or not math.isfinite(value := float(node.text)):
        raise ValueProblemError("a decimal number")
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        try:
            struct.pack("f", value)
        except OverflowError:
            raise ValueProblemError("a number that a 32-bit float can hold") from None
    return value


def _flag(_field: FieldDescriptor, node: ScalarNode) -> bool:
    if not node.plain or node.text not in {"true", "false"}:
        raise ValueProblemError("true or false, without quotes")
    return node.text == "true"


def _text(field: FieldDescriptor, node: ScalarNode) -> str | bytes:
    if field.type == FieldDescriptor.TYPE_BYTES:
        try:
            return base64.b64decode(node.text.translate(str.maketrans("-_", "+/")), validate=True)
        except binascii.Error:
            raise ValueProblemError("base64") from None
    if node.plain and _NOT_TEXT.fullmatch(node.text):
        raise ValueProblemError("text: put it in quotes")
    return node.text


def _enum(field: FieldDescriptor, node: ScalarNode) -> int:
    kind = field.enum_type
    assert kind is not None
    if node.text in kind.values_by_name:
        return int(kind.values_by_name[node.text].number)
    if _INTEGER.fullmatch(node.text) and int(node.text) in {value.number for value in kind.values}:
        return int(node.text)
    names = [name for name in kind.values_by_name if "DEPRECATED" not in name.upper()]
    more = f" and {len(names) - MOST_NAMES_TOLD} more" if len(names) > MOST_NAMES_TOLD else ""
    raise ValueProblemError(f"one of {', '.join(names[:MOST_NAMES_TOLD])}{more}")


_CONVERTERS: Mapping[int, Callable[[FieldDescriptor, ScalarNode], Any]] = MappingProxyType(
    {
        **dict.fromkeys(_RANGES, _integer),
        FieldDescriptor.CPPTYPE_FLOAT: _number,
        FieldDescriptor.CPPTYPE_DOUBLE: _number,
        FieldDescriptor.CPPTYPE_BOOL: _flag,
        FieldDescriptor.CPPTYPE_STRING: _text,
        FieldDescriptor.CPPTYPE_ENUM: _enum,
    }
)
