"""Where the endpoints of one policy are: the addresses of their names, and what is to be probed.

A policy names endpoints by address or by host name. Addresses are known at once; names are looked up again and again by
the shell, and what they stood for is in an `AddressBook`, which the policy in force and one on trial share.

A policy of 1,000 services has tens of thousands of endpoints, and most steps come with the book of the step before: the
same book is not gone through twice, and an endpoint that is an address is looked at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xds_server.decision.addresses import AddressBook
from xds_server.decision.verdicts import Place
from xds_server.model import Address, Endpoint, Target
from xds_server.policy.types import HealthCheck, Policy


class Sites:
    """Addresses by endpoint, and how each target is probed. `earlier` are those of the policy before, if there is one.

    They are as of the last `locate`.
    """

    def __init__(self, policy: Policy, earlier: Sites | None = None) -> None:
        self.addresses: dict[Endpoint, tuple[Address, ...]] = dict(earlier.addresses) if earlier else {}
        self.targets: dict[Target, HealthCheck] = {}
        self._policy = policy
        self._located_with: AddressBook | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a replay starts from (record/capture.py): it goes through the book again."""
        return {name: value for name, value in vars(self).items() if name != "_located_with"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take that state."""
        vars(self).update(state)
        self._located_with = None

    def names(self, book: AddressBook) -> frozenset[str]:
        """Return the host names that must be looked up."""
        services = self._policy.services.values()
        endpoints = (e for s in services for d in s.deployments.values() for e in d.endpoints)
        unclear = (endpoint for endpoint in endpoints if not _is_address(endpoint, self.addresses.get(endpoint)))
        return frozenset(endpoint.host for endpoint in unclear if not book.literal(endpoint))

    def locate(self, book: AddressBook) -> bool:
        """Work out again which addresses there are and what is to be probed; True if that changed."""
        if book is self._located_with:
            return False
        self._located_with = book
        known, before = self.addresses, self.targets
        self.addresses, self.targets = {}, {}
        for name, service in self._policy.services.items():
            for region, deployment in service.deployments.items():
                for endpoint in deployment.endpoints:
                    found = known.get(endpoint)
                    if found is None or not _is_address(endpoint, found):
                        found = book.of(endpoint)
                    self.addresses[endpoint] = found
                    check = _check(service.health, endpoint)
                    for address in found:
                        self.targets.setdefault(Target(name, region, address), check)
        return (known, before) != (self.addresses, self.targets)

    def located(self, book: AddressBook) -> bool:
        """Return whether every name has been looked up, with or without success."""
        return all(found or book.failed(endpoint) for endpoint, found in self.addresses.items())

    def unresolvable(self, book: AddressBook) -> frozenset[Place]:
        """Return the places none of whose names has ever been resolved, although all were looked up."""
        return frozenset(
            Place(name, region)
            for name, service in self._policy.services.items()
            for region, deployment in service.deployments.items()
            if all(book.failed(endpoint) for endpoint in deployment.endpoints)
        )


def _is_address(endpoint: Endpoint, found: tuple[Address, ...] | None) -> bool:
    """Return whether an endpoint is the address that was found for it: then there is nothing to look up, ever."""
    return found is not None and found[:1] == (Address(endpoint.host, endpoint.port),)


def _check(health: HealthCheck, endpoint: Endpoint) -> HealthCheck:
    """Return how an endpoint is probed: by TLS under its own name, unless the service has one for all."""
    return replace(health, server_name=endpoint.host) if health.tls and not health.server_name else health
