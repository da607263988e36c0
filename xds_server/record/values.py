"""Any of our values as JSON and back: frozen dataclasses, named tuples, enums, and the containers they stand in.

Nothing here knows a field of any of them, so that a new input, or a new field of one, is recorded without new code. A
class is written once, with a number, its name and its fields; after that a value is a list of the number and the
fields. What is read must fit what this version has:

    a field this version does not have, or has with another annotation     refused
    a field that is not in the record and has a default                    filled in: an older record
    a field that is not in the record and has none                         refused
    a class that is not in the registry                                    refused

Objects with state (the controller and what it owns, dataclasses that are not frozen) are written by what their
`__getstate__` gives and come back through `__setstate__` if they have one. What is read is only ever given to classes
of the registry.

Rejected: pickle, which runs whatever a file says; and a schema written by hand, which somebody would forget to extend.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

Json = Any
Registry = Mapping[str, type]
"""The classes that may be written and read, by a name that is the same in every process."""

_PLAIN = frozenset({type(None), bool, int, float, str})
_TUPLE, _LIST, _DICT, _PROXY, _SET, _FROZENSET, _BYTES, _DEQUE, _PART = range(9)
_FIRST_CLASS = 16
"""Numbers below are containers."""

LARGE = 12
"""A value with so many fields is written as a part, once, where parts are asked for: a service's decision is one."""

MOST_REMEMBERED = 100_000
"""Named tuples whose JSON is remembered while a segment is written: some 40 MB if all are targets."""

RECORDED_AS = "recorded_as"
"""In the metadata of a field that may hold a secret and that no decision depends on: what is written in its place."""


class NotRecordableError(TypeError):
    """A value has a class that is not in the registry: a bug of ours, found by the first test that meets it."""


class UnreadableError(ValueError):
    """What is read does not fit this version; the message says where."""


class Captured(NamedTuple):
    """An object with state at one moment (capture.py): written as the object itself would be."""

    cls: type
    state: Mapping[str, Any]


class Encoder:
    """Writes values. `fresh()` and `parts()` return what goes before them: new classes, and large values in them.

    With `in_parts` a value of many fields is written beside the one that holds it, and once however many hold it. So a
    controller's state is many short texts: one long one would stop every other thread while JSON is made of it.
    """

    def __init__(self, registry: Registry) -> None:
        self._names = {cls: name for name, cls in registry.items()}
        self._numbers: dict[type, int] = {}
        self._fresh: list[Json] = []
        self._written: dict[int, tuple[Any, Json]] = {}
        self._parts: list[Json] | None = None
        self._places: dict[int, tuple[Any, Json]] = {}
        self._writers: dict[type, Callable[[Any], Json]] = dict.fromkeys(_PLAIN, _same)
        self._writers |= {
            tuple: partial(self._items, _TUPLE),
            list: partial(self._items, _LIST),
            deque: partial(self._items, _DEQUE),
            dict: partial(self._mapping, _DICT),
            MappingProxyType: partial(self._mapping, _PROXY),
            set: partial(self._members, _SET),
            frozenset: partial(self._members, _FROZENSET),
            bytes: lambda value: [_BYTES, base64.b85encode(value).decode()],
            Captured: self._captured,
        }

    def in_parts(self, value: object) -> tuple[list[Json], Json]:
        """Return the parts of a value, each as number and JSON, and the value as JSON. Raises NotRecordableError."""
        self._parts = []
        written, parts = self.encode(value), self._parts
        self._parts, self._places = None, {}
        return parts, written

    def encode(self, value: object) -> Json:
        """Return a value as JSON. Raises NotRecordableError."""
        writer = self._writers.get(type(value))
        return writer(value) if writer is not None else self._new_class(type(value))(value)

    def fresh(self) -> list[Json]:
        """Return the new classes, each as number, name and [field, annotation] pairs."""
        found, self._fresh = self._fresh, []
        return found

    def _items(self, number: int, value: Iterable[Any]) -> Json:
        encode = self.encode
        return [number, *[part if type(part) in _PLAIN else encode(part) for part in value]]

    def _named(self, number: int, value: tuple[Any, ...]) -> Json:
        """Write a named tuple. The very same one comes again and again (a target, in each of its observations)."""
        known = self._written.get(id(value))
        if known is not None and known[0] is value:
            return known[1]
        if len(self._written) >= MOST_REMEMBERED:
            self._written.clear()
        written = self._items(number, value)
        self._written[id(value)] = (value, written)
        return written

    def _large(self, number: int, value: Any, taken: tuple[Any, ...]) -> Json:
        if self._parts is None:
            return self._items(number, taken)
        known = self._places.get(id(value))
        if known is not None:
            return known[1]
        written = self._items(number, taken)  # first what stands in it, which may be parts, too
        place = [_PART, len(self._parts)]
        self._parts.append([len(self._parts), written])
        self._places[id(value)] = (value, place)
        return place

    def _mapping(self, number: int, value: Mapping[Any, Any]) -> Json:
        return [number, *(self.encode(part) for pair in value.items() for part in pair)]

    def _members(self, number: int, value: Iterable[Any]) -> Json:
        return [number, *map(self.encode, sorted(value, key=repr))]

    def _captured(self, value: Captured) -> Json:
        return [self._number(value.cls), self._mapping(_DICT, value.state)]

    def _number(self, cls: type) -> int:
        if cls in self._numbers:
            return self._numbers[cls]
        if cls not in self._names:
            raise NotRecordableError(f"{cls.__module__}.{cls.__qualname__} cannot be recorded")
        self._numbers[cls] = number = _FIRST_CLASS + len(self._numbers)
        declared = declared_fields(cls)
        shape = _state_names(cls) if declared is None else [list(field[:2]) for field in declared]
        self._fresh.append([number, self._names[cls], shape])
        return number

    def _new_class(self, cls: type) -> Callable[[Any], Json]:
        self._writers[cls] = writer = self._writer(cls, self._number(cls))
        return writer

    def _writer(self, cls: type, number: int) -> Callable[[Any], Json]:
        encode = self.encode
        if issubclass(cls, Enum):
            return lambda value: [number, value.value]
        if issubclass(cls, tuple):
            return partial(self._named, number)
        if is_frozen(cls):
            names = [name for name, _, _ in declared_fields(cls) or ()]
            instead = {name: encode(value) for name, value in _instead(cls).items()}
            if instead or len(names) < 2:
                return lambda value: [
                    number,
                    *[instead[name] if name in instead else encode(getattr(value, name)) for name in names],
                ]
            taken = attrgetter(*names)
            if len(names) >= LARGE:
                return lambda value: self._large(number, value, taken(value))
            return lambda value: self._items(number, taken(value))
        return lambda value: [number, self._mapping(_DICT, state_of(value))]


class Decoder:
    """Reads what an `Encoder` wrote, class by class as they come."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._parts: dict[int, Any] = {}
        self._makers: dict[int, Callable[[list[Json]], Any]] = {
            _TUPLE: lambda items: tuple(map(self.decode, items)),
            _LIST: lambda items: list(map(self.decode, items)),
            _DEQUE: lambda items: deque(map(self.decode, items)),
            _DICT: self._dict,
            _PROXY: lambda items: MappingProxyType(self._dict(items)),
            _SET: lambda items: set(map(self.decode, items)),
            _FROZENSET: lambda items: frozenset(map(self.decode, items)),
            _BYTES: lambda items: base64.b85decode(_only(items)),
            _PART: self._part,
        }

    def learn(self, row: Json) -> None:
        """Take in a class, as `Encoder.fresh` gave it. Raises UnreadableError if this version has another."""
        number, name, declared = row
        cls = self._registry.get(name)
        if cls is None:
            raise UnreadableError(f"this version has no {name}")
        self._makers[number] = self._maker(cls, name, declared)

    def part(self, number: int, value: Json) -> None:
        """Take in a part of the values that follow. Raises UnreadableError."""
        self._parts[number] = self.decode(value)

    def _part(self, items: list[Json]) -> Any:
        if _only(items) not in self._parts:
            raise UnreadableError(f"part {items[0]} is missing")
        return self._parts[items[0]]

    def decode(self, value: Json) -> Any:
        """Return the value. Raises UnreadableError."""
        if type(value) in _PLAIN:
            return value
        if type(value) is not list or not value or type(value[0]) is not int or value[0] not in self._makers:
            raise UnreadableError(f"{str(value)[:60]!r} is no value")
        return self._makers[value[0]](value[1:])

    def _dict(self, items: list[Json]) -> dict[Any, Any]:
        parts = list(map(self.decode, items))
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def _maker(self, cls: type, name: str, declared: Json) -> Callable[[list[Json]], Any]:
        if issubclass(cls, Enum):
            return partial(self._enum, cls, name)
        if declared_fields(cls) is None:
            if declared != _state_names(cls):
                other = f"written by another version of xds-server, which kept other state ({name})"
                raise UnreadableError(f"{other}: only that one can replay it")
            return lambda items: restored(cls, self.decode(_only(items)))
        if declared is None or not all(len(pair) == 2 for pair in declared):
            raise UnreadableError(f"{name} had no fields")
        order = [field for field, _ in declared]
        _check_fields(cls, name, dict(declared))
        return partial(self._declared, cls, name, order)

    def _declared(self, cls: type, name: str, order: list[str], items: list[Json]) -> Any:
        if len(items) != len(order):
            raise UnreadableError(f"{name} has {len(items)} fields, not {len(order)}")
        return cls(**dict(zip(order, map(self.decode, items), strict=True)))

    def _enum(self, cls: type, name: str, items: list[Json]) -> Any:
        try:
            return cls(_only(items))
        except ValueError as error:
            raise UnreadableError(f"{name}: {error}") from error


def declared_fields(cls: type) -> list[tuple[str, str, bool]] | None:
    """Return a frozen class's fields with annotation and whether each has a default; None for all others."""
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        defaults = cls._field_defaults  # type: ignore[attr-defined]
        return [(name, _text(cls.__annotations__[name]), name in defaults) for name in cls._fields]
    if is_frozen(cls):
        return [
            (f.name, _text(f.type), f.default is not MISSING or f.default_factory is not MISSING) for f in fields(cls)
        ]
    return None


def _instead(cls: type) -> dict[str, object]:
    """Return what is written in place of some fields' values."""
    return {f.name: f.metadata[RECORDED_AS] for f in fields(cls) if RECORDED_AS in f.metadata}


def is_frozen(cls: type) -> bool:
    """Return whether a class is a frozen dataclass: its values are written by field, and never need copying."""
    return is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


def state_of(value: Any) -> Mapping[str, Any]:
    """Return the state of an object as its class gives it, by attribute. With slots it comes as (attributes, slots)."""
    given = value.__getstate__()
    attributes, slots = given if isinstance(given, tuple) else (given, None)
    return {**(attributes or {}), **(slots or {})}


def _state_names(cls: type) -> list[str] | None:
    """Return the names that an object's `__init__` deals in: another set of them is another state. None for enums."""
    code = getattr(cls.__init__, "__code__", None)  # type: ignore[misc]
    return None if issubclass(cls, Enum) or code is None else sorted(code.co_names)


def restored(cls: type[Any], state: Mapping[str, Any]) -> Any:
    """Return an object with that state."""
    made = object.__new__(cls)
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        for name, value in state.items():
            setattr(made, name, value)
    return made


def _check_fields(cls: type, name: str, recorded: Mapping[str, str]) -> None:
    declared = declared_fields(cls)
    if declared is None:
        raise UnreadableError(f"{name} has no fields in this version")
    ours = {field: annotation for field, annotation, _ in declared}
    for field, annotation in recorded.items():
        if ours.get(field) != annotation:
            raise UnreadableError(
                f"{name}.{field} was {annotation}, this version has {ours.get(field, 'no such field')}"
            )
    for missing in _required(declared):
        if missing not in recorded:
            raise UnreadableError(f"{name}.{missing} is not in the record and has no default")


def _required(declared: Iterable[tuple[str, str, bool]]) -> Iterator[str]:
    return (field for field, _, optional in declared if not optional)


def _text(annotation: object) -> str:
    """Return an annotation as it was written, which a named tuple has wrapped in a forward reference."""
    return str(getattr(annotation, "__forward_arg__", annotation))


def _only(items: list[Json]) -> Any:
    if len(items) != 1:
        raise UnreadableError(f"{len(items)} parts where one belongs")
    return items[0]


def _same(value: Any) -> Any:
    return value
