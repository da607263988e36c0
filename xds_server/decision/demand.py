"""How much traffic each view has, in requests per second: from the policy, else an assumption that is written down.

A view the policy names has the demand it says. The views it does not name share, equally, what is left of half the
service's capacity (never less than a hundredth of it each): without measurements the likely case is a service with
room to spare whose regions mostly serve their own traffic. Measured demand will come before both.
"""

from __future__ import annotations

from xds_server.policy.types import Service

ASSUMED_UTILISATION = 0.5
LEAST_SHARE = 0.01


def demand_rps(service: Service, regions: tuple[str, ...]) -> tuple[float, ...]:
    """Return the demand of every view in the order of `regions`, in requests per second."""
    capacity = sum(d.capacity_rps for d in service.deployments.values())
    stated = {name: service.demand_rps[name] for name in regions if name in service.demand_rps}
    silent = len(regions) - len(stated)
    left = max(0.0, ASSUMED_UTILISATION * capacity - sum(stated.values()))
    each = max(left / silent, LEAST_SHARE * capacity) if silent else 0.0
    return tuple(stated.get(name, each) for name in regions)
