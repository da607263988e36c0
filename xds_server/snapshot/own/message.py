"""From a tree of YAML nodes to a message of Envoy's API: every error at once, each at its line and column.

The form is protobuf's JSON form, which is Envoy's own: fields by either of their names, durations as `0.25s`, an `Any`
as a mapping with `@type`. protobuf's `json_format` reads the same, but stops at the first error and knows no lines, so
the tree is walked here along the descriptors; tests hold the result to that of `json_format`.

While a message is complete and its nodes are known, it is checked by Envoy's own rules (rules.py) and asked what it
refers to (needs.py). In a secret no message repeats what was written: errors go to logs and pages. A secret is a
`Secret`, and what Envoy's API marks as sensitive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import EncodeError, Message
from udpa.annotations import sensitive_pb2

from xds_server.policy.nodes import ListNode, MapNode, Node, ScalarNode
from xds_server.policy.reading import Reading, below
from xds_server.snapshot.own import known, scalars
from xds_server.snapshot.own.needs import Need, needs_of
from xds_server.snapshot.own.rules import DURATION, WRAPPERS, Rules
from xds_server.snapshot.resource import TypeUrl
from xds_server.snapshot.wire import any_of

SECRET = TypeUrl.SECRET.removeprefix(known.PREFIX)
ANY = "google.protobuf.Any"
LOOSE = frozenset({"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"})
TEXTUAL = frozenset({DURATION, "google.protobuf.Timestamp", "google.protobuf.FieldMask"})
TYPED_STRUCT = '{"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: …, value: {…}}'
TOO_DEEP = "nested more than 100 messages deep, which Envoy does not read; make it flatter"
WELL_KNOWN = LOOSE | TEXTUAL | WRAPPERS | {ANY}


class Place(NamedTuple):
    """Where a value stands, and whether it may be repeated in messages."""

    node: Node
    path: str
    secret: bool = False


class Reference(NamedTuple):
    """What is referred to, and where."""

    need: Need
    place: Place


class _Entry(NamedTuple):
    field: FieldDescriptor
    key: ScalarNode
    place: Place


class Reader:
    """Reads messages of one file. Problems go to `reading`, what the messages refer to into `references`."""

    def __init__(self, reading: Reading, rules: Rules) -> None:
        self._reading = reading
        self._rules = rules
        self.references: list[Reference] = []

    def typed(self, place: Place, *, inside: bool = False) -> Message | None:
        """Read a mapping with an `@type`; None if it has none that is known. `inside`: in another message."""
        found = self._type(place, inside=inside)
        if found is None:
            return None
        kind, rest = found
        inner = Place(rest, place.path, place.secret or kind.full_name == SECRET)
        if kind.full_name not in WELL_KNOWN:
            return self._message(inner, kind)
        value = [v for k, v in rest.pairs() if isinstance(k, ScalarNode) and k.text == "value"]
        if len(rest.flat) != 2 or not value:
            self._wrong(inner, f"a {kind.full_name} in an Any has one key beside @type: value")
            return None
        return self._message(Place(value[0], below(place.path, "value"), inner.secret), kind)

    def _type(self, place: Place, *, inside: bool) -> tuple[Descriptor, MapNode] | None:
        """Return the type that a mapping names, and the mapping without the name."""
        node = place.node
        if not isinstance(node, MapNode):
            self._unexpected(place, f'a mapping with "@type": {known.PREFIX}…')
            return None
        named = [(k, v) for k, v in node.pairs() if isinstance(k, ScalarNode) and k.text == "@type"]
        if not named:
            self._wrong(place, f'no @type; write "@type": {known.PREFIX}… as its first key')
            return None
        rest = MapNode([n for pair in node.pairs() if pair[0] is not named[0][0] for n in pair], node.line, node.column)
        at = Place(named[0][1], below(place.path, "@type"), place.secret)
        if not isinstance(at.node, ScalarNode):
            self._unexpected(at, f"{known.PREFIX}…")
            return None
        kind = self._kind(at, at.node.text, inside=inside)
        return (kind, rest) if kind is not None else None

    def _kind(self, place: Place, url: str, *, inside: bool) -> Descriptor | None:
        name = url.removeprefix(known.PREFIX)
        kind = known.find(name)
        if kind is None:
            guess = "" if place.secret else known.similar(name)
            hint = f"; if Envoy has it nevertheless, write {TYPED_STRUCT}" if inside and not guess else ""
            self._wrong(place, f"no such type in the Envoy API known here{guess}{hint}")
        elif not url.startswith(known.PREFIX):
            self._wrong(place, f"a type URL begins with {known.PREFIX}")
        elif known.is_frozen(kind):
            self._wrong(place, "a type of version 2 of the API, which Envoy no longer takes; use version 3")
            return None
        return kind

    def _message(self, place: Place, kind: Descriptor) -> Message | None:
        if kind.full_name in WELL_KNOWN:
            return self._well_known(place, kind)
        if not isinstance(place.node, MapNode):
            empty = isinstance(place.node, ScalarNode) and place.node.is_null
            self._unexpected(place, f"a mapping with the fields of {kind.name}" + (" ({} for none)" if empty else ""))
            return None
        message = message_factory.GetMessageClass(kind)()
        before = self._count()
        entries = {entry.field.name: entry for entry in self._entries(place, place.node, kind)}
        whole = self._count() == before
        bad = {name for name, entry in entries.items() if not self._set(message, entry)}
        self._judge(message, place, entries, bad, whole=whole)
        return message

    def _entries(self, place: Place, node: MapNode, kind: Descriptor) -> Iterator[_Entry]:
        """Return the fields given, each once, none that excludes another."""
        first: dict[str, int] = {}
        for key, value in node.pairs():
            field = self._field(place, key, kind)
            if field is None or not isinstance(key, ScalarNode):
                continue
            path, choice = below(place.path, field.name), field.containing_oneof
            if field.name in first:
                message = f"given twice; the first is on line {first[field.name]}, remove one"
                self._reading.wrong(path, message, key)
            elif choice is not None and choice.name in first:
                message = f"excludes another field of {choice.name}, on line {first[choice.name]}; remove one"
                self._reading.wrong(path, message, key)
            else:
                first |= dict.fromkeys([field.name, *([choice.name] if choice is not None else [])], key.line)
                secret = place.secret or field.GetOptions().Extensions[sensitive_pb2.sensitive]
                yield _Entry(field, key, Place(value, path, secret))

    def _field(self, place: Place, key: Node, kind: Descriptor) -> FieldDescriptor | None:
        if not isinstance(key, ScalarNode):
            self._wrong(Place(key, place.path, place.secret), "the name of a field is plain text")
            return None
        field = kind.fields_by_name.get(key.text) or kind.fields_by_camelcase_name.get(key.text)
        if field is not None:
            return field
        names = list(kind.fields_by_name)
        if place.secret:
            self._reading.wrong(place.path, f"unknown field; {kind.name} has {', '.join(names)}", key)
        elif key.text == "<<" and key.plain:
            self._reading.wrong(place.path, "merge keys are not supported; write the fields out", key)
        else:
            few = f"; {kind.name} has {', '.join(names)}" if len(names) <= scalars.MOST_NAMES_TOLD else ""
            guess = self._reading.similar(key.text, names) or few
            self._reading.wrong(below(place.path, key.text), f"{kind.name} has no such field{guess}", key)
        return None

    def _set(self, message: Message, entry: _Entry) -> bool:
        """Set a field; False if something about it was wrong."""
        field, before = entry.field, self._count()
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._set_map(message, entry)
        elif field.is_repeated:
            self._set_list(message, entry)
        else:
            self._put(message, field, self._value(field, entry.place))
        return self._count() == before

    def _set_list(self, message: Message, entry: _Entry) -> None:
        node = entry.place.node
        if not isinstance(node, ListNode):
            self._unexpected(entry.place, "a list")
            return
        into = getattr(message, entry.field.name)
        for index, item in enumerate(node.items):
            value = self._value(entry.field, Place(item, f"{entry.place.path}[{index}]", entry.place.secret))
            if value is not None:
                into.append(value)

    def _set_map(self, message: Message, entry: _Entry) -> None:
        field, place = entry.field, entry.place
        if not isinstance(place.node, MapNode):
            self._unexpected(place, "a mapping")
            return
        entry_type = field.message_type
        assert entry_type is not None, "a map is a list of entries"
        key_field, value_field = (entry_type.fields_by_name[name] for name in ("key", "value"))
        into, seen = getattr(message, field.name), set()
        for key, child in place.node.pairs():
            at = Place(key, place.path, place.secret)
            name = self._value(key_field, at)
            if name is None:
                continue
            if name in seen:
                self._wrong(at, "a key is given twice; remove one")
                continue
            seen.add(name)
            path = place.path if place.secret else below(place.path, str(name))
            value = self._value(value_field, Place(child, path, place.secret))
            if value is not None and value_field.message_type is not None:
                into[name].CopyFrom(value)
            elif value is not None:
                into[name] = value

    def _put(self, message: Message, field: FieldDescriptor, value: Any) -> None:
        if value is None:
            return
        if field.message_type is not None:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)

    def _value(self, field: FieldDescriptor, place: Place) -> Any:
        """Return one value of a field; None if it is wrong."""
        if field.message_type is not None:
            return self._message(place, field.message_type)
        if not isinstance(place.node, ScalarNode) or place.node.is_null:
            words = "text" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else "a single value"
            self._unexpected(place, words)
            return None
        try:
            return scalars.scalar(field, place.node)
        except scalars.ValueProblemError as problem:
            self._unexpected(place._replace(node=problem.node or place.node), str(problem))
            return None

    def _well_known(self, place: Place, kind: Descriptor) -> Message | None:
        if kind.full_name == ANY:
            return self._packed(place)
        message: Message = message_factory.GetMessageClass(kind)()
        if kind.full_name in WRAPPERS:
            value = self._value(kind.fields_by_name["value"], place)
            self._put(message, kind.fields_by_name["value"], value)
            return message if value is not None else None
        try:
            parsed = _loose(place, kind) if kind.full_name in LOOSE else _textual(place, kind)
        except scalars.ValueProblemError as problem:
            self._unexpected(place._replace(node=problem.node or place.node), str(problem))
            return None
        try:
            ParseDict(parsed, message)
        except ParseError:  # what is left to go wrong after our own checks: its limit of depth
            self._wrong(place, TOO_DEEP)
            return None
        return message

    def _packed(self, place: Place) -> Message | None:
        inner = self.typed(place, inside=True)
        try:
            return any_of(inner) if inner is not None else None
        except EncodeError:
            self._wrong(place, TOO_DEEP)
            return None

    def _judge(self, message: Message, place: Place, entries: dict[str, _Entry], bad: set[str], *, whole: bool) -> None:
        """Check a message that has been read, and note what it refers to."""
        for name, words in self._rules.faults(message, bad, whole=whole):
            at = entries[name].place if name in entries else place._replace(path=below(place.path, name))
            self._wrong(at if name else place, words)
        for name, entry in entries.items():
            if name not in bad and entry.field.GetOptions().deprecated:
                self._reading.where[entry.place.path] = entry.key
                self._reading.warn(entry.place.path, "deprecated: a later Envoy may reject it")
        for need in needs_of(message):
            self.references.append(Reference(need, entries[need.field].place if need.field in entries else place))

    def _count(self) -> int:
        return len(self._reading.problems) + self._reading.more

    def _unexpected(self, place: Place, expected: str) -> None:
        empty = isinstance(place.node, ScalarNode) and place.node.is_null
        hidden = place.secret and isinstance(place.node, ScalarNode)
        shown = "no value" if empty else "not what is expected" if hidden else f"{place.node.noun} stands here"
        self._wrong(place, f"{shown}; write {expected}")

    def _wrong(self, place: Place, message: str) -> None:
        self._reading.wrong(place.path, message, place.node)


def _loose(place: Place, kind: Descriptor) -> Any:
    shape = {"Struct": MapNode, "ListValue": ListNode}.get(kind.name)
    if shape is not None and not isinstance(place.node, shape):
        raise scalars.ValueProblemError("a mapping" if shape is MapNode else "a list")
    return scalars.loose(place.node)


def _textual(place: Place, kind: Descriptor) -> Any:
    """Return the text of a duration, a time or a field mask, after checking it."""
    if not isinstance(place.node, ScalarNode):
        raise scalars.ValueProblemError(f"text that says a {kind.name}")
    if kind.full_name == DURATION:
        return scalars.duration(place.node)
    message: Any = message_factory.GetMessageClass(kind)()
    try:
        message.FromJsonString(place.node.text)
    except ValueError:
        example = "2026-01-31T12:00:00Z" if kind.name == "Timestamp" else "one.field,another.field"
        raise scalars.ValueProblemError(f"a {kind.name} such as {example}") from None
    return place.node.text
