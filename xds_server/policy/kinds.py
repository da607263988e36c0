"""The kinds of thing that stand under a key, each of which reads a node, checks it, and describes itself.

A policy's grammar (grammar.py) is a table of keys and kinds. Parsing, the JSON Schema for editors and the tables in
docs/policy.md all come from that one table, so they cannot disagree. The rejected alternative, a class per section
with hand-written checks, says each key three times.

`read` never raises for what an operator wrote: it notes a problem and returns `BAD`, and the key is then left out of
the result, so that everything wrong in a text is found in one pass and a bad value causes no second message. What
needs more than one key to judge is in check.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

from xds_server.policy import units
from xds_server.policy.nodes import ListNode, MapNode, Node, ScalarNode
from xds_server.policy.reading import BAD, Reading, below

MERGE_KEY = "merge keys are not supported; put what is shared into `defaults`, or give a whole value an alias"

Tree = dict[str, Any]
"""A mapping as read: only the keys that were given and are good."""

_NOT_TEXT = re.compile(r"true|True|TRUE|false|False|FALSE|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
"""Plain scalars that YAML 1.2's core schema, and so an editor, takes for something other than text."""


class Kind(Protocol):
    """Reads one kind of value."""

    @property
    def form(self) -> str:
        """What is expected, with an article: "a duration such as 500ms"."""

    def read(self, node: Node, path: str, reading: Reading) -> Any:
        """Return the value, or BAD after noting what is wrong."""

    def schema(self) -> Tree:
        """Return the JSON Schema of what `read` accepts."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value written as text. `convert` raises TextError.

    `style` says which YAML form is meant: `number` (quotes would make text of it), `text` (a plain number or boolean
    is none), or `any` where the pattern leaves no doubt.
    """

    form: str
    convert: Callable[[str], Any]
    json: Tree
    style: Literal["any", "number", "text"] = "any"

    def read(self, node: Node, path: str, reading: Reading) -> Any:
        """Return the converted text."""
        if not isinstance(node, ScalarNode):
            return reading.wrong(path, f"{node.noun} stands here; write {self.form}", node)
        if node.is_null:
            return reading.wrong(path, f"no value; write {self.form}", node)
        try:
            value = self.convert(node.text)
        except units.TextError as error:
            return reading.wrong(path, str(error), node)
        if self.style == "number" and not node.plain:
            return reading.wrong(path, f"{node.noun} is in quotes; write {self.form}, without quotes", node)
        if self.style == "text" and node.plain and _NOT_TEXT.fullmatch(node.text):
            return reading.wrong(path, f"{node.noun} is not text in YAML; put it in quotes", node)
        return value

    def schema(self) -> Tree:
        """Return the JSON Schema."""
        return self.json


@dataclass(frozen=True)
class Key:
    """One key of a section. `default` is written as in a policy; `attribute` is its field in types.py if not `name`."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    required: bool = False
    attribute: str = ""


@dataclass(frozen=True)
class Section:
    """A mapping with fixed keys. Reads to a Tree of those given. Nothing at all (`key:`) is an empty mapping."""

    keys: tuple[Key, ...]
    form: str = "a mapping"

    @cached_property
    def by_name(self) -> dict[str, Key]:
        """Return the keys by name."""
        return {key.name: key for key in self.keys}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Return the names of the keys that must be given."""
        return tuple(key.name for key in self.keys if key.required)

    def read(self, node: Node, path: str, reading: Reading) -> Any:
        """Return the values given, by key."""
        entries = _entries(node, path, reading, self.form)
        if entries is None:
            return BAD
        tree: Tree = {}
        for name, at, value in entries:
            key = self.by_name.get(name)
            if key is None:
                known = "; known here: " + ", ".join(self.by_name)
                reading.wrong(at, f"unknown key{reading.similar(name, self.by_name) or known}")
            elif (result := key.kind.read(value, at, reading)) is not BAD:
                tree[name] = result
        for name in self.required:
            if name not in tree and below(path, name) not in reading.bad:
                reading.wrong(below(path, name), f"missing; write {self.by_name[name].kind.form}")
        return tree

    def schema(self) -> Tree:
        """Return the JSON Schema."""
        properties = {}
        for key in self.keys:
            properties[key.name] = {"description": key.doc} | key.kind.schema()
            if key.default is not None:
                properties[key.name]["default"] = key.default
        shape: Tree = {"type": "object", "properties": properties, "additionalProperties": False}
        if self.required:
            return shape | {"required": list(self.required)}
        return shape | {"type": ["object", "null"]}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from names to values of one kind. Reads to a dict in the order of the text."""

    noun: str
    item: Kind
    least: int = 0
    most: int = 100_000

    @property
    def form(self) -> str:
        """Say what is expected."""
        return f"a mapping from {self.noun} to {self.item.form}"

    def read(self, node: Node, path: str, reading: Reading) -> Any:
        """Return the values by name."""
        entries = _entries(node, path, reading, self.form)
        if entries is None:
            return BAD
        if not self.least <= len(entries) <= self.most:
            few = f"at least {self.least} {self.noun} is needed"
            many = f"{len(entries)} entries; at most {self.most} are supported"
            return reading.wrong(path, few if len(entries) < self.least else many)
        tree: Tree = {}
        for name, at, value in entries:
            result = self.item.read(value, at, reading)
            try:
                units.name(name)
            except units.TextError as error:
                result = reading.wrong(at, str(error))
            if result is not BAD:
                tree[name] = result
        return tree

    def schema(self) -> Tree:
        """Return the JSON Schema."""
        shape: Tree = {
            "type": ["object", "null"] if self.least == 0 else "object",
            "propertyNames": {"pattern": f"^{units.NAME}$"},
            "additionalProperties": self.item.schema(),
            "maxProperties": self.most,
        }
        return shape | {"minProperties": self.least} if self.least else shape


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one or more values of one kind. Reads to a tuple of (value, path), for checks across items."""

    item: Kind
    example: str

    @property
    def form(self) -> str:
        """Say what is expected."""
        return f"a list such as {self.example}"

    def read(self, node: Node, path: str, reading: Reading) -> Any:
        """Return the good items with their paths."""
        if not isinstance(node, ListNode):
            noun = "nothing" if isinstance(node, ScalarNode) and node.is_null else node.noun
            return reading.wrong(path, f"{noun} stands here; write {self.form}", node)
        if not node.items:
            return reading.wrong(path, f"the list is empty; write {self.form}", node)
        items = []
        for index, child in enumerate(node.items):
            at = f"{path}[{index}]"
            reading.where[at] = child
            value = self.item.read(child, at, reading)
            if value is not BAD:
                items.append((value, at))
        return tuple(items)

    def schema(self) -> Tree:
        """Return the JSON Schema."""
        return {"type": "array", "items": self.item.schema(), "minItems": 1}


def _entries(node: Node, path: str, reading: Reading, form: str) -> list[tuple[str, str, Node]] | None:
    """Return name, path and value of each entry, each name once; None if the node is no mapping."""
    if isinstance(node, ScalarNode) and node.is_null:
        return []
    if not isinstance(node, MapNode):
        reading.wrong(path or "policy", f"{node.noun} stands here; write {form}", node)
        return None
    first: dict[str, int] = {}
    entries: list[tuple[str, str, Node]] = []
    for key, value in node.pairs():
        if not isinstance(key, ScalarNode):
            reading.wrong(path or "policy", f"{key.noun} stands here as a key; a key is plain text", key)
        elif key.text == "<<" and key.plain:
            reading.wrong(below(path, "<<"), MERGE_KEY, key)
        elif key.text in first:
            message = f"given twice; the first is on line {first[key.text]}, remove one"
            reading.wrong(below(path, key.text), message, key)
        else:
            first[key.text] = key.line
            at = below(path, key.text)
            reading.where[at] = key
            entries.append((key.text, at, value))
    return entries
