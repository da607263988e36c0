"""The codec: everything that can go into a controller comes back equal, and what does not fit is refused."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.record.world import REGISTRY, policy
from xds_server.policy.types import OwnResource
from xds_server.record.values import Decoder, Encoder, NotRecordableError, Registry, UnreadableError
from xds_server.snapshot.resource import Resource
from xds_server.step import Inputs


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Shape:
    points: tuple[Point, ...]
    colour: Colour | None = None


OURS: Registry = {"Colour": Colour, "Point": Point, "Shape": Shape}


def through(value: object, registry: Registry, reading: Registry | None = None) -> Any:
    encoder, decoder = Encoder(registry), Decoder(reading or registry)
    encoded = json.loads(json.dumps(encoder.encode(value)))
    for row in json.loads(json.dumps(encoder.fresh())):
        decoder.learn(row)
    return decoder.decode(encoded)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
ours = st.builds(Shape, st.lists(st.builds(Point, st.integers(), st.floats(allow_nan=False))).map(tuple))
values = st.recursive(
    plain | ours | st.just(Colour.RED),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(deque)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers() | st.text())
        | st.sets(st.integers())
    ),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_again(value: object) -> None:
    read = through(value, OURS)
    assert read == value
    assert type(read) is type(value)


def test_a_policy_is_read_again() -> None:
    read = through(policy(), REGISTRY)
    assert read == policy()
    assert through(MappingProxyType({1: 2}), REGISTRY) == {1: 2}


def every_field(hint: object) -> set[type]:
    """Return the classes that a field's annotation speaks of, at any depth."""
    found = {hint} if isinstance(hint, type) else set()
    for inner in get_args(hint):
        found |= every_field(inner)
    return found


def test_every_class_that_an_input_can_hold_is_in_the_registry() -> None:
    due: list[type] = [Inputs]
    seen: set[type] = set()
    while due:
        cls = due.pop()
        if cls in seen or not cls.__module__.startswith("xds_server"):
            continue
        seen.add(cls)
        hints: Mapping[str, object] = get_type_hints(cls) if not issubclass(cls, StrEnum) else {}
        due += [inner for hint in hints.values() for inner in every_field(hint)]
    assert len(seen) > 15
    assert seen <= set(REGISTRY.values())


def test_a_class_outside_of_the_registry_is_named() -> None:
    with pytest.raises(NotRecordableError, match=r"test_values\.Shape"):
        through(Shape(()), {"Point": Point})


SHAPE = [("points", "tuple[Point, ...]"), ("colour", "Colour | None")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([*SHAPE, ("size", "int")], r"Shape\.size is not in the record and has no default"),
        ([("points", "list[Point]")], r"Shape\.points was tuple\[Point, \.\.\.\], this version has list\[Point\]"),
        ([("points", "tuple[Point, ...]")], r"Shape\.colour was Colour \| None, this version has no such field"),
    ],
)
def test_another_version_of_a_class_is_refused_by_name(fields: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        through(Shape(()), OURS, {**OURS, "Shape": make_dataclass("Shape", fields, frozen=True)})


def test_a_field_that_came_later_gets_its_default() -> None:
    later = make_dataclass(
        "Shape",
        [("points", "tuple[Point, ...]"), ("size", "int", 7), ("colour", "Colour | None", None)],
        frozen=True,
    )
    assert through(Shape(()), OURS, {**OURS, "Shape": later}) == later(points=(), size=7, colour=None)


@pytest.mark.parametrize("value", [[], [99], {"a": 1}, ["x"], [6], [True], [2, 1]])
def test_what_is_no_value_is_refused(value: object) -> None:
    with pytest.raises((UnreadableError, ValueError)):
        Decoder(OURS).decode(value)


def test_the_content_of_own_resources_is_not_recorded() -> None:
    """It may be a secret, and no decision depends on it: what a snapshot's version says comes from the resource's."""
    own = OwnResource("type", "name", "version", b"hunter2")
    assert through(own, REGISTRY) == replace(own, body=b"")
    resource = Resource("type", "name", "version", b"hunter2")
    assert through(resource, REGISTRY) == replace(resource, body=b"")
