"""What takes all files and the policy to judge: names that are taken, and names that nothing stands for.

A name may stand for two things as long as no client gets both: that is how a region has a certificate of its own. The
names that follow from the policy are the same in every region, because every region may send to every other.

gRPC clients get nothing unless a file names them: what is written for Envoys is nothing to them, or worse. They ask for
four types only (gRFC A27), so a file that names them may define no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xds_server.policy.errors import quoted
from xds_server.policy.types import Fleet, OwnResource, Policy, Taker
from xds_server.snapshot.bootstrap import XDS_CLUSTER
from xds_server.snapshot.clusters import cluster_name
from xds_server.snapshot.listeners import LISTENER, ROUTE_CONFIGURATION
from xds_server.snapshot.own.draft import NOUNS, Draft
from xds_server.snapshot.own.message import Reference
from xds_server.snapshot.resource import Key, TypeUrl
from xds_server.snapshot.runtime import LAYER
from xds_server.snapshot.tls import secrets_of

FOR_GRPC = frozenset({TypeUrl.LISTENER, TypeUrl.ROUTE, TypeUrl.CLUSTER, TypeUrl.ENDPOINT})
"""The types that a gRPC client without a proxy asks for."""


def check(drafts: list[Draft], policy: Policy) -> None:
    """Note what is wrong between resources, and between them and the policy, in the readings of their files."""
    names = _Names(drafts, policy)
    for draft in drafts:
        names.check(draft)
        _check_address(draft, policy)
        for reference in draft.references:
            names.check_reference(draft, reference)


class _Names:
    """The names there are: those that follow from the policy, by fleet, and the operator's own."""

    def __init__(self, drafts: list[Draft], policy: Policy) -> None:
        self._policy = policy
        self._ours = {
            (name, taker): ours(policy, fleet)
            for name, fleet in policy.fleets.items()
            for taker, ours in ((Taker.ENVOY, _of_envoys), (Taker.GRPC, _of_grpc))
        }
        self._own: dict[Key, list[Draft]] = {}
        for draft in drafts:
            self._own.setdefault(draft.key, []).append(draft)
        self._known: dict[str, set[str]] = {}

    def check(self, draft: Draft) -> None:
        """Note if the name of a resource is taken."""
        if Taker.GRPC in draft.resource.clients and draft.key.type_url not in FOR_GRPC:
            draft.wrong(
                draft.at, f"gRPC clients do not ask for a {NOUNS[draft.key.type_url]}; take grpc from the clients"
            )
        ours = (names for (_, taker), names in self._ours.items() if taker in draft.resource.clients)
        if draft.key == (TypeUrl.CLUSTER, XDS_CLUSTER) or any(draft.key in names for names in ours):
            draft.wrong(draft.at, f"{draft.title} is the name of what the policy itself makes; choose another")
        if draft.key.type_url == TypeUrl.VIRTUAL_HOST and draft.key.name.startswith(f"{ROUTE_CONFIGURATION}/"):
            draft.wrong(draft.at, f"the virtual hosts of {ROUTE_CONFIGURATION} follow from the policy; add a service")
        for other in self._own[draft.key]:
            if other is draft:
                return
            if any(other.resource.goes_to(*view) for view in _views(draft.resource, self._policy)):
                where = f"{other.reading.source}:{other.at.node.line}"
                draft.wrong(draft.at, f"{draft.title} is defined already at {where} for the same clients; rename one")
                return

    def check_reference(self, draft: Draft, reference: Reference) -> None:
        """Note if there are views that get the resource, and not what it refers to."""
        key = reference.need.key
        own = [other.resource for other in self._own.get(key, ())]
        lacking = [
            view
            for view in _views(draft.resource, self._policy)
            if key not in self._ours[view.fleet, view.taker] and not any(resource.goes_to(*view) for resource in own)
        ]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            what = f"{NOUNS[key.type_url]} {quoted(key.name)} in view {lacking[0]}{more}"
            draft.wrong(reference.place, f"there is no {what}{self._fix(draft, key)}")

    def _fix(self, draft: Draft, key: Key) -> str:
        if key.type_url not in self._known:
            every = (*self._own, *(k for keys in self._ours.values() for k in keys))
            self._known[key.type_url] = {k.name for k in every if k.type_url == key.type_url}
        names = self._known[key.type_url] - {key.name}
        fix = draft.reading.similar(key.name, names) or "; define it here for these Envoys, or correct the name"
        return fix + (", or list it under in_bootstrap" if key.type_url == TypeUrl.CLUSTER else "")


class _View(NamedTuple):
    """Clients of one kind in one region."""

    fleet: str
    region: str
    taker: Taker

    def __str__(self) -> str:
        return f"{self.fleet}/{self.region}" + (" of gRPC clients" if self.taker is Taker.GRPC else "")


def _of_envoys(policy: Policy, fleet: Fleet) -> frozenset[Key]:
    """Return the names that follow from the policy for the Envoys of one fleet, in every region."""
    plain = [Key(TypeUrl.LISTENER, LISTENER), Key(TypeUrl.ROUTE, ROUTE_CONFIGURATION), Key(TypeUrl.RUNTIME, LAYER)]
    secrets = [key for service in policy.services_of(fleet) for key in secrets_of(service)]
    return frozenset([*plain, *secrets, *_clusters(policy, fleet)])


def _of_grpc(policy: Policy, fleet: Fleet) -> frozenset[Key]:
    """Return the names that follow from the policy for the gRPC clients of one fleet, in every region."""
    services = policy.services_of(fleet)
    hosts = [Key(TypeUrl.LISTENER, host) for service in services for host in service.hosts]
    return frozenset([*hosts, *(Key(TypeUrl.ROUTE, service.name) for service in services), *_clusters(policy, fleet)])


def _clusters(policy: Policy, fleet: Fleet) -> Iterator[Key]:
    """Yield the region clusters of a fleet and their assignments."""
    for service in policy.services_of(fleet):
        for region in service.deployments:
            name = cluster_name(service.name, region)
            yield from (Key(TypeUrl.CLUSTER, name), Key(TypeUrl.ENDPOINT, name))


def _views(resource: OwnResource, policy: Policy) -> Iterator[_View]:
    every = (_View(fleet, region, taker) for fleet in policy.fleets for region in policy.regions for taker in Taker)
    return (view for view in every if resource.goes_to(*view))


def _check_address(draft: Draft, policy: Policy) -> None:
    """Refuse an own listener on the address of ours: Envoy takes only one of them."""
    if draft.resource.type_url != TypeUrl.LISTENER:
        return
    address = draft.message.address.socket_address
    taken = {policy.fleets[view.fleet] for view in _views(draft.resource, policy) if view.taker is Taker.ENVOY}
    for fleet in sorted(taken, key=lambda fleet: fleet.name):
        if (address.address, address.port_value) == (fleet.listen_host, fleet.listen_port):
            taken_by = f"{fleet.listen_host}:{fleet.listen_port}, where fleet {fleet.name} does"
            draft.wrong(draft.at, f"{draft.title} listens on {taken_by}; choose another port")
