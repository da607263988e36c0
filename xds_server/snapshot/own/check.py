"""What takes all files and the policy to judge: names that are taken, and names that nothing stands for.

A name may stand for two things as long as no Envoy gets both: that is how a region has a certificate of its own. The
names that follow from the policy are the same in every region, because every region may send to every other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xds_server.policy.errors import quoted
from xds_server.policy.types import Fleet, OwnResource, Policy
from xds_server.snapshot.bootstrap import XDS_CLUSTER
from xds_server.snapshot.clusters import cluster_name
from xds_server.snapshot.listeners import LISTENER, ROUTE_CONFIGURATION
from xds_server.snapshot.own.draft import NOUNS, Draft
from xds_server.snapshot.own.message import Reference
from xds_server.snapshot.resource import Key, TypeUrl


def check(drafts: list[Draft], policy: Policy) -> None:
    """Note what is wrong between resources, and between them and the policy, in the readings of their files."""
    ours = {name: _ours(policy, fleet) for name, fleet in policy.fleets.items()}
    every = frozenset().union(*ours.values()) | {Key(TypeUrl.CLUSTER, XDS_CLUSTER)}
    by_key: dict[Key, list[Draft]] = {}
    for draft in drafts:
        for other in by_key.get(draft.key, ()):
            if _meet(draft.resource, other.resource, policy):
                where = f"{other.reading.source}:{other.at.node.line}"
                draft.wrong(draft.at, f"{draft.title} is defined already at {where} for the same Envoys; rename one")
                break
        by_key.setdefault(draft.key, []).append(draft)
        if draft.key in every:
            draft.wrong(draft.at, f"{draft.title} is the name of what the policy itself makes; choose another")
        _check_address(draft, policy)
    for draft in drafts:
        for reference in draft.references:
            _check_reference(draft, reference, ours, by_key, policy)


def _ours(policy: Policy, fleet: Fleet) -> frozenset[Key]:
    """Return the names that follow from the policy for one fleet, in every region."""
    services = policy.services_of(fleet)
    clusters = [cluster_name(service.name, region) for service in services for region in service.deployments]
    return frozenset(
        [Key(TypeUrl.LISTENER, LISTENER), Key(TypeUrl.ROUTE, ROUTE_CONFIGURATION)]
        + [Key(type_url, name) for name in clusters for type_url in (TypeUrl.CLUSTER, TypeUrl.ENDPOINT)]
    )


def _views(resource: OwnResource, policy: Policy) -> Iterator[tuple[str, str]]:
    return ((f, r) for f in policy.fleets for r in policy.regions if resource.goes_to(f, r))


def _meet(one: OwnResource, other: OwnResource, policy: Policy) -> bool:
    return any(other.goes_to(fleet, region) for fleet, region in _views(one, policy))


def _check_address(draft: Draft, policy: Policy) -> None:
    """Refuse an own listener on the address of ours: Envoy takes only one of them."""
    if draft.resource.type_url != TypeUrl.LISTENER:
        return
    address = draft.message.address.socket_address
    taken = {policy.fleets[fleet] for fleet, _ in _views(draft.resource, policy)}
    for fleet in sorted(taken, key=lambda fleet: fleet.name):
        if (address.address, address.port_value) == (fleet.listen_host, fleet.listen_port):
            taken_by = f"{fleet.listen_host}:{fleet.listen_port}, where fleet {fleet.name} does"
            draft.wrong(draft.at, f"{draft.title} listens on {taken_by}; choose another port")


def _check_reference(
    draft: Draft,
    reference: Reference,
    ours: Mapping[str, frozenset[Key]],
    by_key: Mapping[Key, list[Draft]],
    policy: Policy,
) -> None:
    key = reference.need.key
    own = [other.resource for other in by_key.get(key, ())]
    lacking = [
        (fleet, region)
        for fleet, region in _views(draft.resource, policy)
        if key not in ours[fleet] and not any(resource.goes_to(fleet, region) for resource in own)
    ]
    if not lacking:
        return
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    names = {k.name for k in (*by_key, *(k for keys in ours.values() for k in keys)) if k.type_url == key.type_url}
    fix = (
        draft.reading.similar(key.name, names - {key.name}) or "; define it here for these Envoys, or correct the name"
    )
    if key.type_url == TypeUrl.CLUSTER:
        fix += ", or list it under in_bootstrap"
    what = f"{NOUNS[key.type_url]} {quoted(key.name)}"
    draft.wrong(reference.place, f"there is no {what} in view {'/'.join(lacking[0])}{more}{fix}")
