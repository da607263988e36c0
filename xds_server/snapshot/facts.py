"""What one service's resources in one view are made from: picked out of policy and decision, and checked to fit.

The decision holds tables over all regions of the policy; an Envoy of one view is sent one row of each, and only the
columns of regions in which the service is deployed. From here on everything goes by those: `Facts` are small frozen
values that compare quickly, so what is built from equal facts need not be built again (memo.py).

A decision that does not fit the policy is a bug of ours, never an operator's mistake: `Inconsistent`, which nobody
catches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.decision.protection import per_try_timeout_ms
from xds_server.model import Protection, Row, ServiceDecision, Shed, ViewKey
from xds_server.policy.types import Policy, Service
from xds_server.snapshot.endpoints import Encoded
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.shedding import drops


class Inconsistent(AssertionError):  # noqa: N818  (a state, not an error of the operator's)
    """The policy and the decision do not fit, or a snapshot refers to a name it does not hold: a bug, not bad input."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a service's resources in one view are made from. Rows follow `regions`: its deployments', by name."""

    service: Service
    view: str
    kind: str
    regions: tuple[str, ...]
    per_try_ms: int
    weights: Row
    reflex: tuple[Row, ...]
    protection: tuple[Protection, ...]
    hosts: tuple[Encoded, ...]
    reads: Row = ()
    shed: Shed | None = None

    @property
    def weights_by_region(self) -> tuple[tuple[str, int], ...]:
        """Return the weights, each with the region it is for."""
        return tuple(zip(self.regions, self.weights, strict=True))

    @property
    def reads_by_region(self) -> tuple[tuple[str, int], ...]:
        """Return the weights of what may be sent twice; empty if they are those of the rest."""
        return tuple(zip(self.regions, self.reads, strict=True)) if self.reads else ()

    @property
    def drop_percent(self) -> int:
        """Return how much the assignments drop: where routes refuse nothing, or are those of gRPC, which cannot."""
        return self.shed.percent if self.shed and self.kind == GRPC else drops(self.shed)


def facts_of(
    policy: Policy,
    service: Service,
    decided: Mapping[str, ServiceDecision],
    view: ViewKey,
    hosts: tuple[Encoded, ...],
) -> Facts:
    """Pick what concerns one service and view out of the decision, and check that it fits the policy."""
    decision = decided.get(service.name)
    if decision is None or not set(service.deployments) <= set(decision.regions):
        raise Inconsistent(f"the decision does not cover {service.name}")
    v = decision.regions.index(view.region)
    regions = tuple(sorted(service.deployments))
    columns = [decision.regions.index(region) for region in regions]
    protection = tuple(found for r in columns if (found := decision.protection[v][r]) is not None)
    if len(protection) != len(columns):
        raise Inconsistent(f"the decision lacks protection for a deployment of {service.name}")
    return Facts(
        service=service,
        view=view.region,
        kind=view.kind,
        regions=regions,
        per_try_ms=per_try_timeout_ms(policy, service, view.region),
        weights=tuple(decision.weights[v][r] for r in columns),
        reads=tuple(decision.half_open[v][r] for r in columns) if decision.half_open else (),
        shed=decision.shed[v] if decision.shed else None,
        reflex=tuple(tuple(decision.reflex[gone][v][r] for r in columns) for gone in columns),
        protection=protection,
        hosts=hosts,
    )
