"""Policy text to a `Policy` value, or every error at once.

Three steps, each in its own module: text to nodes (nodes.py), nodes to a tree of good values by the grammar (kinds.py,
grammar.py), and rules across keys (check.py). Only a text without a single problem becomes a `Policy`: there is no
half-accepted policy, and the caller keeps the last good one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from xds_server.policy.check import check, latencies, service_hosts
from xds_server.policy.errors import TOP, PolicyError, Problem
from xds_server.policy.grammar import FLEET, ORDERS, POLICY, ROLLOUT, SCHEDULED_DRILL
from xds_server.policy.kinds import Tree
from xds_server.policy.nodes import Node, compose
from xds_server.policy.reading import BAD, Reading
from xds_server.policy.settings import Settings, attributes
from xds_server.policy.types import (
    DEFAULT_FLEET,
    Client,
    Deployment,
    Drills,
    Fleet,
    HealthCheck,
    OrderRules,
    Policy,
    Region,
    Rollout,
    ScheduledDrill,
    Service,
    Tls,
)
from xds_server.policy.units import listen

OWN_LATENCY_MS = 1.0
"""Round trip of a region to itself unless the policy says otherwise: less than to any other, more than nothing."""

DEFAULT_LISTEN = listen(str(FLEET.by_name["listen"].default))

T = TypeVar("T")

_LISTS = ("regions", "fleets", "nodes")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A good policy, and what deserves a look nevertheless."""

    policy: Policy
    warnings: tuple[Problem, ...]


def parse(text: str | bytes, source: str) -> Parsed:
    """Read a policy. `source` names the text in messages, usually the path of its file.

    Raises PolicyError with every problem of the text, in its order.
    """
    root, problems = compose(text, source)
    reading = Reading(source, list(problems))
    tree = _read(root, reading)
    base = Settings().overlay(tree.get("defaults", {}))
    settings = {name: base.overlay(service) for name, service in tree.get("services", {}).items()}
    check(tree, settings, reading)
    if reading.problems:
        raise PolicyError(_in_order(reading.problems, reading.more))
    digest = hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]
    return Parsed(_policy(tree, settings, digest), tuple(_in_order(reading.warnings, 0)))


def _read(root: Node | None, reading: Reading) -> Tree:
    if root is None:
        raise PolicyError([Problem(reading.source, 1, 1, TOP, "the file is empty; start with version: 1")])
    tree = POLICY.read(root, "", reading)
    if tree is BAD:
        raise PolicyError(reading.problems)
    result: Tree = tree
    return result


def _in_order(problems: list[Problem], more: int) -> list[Problem]:
    ordered = sorted(set(problems), key=lambda p: (p.line, p.column, p.path, p.message))
    if more:
        last = ordered[-1]
        ordered.append(Problem(last.source, last.line, last.column, TOP, f"and {more} more; mend these first"))
    return ordered


def _policy(tree: Tree, settings: Mapping[str, Settings], digest: str) -> Policy:
    return Policy(
        regions=_sorted({name: Region(name, region.get("drain", False)) for name, region in tree["regions"].items()}),
        latency_ms=_latency_table(tree["regions"]),
        services=_sorted({name: _service(name, s, settings[name]) for name, s in tree["services"].items()}),
        fleets=_fleets(tree.get("fleets", {DEFAULT_FLEET: {}})),
        digest=digest,
        rollout=Rollout(**attributes(ROLLOUT.keys, tree.get("rollout", {}))),
        orders=OrderRules(**attributes(ORDERS.keys, tree.get("orders", {}))),
        drills=_drills(tree.get("drills", {})),
        clients=tuple(_client(given) for given, _ in tree.get("clients", ())),
    )


def _latency_table(regions: Tree) -> Mapping[tuple[str, str], float]:
    table = {(name, name): OWN_LATENCY_MS for name in regions}
    for here, there, latency in latencies(regions):
        table[here, there] = table[there, here] = latency
    return MappingProxyType(dict(sorted(table.items())))


def _service(name: str, given: Tree, settings: Settings) -> Service:
    return Service(
        name=name,
        hosts=tuple(sorted(host for host, _ in service_hosts(name, given))),
        protocol=settings.protocol,
        health=_health(given, settings.health),
        timeouts=settings.timeouts,
        retries=settings.retries,
        reserve=settings.reserve,
        ramp_up_ms=settings.ramp_up_ms,
        min_change=settings.min_change,
        latency_tolerance_ms=settings.latency_tolerance_ms,
        overload=settings.overload,
        half_open=settings.half_open,
        demand_rps=_sorted(given.get("demand", {})),
        deployments=_sorted({region: _deployment(region, d) for region, d in given["deployments"].items()}),
        tls=Tls(**given["tls"]) if "tls" in given else None,
    )


def _health(given: Tree, health: HealthCheck) -> HealthCheck:
    """Return how a service is probed: by TLS if it speaks it, unless it says that its probes do not."""
    if "tls" not in given:
        return health if health.tls is None else replace(health, tls=None)
    return health if health.tls is False else replace(health, tls=True, server_name=given["tls"].get("sni", ""))


def _deployment(region: str, given: Tree) -> Deployment:
    endpoints = tuple(sorted(endpoint for endpoint, _ in given["endpoints"]))
    return Deployment(region, endpoints, given["capacity"])


def _fleets(given: Tree) -> Mapping[str, Fleet]:
    fleets = {}
    for name, fleet in given.items():
        address = fleet.get("listen", DEFAULT_LISTEN)
        uses = tuple(sorted(service for service, _ in fleet["uses"])) if "uses" in fleet else None
        own = {"access_logs": fleet["access_logs"]} if "access_logs" in fleet else {}
        fleets[name] = Fleet(name, address.host, address.port, uses, **own)
    return _sorted(fleets)


def _drills(given: Tree) -> Drills:
    schedule = {
        name: ScheduledDrill(name=name, **attributes(SCHEDULED_DRILL.keys, drill))
        for name, drill in given.get("schedule", {}).items()
    }
    return Drills(tuple(span for span, _ in given.get("blocked", ())), _sorted(schedule))


def _client(given: Tree) -> Client:
    lists = {key: tuple(sorted({item for item, _ in given[key]})) for key in _LISTS if key in given}
    return Client(given["identity"], agent=given.get("agent", False), **lists)


def _sorted(mapping: Mapping[str, T]) -> Mapping[str, T]:
    return MappingProxyType(dict(sorted(mapping.items())))
