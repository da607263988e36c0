"""What Envoys' words stand for: `checkout@us-east-1` is a service and a region if the policy says so, else nothing.

Names that come from outside are only ever looked up, never taken over, so nobody can fill tables or metrics with names
of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from xds_server.model import Address, Target
from xds_server.policy.types import Policy


class Places:
    """The services and regions of the policy in force, and which address is where."""

    def __init__(self) -> None:
        self._clusters: dict[str, tuple[str, str]] = {}
        self._regions: frozenset[str] = frozenset()
        self._homes: dict[tuple[str, Address], str] = {}
        self.samples: Mapping[str, float] = MappingProxyType({})
        """By fleet, the share of requests that its Envoys log."""
        self.edition = 0
        """Another one whenever names have changed: what was looked up before may mean something else."""

    def follow(self, policy: Policy) -> None:
        """Know the names of this policy from now on."""
        self.edition += 1
        self._clusters = {
            f"{service.name}@{region}": (service.name, region)
            for service in policy.services.values()
            for region in service.deployments
        }
        self._regions = frozenset(policy.regions)
        self.samples = MappingProxyType({fleet.name: fleet.access_logs for fleet in policy.fleets.values()})

    def locate(self, targets: Iterable[Target]) -> None:
        """Know which region's these addresses are from now on."""
        self._homes = {(target.service, target.address): target.region for target in targets}

    def cluster(self, name: str) -> tuple[str, str] | None:
        """Return the service and region of a region cluster; None for any other name."""
        return self._clusters.get(name)

    def is_region(self, name: str) -> bool:
        """Return True for a region of the policy."""
        return name in self._regions

    def is_service(self, name: str, region: str) -> bool:
        """Return True for a service that is deployed in that region."""
        return f"{name}@{region}" in self._clusters

    def home(self, service: str, address: Address) -> str | None:
        """Return the region whose endpoint an address is; None if it is not known."""
        return self._homes.get((service, address))
