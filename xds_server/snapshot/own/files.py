"""A folder of files to a policy with own resources in it, or every error of all files at once.

A file says what it defines and who gets it:

    views: {fleets: [web], regions: [us-east-1], clients: [envoy]}    # optional: without it every Envoy
    in_bootstrap: [zipkin]                            # optional: names that Envoy's own bootstrap defines
    resources:
      - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
        name: extra
        …

Own resources are part of the policy: they come to the fleet and are rolled back with it, and a policy that they do not
fit (a route names a service that is gone) is refused as a whole. So they are checked against the policy here: in every
view each name they refer to must exist, and no name may stand for two things. What is ours stays ours: nothing here can
replace a listener, route, cluster or assignment that follows from the policy.

Rejected: a key that overrides one of our resources. It would be shorter than a policy setting for whatever is missing,
and would silently undo what the reflex plan rests on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from google.protobuf.message import EncodeError, Message

from xds_server.policy.errors import MAX_PROBLEMS, PolicyError, Problem, quoted
from xds_server.policy.kinds import Key as Entry
from xds_server.policy.kinds import ListOf, Section, Tree
from xds_server.policy.nodes import Form, ListNode, MapNode, Node, ScalarNode, compose
from xds_server.policy.reading import Reading, below
from xds_server.policy.scalars import choice
from xds_server.policy.scalars import name as plain_name
from xds_server.policy.types import OwnResource, Policy, Taker
from xds_server.snapshot.bootstrap import XDS_CLUSTER
from xds_server.snapshot.own.check import check
from xds_server.snapshot.own.draft import NOUNS, Draft
from xds_server.snapshot.own.known import PREFIX
from xds_server.snapshot.own.message import TOO_DEEP, Place, Reader, Reference
from xds_server.snapshot.own.needs import Need
from xds_server.snapshot.own.rules import Rules
from xds_server.snapshot.resource import Key, TypeUrl, content_version
from xds_server.snapshot.wire import encode

FORM = Form(noun="a resource file", top="file", depth=64, usual_depth=25, secret=True)


@dataclass(frozen=True, slots=True)
class Resources:
    """Passes on the node of `resources:` unread."""

    form: str = "a list of resources, each with its @type"

    def read(self, node: Node, path: str, reading: Reading) -> Any:
        """Return the node if it is a list of something."""
        if isinstance(node, ListNode) and node.items:
            return node
        noun = "a mapping" if isinstance(node, MapNode) else "an empty list" if isinstance(node, ListNode) else "text"
        nothing = isinstance(node, ScalarNode) and node.is_null
        return reading.wrong(path, f"{'nothing' if nothing else noun} stands here; write {self.form}", node)

    def schema(self) -> Tree:
        """Return the JSON Schema; what is in a resource is Envoy's to say."""
        return {"type": "array", "items": {"type": "object", "required": ["@type"]}, "minItems": 1}


VIEWS = Section(
    (
        Entry("fleets", ListOf(plain_name(), "[web]"), "Only clients of these fleets get them. Without it, all."),
        Entry(
            "regions", ListOf(plain_name(), "[us-east-1]"), "Only clients in these regions get them. Without it, all."
        ),
        Entry(
            "clients",
            ListOf(choice(Taker), "[envoy, grpc]"),
            "What gets them: `envoy`, `grpc` (an application without a proxy) or both. Without it, Envoys alone.",
        ),
    )
)

FILE = Section(
    (
        Entry("views", VIEWS, "Who gets what this file defines. Without it, every Envoy."),
        Entry(
            "in_bootstrap",
            ListOf(plain_name(), "[zipkin]"),
            "Names that Envoy's own bootstrap defines: they may be referred to although no one serves them.",
        ),
        Entry("resources", Resources(), "Resources in Envoy's own form.", required=True),
    )
)


class Merged(NamedTuple):
    """A policy with its own resources, and what deserves a look nevertheless."""

    policy: Policy
    warnings: tuple[Problem, ...]


def merge(policy: Policy, files: Iterable[tuple[str, bytes]]) -> Merged:
    """Return the policy with the resources of all files (source and text each).

    Raises PolicyError with every problem of every file.
    """
    readings: list[Reading] = []
    drafts: list[Draft] = []
    for source, text in files:
        reading = Reading(source)
        readings.append(reading)
        drafts.extend(_file(text, reading, policy))
    check(drafts, policy)
    if any(reading.problems for reading in readings):
        raise PolicyError(_in_order(problem for reading in readings for problem in reading.problems)[:MAX_PROBLEMS])
    warnings = _in_order(warning for reading in readings for warning in reading.warnings)
    own = tuple(sorted((draft.resource for draft in drafts), key=_order))
    return Merged(replace(policy, own=own, digest=_digest(policy.digest, own)) if own else policy, tuple(warnings))


def _order(own: OwnResource) -> tuple[object, ...]:
    return own.type_url, own.name, own.fleets or (), own.regions or (), own.clients


def _digest(digest: str, own: tuple[OwnResource, ...]) -> str:
    parts = (f"{r.type_url}\0{r.name}\0{r.version}\0{r.fleets}\0{r.regions}\0{r.needs}{_said(r.clients)}" for r in own)
    return hashlib.sha256("\n".join((digest, *parts)).encode()).hexdigest()[:16]


def _said(clients: tuple[Taker, ...]) -> str:
    """Return what tells who takes a resource, if not Envoys alone: digests from before there was a choice hold."""
    return "" if clients == (Taker.ENVOY,) else f"\0{','.join(clients)}"


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(set(problems), key=lambda p: (p.source, p.line, p.column, p.path, p.message))


# One file.


def _file(text: bytes, reading: Reading, policy: Policy) -> Iterator[Draft]:
    try:
        root, problems = compose(text, reading.source, FORM)
    except PolicyError as error:
        reading.problems.extend(error.problems)
        return
    reading.problems.extend(problems)
    if root is None:
        reading.wrong(FORM.top, "the file is empty; write resources:")
        return
    if not isinstance(root, MapNode):
        reading.wrong(FORM.top, "no mapping; write resources: and below it a list", root)
        return
    tree = FILE.read(root, "", reading)
    views = tree.get("views", {})
    fleets = _chosen(views.get("fleets"), policy.fleets, "fleet", reading)
    regions = _chosen(views.get("regions"), policy.regions, "region", reading)
    clients = tuple(sorted({taker for taker, _ in views.get("clients", ())})) or (Taker.ENVOY,)
    elsewhere = frozenset(name for name, _ in tree.get("in_bootstrap", ())) | {XDS_CLUSTER}
    reader = Reader(reading, Rules())
    for index, node in enumerate(tree["resources"].items if "resources" in tree else ()):
        draft = _resource(Place(node, f"resources[{index}]"), reader, reading, elsewhere)
        if draft is not None:
            yield draft._replace(resource=replace(draft.resource, fleets=fleets, regions=regions, clients=clients))


def _chosen(given: Any, known: Iterable[str], noun: str, reading: Reading) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = list(known)
    for name, path in given:
        if name not in names:
            which = reading.similar(name, names) or f"; the policy has {', '.join(names[:20])}"
            reading.wrong(path, f"the policy has no {noun} {quoted(name)}{which}")
    return tuple(sorted({name for name, _ in given}))


def _resource(place: Place, reader: Reader, reading: Reading, elsewhere: frozenset[str]) -> Draft | None:
    """Read one resource; None if it is not of a type that can be served, or has no name."""
    first = len(reader.references)
    message = reader.typed(place)
    if message is None:
        return None
    type_url = PREFIX + message.DESCRIPTOR.full_name
    if type_url not in NOUNS:
        known = ", ".join(url.rpartition(".")[2] for url in NOUNS)
        reading.wrong(below(place.path, "@type"), f"no type of resource; write one of {known}", place.node)
        return None
    at = _name_of(place, type_url)
    name: str = getattr(message, at.path.rpartition(".")[2])
    if not name:
        if at.path not in reading.bad:
            reading.wrong(at.path, "missing; every resource needs a name of its own", place.node)
        return None
    references = (*reader.references[first:], *_belongs(type_url, name, at, reading))
    return _draft(message, name, at, [r for r in references if r.need.key.name not in elsewhere], reading)


def _draft(message: Message, name: str, at: Place, references: list[Reference], reading: Reading) -> Draft | None:
    key = Key(PREFIX + message.DESCRIPTOR.full_name, name)
    needs = sorted({reference.need.key for reference in references} - {key})
    try:
        body = encode(message)
    except EncodeError:
        reading.wrong(at.path.rpartition(".")[0], TOO_DEEP, at.node)
        return None
    pairs = tuple((need.type_url, need.name) for need in needs)
    own = OwnResource(*key, content_version(body), body, pairs, _aliases(key, message))
    return Draft(own, message, at, tuple(references), reading)


def _aliases(key: Key, message: Any) -> tuple[str, ...]:
    """Return the names by which Envoy asks for a virtual host: its route configuration's and each of its domains."""
    if key.type_url != TypeUrl.VIRTUAL_HOST:
        return ()
    return tuple(f"{key.name.partition('/')[0]}/{domain}" for domain in message.domains)


def _belongs(type_url: str, name: str, at: Place, reading: Reading) -> Iterator[Reference]:
    """Return the route configuration that a virtual host belongs to by its name (Envoy, "VHDS", naming convention)."""
    if type_url == TypeUrl.VIRTUAL_HOST:
        route, slash, host = name.partition("/")
        if not slash or not route or not host:
            reading.wrong(at.path, "a virtual host of its own is named ROUTE_CONFIGURATION/NAME", at.node)
            return
        yield Reference(Need(Key(TypeUrl.ROUTE, route), "name"), at)


def _name_of(place: Place, type_url: str) -> Place:
    """Return where a resource's name stands, or would."""
    field = "cluster_name" if type_url == TypeUrl.ENDPOINT else "name"
    pairs = place.node.pairs() if isinstance(place.node, MapNode) else ()
    found = [v for k, v in pairs if isinstance(k, ScalarNode) and k.text in {field, "clusterName"}]
    return Place(found[0] if found else place.node, below(place.path, field))
