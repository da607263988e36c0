"""From a decision to what Envoys are sent: the only door into this package for the rest of the program.

A snapshot holds, for one view, a listener, a route configuration, and for every service and region a cluster and its
assignment. What moves is kept apart, so that each change touches one type:

    weights, refusals by class             routes (RDS; VHDS where clients take them one by one)
    reflex plans, hosts, other refusals    assignments (EDS), and the overprovisioning factor
    protection, protocol, timeouts         clusters (CDS): follows the policy alone
    breakers by the size of the fleet      a runtime layer (RTDS)
    where a sidecar listens                the listener (LDS)

Versions are hashes of deterministic bytes; the order in which regions, services, endpoints or addresses were given
does not matter. Two replicas with the same inputs send the same bytes under the same version.

`Builder` keeps what it built in the last round, by what it was built from. One region's trouble changes few of the
inputs, so few of the parts, and the rest are the same `Resource` objects as before: comparing and sending them costs
nothing. The builder has one owner (the controller) and forgets what a round did not ask for.

Inputs that do not fit each other raise `Inconsistent` (facts.py), which nobody catches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from xds_server.decision.protection import HEADROOM
from xds_server.model import Address, Decision, Endpoint, Protection, ServiceDecision, Target, ViewKey
from xds_server.policy.types import Deployment, Fleet, OwnResource, Policy, Service, Taker
from xds_server.snapshot import grpc_view, listeners, routes, runtime
from xds_server.snapshot.clusters import cluster_name, cluster_rest, named
from xds_server.snapshot.endpoints import Encoded, assignment, encode_hosts, hosts_of, is_host_name
from xds_server.snapshot.facts import Facts, Inconsistent, facts_of
from xds_server.snapshot.kinds import GRPC, lacking, takes_virtual_hosts
from xds_server.snapshot.memo import Memo
from xds_server.snapshot.resource import Key, Resource, Snapshot, TypeUrl, content_version
from xds_server.snapshot.tls import secrets_of, transport_socket

Addresses = Mapping[Endpoint, tuple[Address, ...]]


def build(
    policy: Policy,
    decision: Decision,
    view: ViewKey,
    addresses: Addresses,
    unhealthy: frozenset[Target] = frozenset(),
) -> Snapshot:
    """Build one view's snapshot without keeping anything. `unhealthy` are single failed endpoints of live regions."""
    return Builder().build_all(policy, decision, [view], addresses, unhealthy)[view]


@dataclass(frozen=True, slots=True)
class _Part:
    """A service's share of a snapshot: its clusters with their assignments, and its virtual host."""

    resources: tuple[Resource, ...]
    clusters: tuple[Key, ...]
    virtual_host: bytes


class Builder:
    """Builds snapshots round after round, and builds anew only what follows from changed inputs."""

    def __init__(self) -> None:
        self._memo = Memo()

    def copy(self) -> Builder:
        """Return another builder that knows what this one has built, for rounds of its own."""
        made = Builder()
        made._memo = self._memo.copy()
        return made

    def build_all(
        self,
        policy: Policy,
        decision: Decision,
        views: Iterable[ViewKey],
        addresses: Addresses,
        unhealthy: frozenset[Target] = frozenset(),
    ) -> dict[ViewKey, Snapshot]:
        """Build the snapshots of a round: all views that any Envoy may ask for."""
        self._memo.next_round()
        failed: dict[tuple[str, str], set[Address]] = {}
        for target in unhealthy:
            failed.setdefault((target.service, target.region), set()).add(target.address)
        hosts = {
            service.name: tuple(
                self._hosts(service.name, deployment, addresses, failed) for deployment in _deployments(service)
            )
            for service in policy.services.values()
        }
        decided = {service.service: service for service in decision.services}
        return {view: self._snapshot(policy, decision, decided, view, hosts) for view in views}

    def _hosts(
        self,
        service: str,
        deployment: Deployment,
        addresses: Addresses,
        failed: Mapping[tuple[str, str], set[Address]],
    ) -> Encoded:
        unhealthy = frozenset(failed.get((service, deployment.region), ()))
        resolved = tuple(addresses.get(endpoint, ()) for endpoint in deployment.endpoints)
        return self._memo.get(
            ("hosts", service, deployment.region),
            (deployment.endpoints, resolved, unhealthy),
            lambda: encode_hosts(deployment.region, hosts_of(deployment, addresses, unhealthy)),
        )

    def _snapshot(
        self,
        policy: Policy,
        decision: Decision,
        decided: Mapping[str, ServiceDecision],
        view: ViewKey,
        hosts: Mapping[str, tuple[Encoded, ...]],
    ) -> Snapshot:
        fleet = policy.fleet_for(view.fleet)
        if fleet is None or view.region not in decision.regions:
            raise Inconsistent(f"the policy has no view {view}")
        services = policy.services_of(fleet)
        facts = [self._facts(policy, service, decided, view, hosts[service.name]) for service in services]
        parts = [self._part(of_service) for of_service in facts]
        resources = [resource for part in parts for resource in part.resources]
        if view.kind != GRPC:
            sizes = {(size.fleet, size.region): size.envoys for size in decision.sizes}
            runtime_layer = self._runtime(view, facts, sizes.get((view.fleet, view.region), 1))
            resources += [self._listener(fleet), self._routes(view, parts), runtime_layer]
        resources += self._own(policy, view)
        if takes_virtual_hosts(view.kind) and not parts:
            resources.append(_no_virtual_host())
        return self._memo.get(("snapshot", view), resources, lambda: _consistent(Snapshot.of(resources)))

    def _facts(
        self,
        policy: Policy,
        service: Service,
        decided: Mapping[str, ServiceDecision],
        view: ViewKey,
        hosts: tuple[Encoded, ...],
    ) -> Facts:
        return self._memo.get(
            ("facts", service.name, view.region, view.kind),
            (service, decided.get(service.name), hosts, policy.latency_ms),
            lambda: facts_of(policy, service, decided, view, hosts),
        )

    def _part(self, facts: Facts) -> _Part:
        make = self._grpc_part if facts.kind == GRPC else self._envoy_part
        return self._memo.get(("part", facts.service.name, facts.view, facts.kind), facts, lambda: make(facts))

    def _envoy_part(self, facts: Facts) -> _Part:
        service, per_try_ms, lacks = facts.service, facts.per_try_ms, lacking(facts.kind)
        weights, reads = facts.weights_by_region, facts.reads_by_region
        shed = facts.shed and replace(facts.shed, reason="")
        virtual_host = self._memo.get(
            ("virtual host", service.name, facts.view, facts.kind),
            (service, per_try_ms, weights, reads, shed),
            lambda: routes.virtual_host_rest(
                service,
                per_try_ms,
                weights,
                reads=reads,
                shed=shed,
                rewrite_host=self._has_names(service),
                lacks=lacks,
            ),
        )
        clusters, assignments = self._clusters(facts)
        keys = tuple(cluster.key for cluster in clusters)
        if takes_virtual_hosts(facts.kind):
            alone = _virtual_host(service, virtual_host, keys)
            return _Part((*clusters, *assignments, alone), keys, b"")
        return _Part(clusters + assignments, keys, routes.named(service.name, virtual_host))

    def _grpc_part(self, facts: Facts) -> _Part:
        service, weights = facts.service, facts.weights_by_region
        clusters, assignments = self._clusters(facts)
        keys = tuple(cluster.key for cluster in clusters)
        route = self._memo.get(
            ("grpc routes", service.name, facts.view),
            (service, weights),
            lambda: _resource(TypeUrl.ROUTE, service.name, grpc_view.route_configuration(service, weights), keys),
        )
        listening = tuple(self._grpc_listener(host, route.key) for host in service.hosts)
        return _Part((*clusters, *assignments, route, *listening), keys, b"")

    def _grpc_listener(self, host: str, route: Key) -> Resource:
        return self._memo.get(
            ("grpc listener", host),
            route,
            lambda: _resource(TypeUrl.LISTENER, host, grpc_view.listener(host, route.name), (route,)),
        )

    def _has_names(self, service: Service) -> bool:
        """Return True if the policy names an endpoint of the service by host name."""
        deployments = service.deployments.values()
        return self._memo.get(
            ("has names", service.name),
            service,
            lambda: any(is_host_name(endpoint.host) for found in deployments for endpoint in found.endpoints),
        )

    def _clusters(self, facts: Facts) -> tuple[tuple[Resource, ...], tuple[Resource, ...]]:
        """Return the cluster of each region, and the assignment of each."""
        places = range(len(facts.regions))
        return tuple(self._cluster(facts, at) for at in places), tuple(self._assignment(facts, at) for at in places)

    def _cluster(self, facts: Facts, at: int) -> Resource:
        service, protection = facts.service, facts.protection[at]
        name = cluster_name(service.name, facts.regions[at])
        socket = self._socket(service, facts.kind)
        settings = (facts.kind, service.protocol, service.timeouts.idle_ms, socket, *_settings(protection))
        needs = (Key(TypeUrl.ENDPOINT, name), *(secrets_of(service) if facts.kind != GRPC else ()))
        rest = self._memo.get(settings, None, lambda: _cluster_rest(facts, protection, socket))
        return self._memo.get(
            ("cluster", name, facts.view, facts.kind),
            (rest, needs),
            lambda: _resource(TypeUrl.CLUSTER, name, named(name, rest), needs),
        )

    def _socket(self, service: Service, kind: str) -> bytes:
        if service.tls is None or kind == GRPC:
            return b""
        return self._memo.get(("socket", service.name, kind), service, lambda: transport_socket(service, lacking(kind)))

    def _assignment(self, facts: Facts, at: int) -> Resource:
        name = cluster_name(facts.service.name, facts.regions[at])
        home, factor, drop = facts.hosts[at], facts.protection[at].overprovisioning_factor, facts.drop_percent
        reflex = tuple(entry for entry in zip(facts.reflex[at], facts.hosts, strict=True) if entry[1] is not home)
        return self._memo.get(
            ("assignment", name, facts.view, bool(drop) and facts.kind),
            (home, reflex, factor, drop),
            lambda: _resource(TypeUrl.ENDPOINT, name, assignment(name, home, reflex, factor, drop)),
        )

    def _listener(self, fleet: Fleet) -> Resource:
        needs = (Key(TypeUrl.ROUTE, listeners.ROUTE_CONFIGURATION),)
        return self._memo.get(
            ("listener", fleet.name),
            fleet,
            lambda: _resource(TypeUrl.LISTENER, listeners.LISTENER, listeners.listener(fleet), needs),
        )

    def _routes(self, view: ViewKey, parts: list[_Part]) -> Resource:
        name = listeners.ROUTE_CONFIGURATION
        if takes_virtual_hosts(view.kind):
            return _resource(TypeUrl.ROUTE, name, routes.route_configuration_by_host(name))
        hosts = [part.virtual_host for part in parts]
        needs = tuple(key for part in parts for key in part.clusters)
        return self._memo.get(
            ("routes", view),
            (hosts, needs),
            lambda: _resource(TypeUrl.ROUTE, name, routes.route_configuration(name, hosts), needs),
        )

    def _runtime(self, view: ViewKey, facts: list[Facts], envoys: int) -> Resource:
        """Return the breakers of one view's Envoys; a fleet as small as the head-room gets none."""
        entries = [self._breakers(of_service, envoys) for of_service in facts] if envoys > HEADROOM else []
        return self._memo.get(
            ("runtime", view.fleet, view.region),
            entries,
            lambda: _resource(TypeUrl.RUNTIME, runtime.LAYER, runtime.layer(entries)),
        )

    def _breakers(self, facts: Facts, envoys: int) -> bytes:
        return self._memo.get(
            ("breakers", facts.service.name, facts.view, envoys),
            facts.protection,
            lambda: runtime.breakers(facts.service.name, facts.regions, facts.protection, envoys),
        )

    def _own(self, policy: Policy, view: ViewKey) -> Iterator[Resource]:
        """Return what the operator serves beside ours in one view: the same objects in every view that gets it."""
        made = self._memo.get("own", policy.own, lambda: tuple(_own_resource(own) for own in policy.own))
        pairs = zip(policy.own, made, strict=True)
        taker = Taker.GRPC if view.kind == GRPC else Taker.ENVOY
        return (resource for own, resource in pairs if own.goes_to(view.fleet, view.region, taker))


def _virtual_host(service: Service, rest: bytes, clusters: tuple[Key, ...]) -> Resource:
    """Return a virtual host of its own. It may be asked for by any of its domains, too."""
    name = routes.virtual_host_name(listeners.ROUTE_CONFIGURATION, service.name)
    body = routes.named(name, rest)
    aliases = tuple(
        routes.virtual_host_name(listeners.ROUTE_CONFIGURATION, domain.lower()) for domain in routes.domains(service)
    )
    return Resource(TypeUrl.VIRTUAL_HOST, name, content_version(body), body, clusters, aliases)


def _no_virtual_host() -> Resource:
    name = routes.virtual_host_name(listeners.ROUTE_CONFIGURATION, routes.NOWHERE)
    return _resource(TypeUrl.VIRTUAL_HOST, name, routes.named(name, routes.nothing_to_route()))


def _own_resource(own: OwnResource) -> Resource:
    needs = tuple(Key(type_url, name) for type_url, name in own.needs)
    return Resource(own.type_url, own.name, own.version, own.body, needs, own.aliases)


def _deployments(service: Service) -> list[Deployment]:
    return [service.deployments[region] for region in sorted(service.deployments)]


def _cluster_rest(facts: Facts, protection: Protection, socket: bytes) -> bytes:
    if facts.kind == GRPC:
        return grpc_view.cluster_rest(protection)
    service = facts.service
    return cluster_rest(service.protocol, service.timeouts.idle_ms, protection, lacking(facts.kind), socket)


def _settings(protection: Protection) -> tuple[object, ...]:
    """Return what of a protection is in the cluster: not its reasons, nor what travels in the assignment."""
    return (
        protection.outlier_profile,
        protection.max_ejection_percent,
        protection.max_connections,
        protection.max_pending_requests,
        protection.max_requests,
        protection.retry_budget_percent,
        protection.min_retry_concurrency,
        protection.connect_timeout_ms,
    )


def _resource(type_url: str, name: str, body: bytes, needs: tuple[Key, ...] = ()) -> Resource:
    return Resource(type_url, name, content_version(body), body, needs)


def _consistent(snapshot: Snapshot) -> Snapshot:
    if missing := snapshot.missing():
        resource, need = missing[0]
        raise Inconsistent(f"{resource.name} refers to {need.name}, which is not in the snapshot")
    return snapshot
