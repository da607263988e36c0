"""What Envoy checks of a message before it uses it: the `validate.rules` written in its API, and two things beyond.

Envoy runs these checks on every resource it gets and rejects what fails (its API is annotated with
protoc-gen-validate). Running the same ones here turns a NACK into a line and a column. Kinds of rule that no field of
the API uses, or that few do and that depend on RE2 (`pattern`), are left to Envoy.

Beyond the rules: fields that Envoy's API marks `disallowed_by_default` it rejects, and an `ApiConfigSource` must speak
version 3 of the transport.

Words never repeat a value: it may be a secret.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from envoy.annotations import deprecation_pb2
from envoy.config.core.v3.config_source_pb2 import V3, ApiConfigSource
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from validate import validate_pb2

Fault = tuple[str, str]
"""The field, and what is wrong with it. An empty field is the message itself."""

WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
DURATION = "google.protobuf.Duration"


class _Checked(NamedTuple):
    """A field about which Envoy's API says something: its rules with their kind, or that it is no longer accepted."""

    field: FieldDescriptor
    disallowed: bool
    rules: Any
    kind: str | None

    @property
    def required(self) -> bool:
        """Return whether a message must be given here."""
        by_kind = self.kind in {"any", "duration", "timestamp"} and getattr(self.rules, self.kind).required
        return self.field.containing_oneof is None and bool(self.rules.message.required or by_kind)


class Rules:
    """Checks messages. Keeps what the API says of each type: looking it up takes longer than applying it."""

    def __init__(self) -> None:
        self._fields: dict[str, tuple[_Checked, ...]] = {}
        self._choices: dict[str, tuple[tuple[str, list[str]], ...]] = {}

    def faults(self, message: Message, apart: set[str], *, whole: bool) -> Iterator[Fault]:
        """Return what Envoy would refuse in this message's own fields, those named in `apart` left out.

        Unless it is `whole`, nothing is said of what is missing: something that could not be read may stand for it.
        """
        kind: Any = message.DESCRIPTOR
        if kind.full_name not in self._fields:
            self._learn(kind)
        for oneof, names in self._choices[kind.full_name] if whole else ():
            if apart.isdisjoint(names) and message.WhichOneof(oneof) is None:
                yield "", f"one of {', '.join(names)} is needed"
        for checked in self._fields[kind.full_name]:
            given = _is_given(message, checked.field)
            if checked.field.name not in apart and (whole or given):
                yield from ((checked.field.name, words) for words in _field(message, checked, given=given))
        if isinstance(message, ApiConfigSource) and message.transport_api_version != V3:
            yield "transport_api_version", "must be V3, the only version that Envoy speaks"

    def _learn(self, kind: Any) -> None:
        self._fields[kind.full_name] = tuple(found for field in kind.fields if (found := _checked(field)) is not None)
        self._choices[kind.full_name] = tuple(
            (oneof.name, [field.name for field in oneof.fields])
            for oneof in kind.oneofs
            if oneof.GetOptions().Extensions[validate_pb2.required]
        )


def _checked(field: FieldDescriptor) -> _Checked | None:
    options = field.GetOptions()
    disallowed = options.Extensions[deprecation_pb2.disallowed_by_default]
    if not disallowed and not options.HasExtension(validate_pb2.rules):
        return None
    rules = options.Extensions[validate_pb2.rules]
    return _Checked(field, disallowed, rules, rules.WhichOneof("type"))


def _field(message: Message, checked: _Checked, *, given: bool) -> Iterator[str]:
    if given and checked.disallowed:
        yield "Envoy no longer accepts this field; see its API documentation for what replaces it"
    if not given and checked.required:
        yield "missing; Envoy needs it"
    elif checked.kind is not None and (given or not checked.field.has_presence):
        rules, value = getattr(checked.rules, checked.kind), getattr(message, checked.field.name)
        words = _value(rules, checked.kind, _bare(value, checked.field))
        yield from words if given else (f"missing; it {word}" for word in words)


def _is_given(message: Message, field: FieldDescriptor) -> bool:
    return message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))


def _bare(value: Any, field: FieldDescriptor) -> Any:
    """Return what a rule speaks of: a wrapper's content, a duration's seconds."""
    if field.is_repeated or field.message_type is None:
        return value
    if field.message_type.full_name in WRAPPERS:
        return value.value
    return _seconds(value) if field.message_type.full_name == DURATION else value


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) / 1e9


def _value(rules: Any, name: str, value: Any) -> Iterator[str]:
    if name in {"string", "bytes"}:
        yield from _length(rules, name, value)
    elif name in {"repeated", "map"}:
        yield from _count(rules, name, value)
    elif name in {"enum", "bool"}:
        yield from _choice(rules, value)
    elif name not in {"any", "timestamp"}:
        yield from _range(rules, name, value)


def _length(rules: Any, name: str, value: Any) -> Iterator[str]:
    if not value and name == "string" and rules.ignore_empty:
        return
    size = len(value)
    in_bytes = len(value.encode()) if isinstance(value, str) else size
    if size < rules.min_len or (name == "string" and in_bytes < rules.min_bytes):
        least = max(rules.min_len, rules.min_bytes if name == "string" else 0)
        yield "must not be empty" if least == 1 else f"must have at least {least} characters"
    most = [(rules.max_len, size)] + ([(rules.max_bytes, in_bytes)] if name == "string" else [])
    yield from (f"must have at most {limit} characters" for limit, has in most if limit and has > limit)
    if name == "string":
        yield from _affixes(rules, value)


def _affixes(rules: Any, value: str) -> Iterator[str]:
    if not value.startswith(rules.prefix):
        yield f"must begin with {rules.prefix}"
    if not value.endswith(rules.suffix):
        yield f"must end with {rules.suffix}"
    choices = list(getattr(rules, "in"))
    if choices and value not in choices:
        yield f"must be one of {', '.join(choices)}"
    if rules.WhichOneof("well_known") == "well_known_regex" and any(c in value for c in "\0\r\n"):
        yield "must not hold line ends or zero bytes"


def _count(rules: Any, name: str, value: Any) -> Iterator[str]:
    least = rules.min_items if name == "repeated" else rules.min_pairs
    most = rules.max_items if name == "repeated" else rules.max_pairs
    noun = "item" if name == "repeated" else "entry"
    if len(value) < least:
        yield f"must have at least {least} {noun}{'s' if least > 1 and noun == 'item' else ''}"
    if most and len(value) > most:
        yield f"must have at most {most}"
    if name == "repeated" and rules.HasField("items") and (kind := rules.items.WhichOneof("type")):
        found = {words for item in value for words in _value(getattr(rules.items, kind), kind, item)}
        yield from (f"each {words}" for words in sorted(found))


def _choice(rules: Any, value: Any) -> Iterator[str]:
    if rules.HasField("const") and value != rules.const:
        yield f"must be {str(rules.const).lower()}"
    if hasattr(rules, "not_in") and value in rules.not_in:
        yield "must not have this value"


def _range(rules: Any, name: str, value: float) -> Iterator[str]:
    unit = "s" if name == "duration" else ""
    for bound, (words, holds) in _BOUNDS.items():
        if rules.HasField(bound):
            limit = _seconds(getattr(rules, bound)) if name == "duration" else getattr(rules, bound)
            if not holds(value, limit):
                yield f"must be {words} {limit:g}{unit}"


_BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = MappingProxyType(
    {
        "gt": ("more than", operator.gt),
        "gte": ("at least", operator.ge),
        "lt": ("less than", operator.lt),
        "lte": ("at most", operator.le),
    }
)
