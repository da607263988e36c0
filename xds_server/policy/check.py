"""What takes more than one key to judge: references, pairs, claims, and settings that contradict each other.

Each rule notes its problems and returns nothing; it works on what could be read and stays silent about keys that were
already complained about. Warnings are for what works and will surprise: they never stop a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations

from xds_server.model import Endpoint
from xds_server.policy.check_tls import check_tls
from xds_server.policy.kinds import Tree
from xds_server.policy.reading import Reading, below
from xds_server.policy.settings import Settings
from xds_server.policy.types import DEFAULT_FLEET, OrderRules, OverloadMode, ProbeKind, Protocol

ENDPOINT_BYTES = 2_000
"""What an endpoint costs an Envoy for each cluster it stands in (measured, docs/ARCHITECTURE.md)."""

MUCH_MEMORY = 100_000_000
"""A sidecar with more than this for endpoints alone gets a warning."""


def check(tree: Tree, settings: Mapping[str, Settings], reading: Reading) -> None:
    """Apply every rule. `settings` are the effective ones of each service."""
    _latency(tree.get("regions", {}), reading)
    _references(tree, reading)
    _hosts(tree.get("services", {}), reading)
    _endpoints(tree.get("services", {}), reading)
    _consistent(tree, settings, reading)
    _classes(tree, reading)
    _uses(tree, reading)
    _clients(tree, reading)
    check_tls(tree.get("services", {}), reading)
    _drills(tree, reading)
    _expiry(tree.get("orders", {}), reading)
    _warn_services(tree, settings, reading)
    _warn_fleets(tree, reading)


def service_hosts(name: str, service: Tree) -> tuple[tuple[str, str], ...]:
    """Return the hosts of a service, each with the path it comes from: those given, or its name."""
    hosts: tuple[tuple[str, str], ...] = service.get("hosts", ((name.lower(), below("services", name)),))
    return hosts


def latencies(regions: Tree) -> Iterator[tuple[str, str, float]]:
    """Return each latency given, in the order of the text."""
    for here, region in regions.items():
        for there, latency in region.get("latency", {}).items():
            yield here, there, latency


def _latency(regions: Tree, reading: Reading) -> None:
    known: dict[frozenset[str], float] = {}
    for here, there, latency in latencies(regions):
        pair = frozenset((here, there))
        if known.setdefault(pair, latency) != latency:
            path = below(_latency_path(here), there)
            reading.wrong(path, f"{there} gives another latency to {here} ({known[pair]:g}ms); keep one of the two")
    for here, there in combinations(regions, 2):
        tried = {below(_latency_path(here), there), below(_latency_path(there), here)}
        unreadable = {_latency_path(here), _latency_path(there)} & reading.bad
        if frozenset((here, there)) not in known and not tried & reading.bad and not unreadable:
            path = below("regions", here)
            reading.wrong(path, f"no latency to {there}; add it: latency: {{{there}: 80ms}} with the real round trip")


def _latency_path(region: str) -> str:
    return below(below("regions", region), "latency")


def _references(tree: Tree, reading: Reading) -> None:
    if "regions" not in tree:
        return
    for here, there, _ in latencies(tree["regions"]):
        _declared(there, below(_latency_path(here), there), tree["regions"], reading)
    for name, service in tree.get("services", {}).items():
        for key in ("demand", "deployments"):
            path = below(below("services", name), key)
            for region in service.get(key, {}):
                _declared(region, below(path, region), tree["regions"], reading)


def _declared(region: str, path: str, regions: Tree, reading: Reading) -> None:
    if region not in regions and below("regions", region) not in reading.bad:
        fix = reading.similar(region, regions) or "; declare it there, or remove it here"
        reading.wrong(path, f"the region is not declared under regions{fix}")


def _hosts(services: Tree, reading: Reading) -> None:
    claimed: dict[str, str] = {}
    for name, service in services.items():
        if below(below("services", name), "hosts") in reading.bad:
            continue
        for host, path in service_hosts(name, service):
            owner = claimed.setdefault(host, name)
            if owner == name and path == _first_path(service, host, path):
                continue
            taken = "is listed twice" if owner == name else f"already selects the service {owner}"
            hint = "" if "hosts" in service else " (a service without hosts takes its name)"
            reading.wrong(path, f"the host {host} {taken}{hint}; a host belongs to one service, once")


def _first_path(service: Tree, host: str, default: str) -> str:
    return next((path for known, path in service.get("hosts", ()) if known == host), default)


def _endpoints(services: Tree, reading: Reading) -> None:
    for name, service in services.items():
        seen: dict[Endpoint, str] = {}
        for region, deployment in service.get("deployments", {}).items():
            for endpoint, path in deployment.get("endpoints", ()):
                if endpoint in seen:
                    reading.wrong(path, f"{endpoint} is already an endpoint of {name} in {seen[endpoint]}; remove one")
                else:
                    seen[endpoint] = region


def _drills(tree: Tree, reading: Reading) -> None:
    regions, services = tree.get("regions", {}), tree.get("services", {})
    for name, drill in tree.get("drills", {}).get("schedule", {}).items():
        path = below("drills.schedule", name)
        region, service = drill.get("region"), drill.get("service")
        if region is not None and regions:
            _declared(region, f"{path}.region", regions, reading)
        if service is None or not services or below("services", service) in reading.bad:
            continue
        if service not in services:
            fix = reading.similar(service, services) or "; declare it there, or remove it here"
            reading.wrong(f"{path}.service", f"the service {service} is not declared under services{fix}")
        elif region not in services[service].get("deployments", {region: {}}):
            reading.wrong(f"{path}.service", f"{service} has no deployment in {region}; name another of the two")


def _expiry(orders: Tree, reading: Reading) -> None:
    least = orders.get("expires", OrderRules().expires_ms)
    most = orders.get("max_expires", OrderRules().max_expires_ms)
    if orders and least > most and not {"orders.expires", "orders.max_expires"} & reading.bad:
        key = "expires" if "expires" in orders else "max_expires"
        reading.wrong(f"orders.{key}", "expires is longer than max_expires; shorten the one or lengthen the other")


Rule = tuple[str, str, Callable[[Settings], int | None], Callable[[Settings], int | None]]

_AT_MOST: tuple[Rule, ...] = (
    ("health.timeout", "health.interval", lambda s: s.health.timeout_ms, lambda s: s.health.interval_ms),
    ("timeouts.per_try", "timeouts.request", lambda s: s.timeouts.per_try_ms, lambda s: s.timeouts.request_ms),
    ("timeouts.connect", "timeouts.request", lambda s: s.timeouts.connect_ms, lambda s: s.timeouts.request_ms),
)
"""The first may be at most the second, whichever section either comes from."""

_ONLY_FOR = {
    "path": ProbeKind.HTTP,
    "host": ProbeKind.HTTP,
    "statuses": ProbeKind.HTTP,
    "body": ProbeKind.HTTP,
    "grpc_service": ProbeKind.GRPC,
}
"""Keys of `health` that one type of probe uses. Beside a `type` that does not, they are a mistake."""


def _consistent(tree: Tree, settings: Mapping[str, Settings], reading: Reading) -> None:
    sections = [("defaults", tree.get("defaults", {}), Settings().overlay(tree.get("defaults", {})))]
    sections += [(below("services", n), s, settings[n]) for n, s in tree.get("services", {}).items()]
    for path, section, effective in sections:
        for rule in _AT_MOST:
            _at_most(rule, path, section, effective, reading)
        _one_kind(path, section.get("health", {}), effective.health.kind if path != "defaults" else None, reading)


def _one_kind(path: str, health: Tree, effective: ProbeKind | None, reading: Reading) -> None:
    """Refuse keys that the type beside them does not use; `grpc_service` also if a service's type is another."""
    for key, kind in _ONLY_FOR.items():
        known = health.get("type") or (effective if kind is ProbeKind.GRPC else None)
        unread = {f"{path}.health.type", "defaults.health.type"} & reading.bad
        if key in health and known not in {kind, None} and not unread:
            fix = "remove it, or the type" if "type" in health else f"set type: {kind}"
            reading.wrong(f"{path}.health.{key}", f"a probe of type {known} does not use it; {fix}")


def _at_most(rule: Rule, path: str, section: Tree, effective: Settings, reading: Reading) -> None:
    small, large, get_small, get_large = rule
    given = [key for key in (small, large) if _given(section, key)]
    unread = {f"{place}.{key}" for place in (path, "defaults") for key in (small, large)} & reading.bad
    least, most = get_small(effective), get_large(effective)
    if given and not unread and least is not None and most is not None and least > most:
        message = f"{small} ({least}ms) is longer than {large} ({most}ms); shorten the one or lengthen the other"
        reading.wrong(f"{path}.{given[0]}", message)


def _given(section: Tree, key: str) -> bool:
    outer, inner = key.split(".")
    return inner in section.get(outer, {})


def _classes(tree: Tree, reading: Reading) -> None:
    """Refuse classes of one name, and shares of more than all requests."""
    sections = [("defaults", tree.get("defaults", {}))]
    sections += [(below("services", name), service) for name, service in tree.get("services", {}).items()]
    for path, section in sections:
        classes = section.get("overload", {}).get("classes", ())
        names: set[str] = set()
        for given, at in classes:
            if (called := given.get("name", at)) in names:
                reading.wrong(f"{at}.name", f"there is a class {called} already; choose another name")
            names.add(called)
        total = sum(given.get("share", 0.0) for given, _ in classes)
        if total > 1.0 + 1e-9:
            at = f"{path}.overload.classes"
            reading.wrong(at, f"the shares of the classes make {total:.0%}; they can make 100% at most")


def _uses(tree: Tree, reading: Reading) -> None:
    services = tree.get("services", {})
    for fleet in tree.get("fleets", {}).values():
        seen: set[str] = set()
        for name, path in fleet.get("uses", ()):
            if name in seen:
                reading.wrong(path, f"the service {name} is listed twice; remove one")
            seen.add(name)
            if services and name not in services and below("services", name) not in reading.bad:
                fix = reading.similar(name, services) or "; add it under services, or remove it here"
                reading.wrong(path, f"there is no service {name}{fix}")


def _clients(tree: Tree, reading: Reading) -> None:
    """Regions and fleets that clients may be of must exist: a misspelt one would lock them out."""
    known = {"regions": tree.get("regions", {}), "fleets": tree.get("fleets", {DEFAULT_FLEET: {}})}
    for given, _ in tree.get("clients", ()):
        for key, names in known.items():
            for name, path in given.get(key, ()):
                if names and name not in names and below(key, name) not in reading.bad:
                    fix = reading.similar(name, names) or f"; there are {', '.join(list(names)[:20])}"
                    reading.wrong(path, f"there is no such name under {key}{fix}")


def _warn_services(tree: Tree, settings: Mapping[str, Settings], reading: Reading) -> None:
    regions = tree.get("regions", {})
    for name, service in tree.get("services", {}).items():
        path = below(below("services", name), "deployments")
        deployments = service.get("deployments", {})
        if len(deployments) == 1:
            reading.warn(path, "only one deployment: when that region fails, no other can take over")
        if deployments and all(regions.get(region, {}).get("drain") for region in deployments):
            reading.warn(path, "every region it is deployed in has drain: true, so nobody is left to serve it")
        overload = settings[name].overload
        if overload.classes and overload.mode is not OverloadMode.SHED and "overload" in service:
            where = below(below("services", name), "overload")
            reading.warn(where, "classes have no effect without mode: shed")
        health = settings[name].health
        if settings[name].protocol is not Protocol.HTTP1 and health.kind is ProbeKind.HTTP and health.port is None:
            other = " or grpc" if settings[name].protocol is Protocol.GRPC else ""
            message = (
                f"probed by HTTP/1.1 on the port that speaks {settings[name].protocol}; set type: tcp{other}, or a port"
            )
            reading.warn(below(below("services", name), "health"), message)


def _warn_fleets(tree: Tree, reading: Reading) -> None:
    """Each deployment is a cluster, and holds the endpoints of all the service's deployments (priorities 0 and 1)."""
    services = tree.get("services", {})
    cost = {name: _clusters_times_endpoints(service) * ENDPOINT_BYTES for name, service in services.items()}
    fleets: Iterable[tuple[str, Tree]] = tree.get("fleets", {"": {}}).items()
    for name, fleet in fleets:
        used = [service for service, _ in fleet["uses"]] if "uses" in fleet else list(services)
        total = sum(cost.get(service, 0) for service in used)
        if total > MUCH_MEMORY:
            path = below("fleets", name) if name else "services"
            message = (
                f"a sidecar of this fleet needs about {total // 1_000_000} MB for the endpoints of {len(used)} "
                "services; list the ones it calls under fleets, uses:"
            )
            reading.warn(path, message)


def _clusters_times_endpoints(service: Tree) -> int:
    deployments = service.get("deployments", {}).values()
    return len(deployments) * sum(len(deployment.get("endpoints", ())) for deployment in deployments)
