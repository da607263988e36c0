"""Policies and decisions made by hand, for tests of what comes after the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xds_server.model import (
    TOTAL_WEIGHT,
    Address,
    Decision,
    Endpoint,
    Health,
    Protection,
    Row,
    ServiceDecision,
    Verdict,
    ViewKey,
)
from xds_server.policy.types import (
    DEFAULT_FLEET,
    Deployment,
    Fleet,
    HealthCheck,
    Policy,
    Protocol,
    Region,
    Retries,
    Service,
    Timeouts,
)

REGIONS = ("ap-southeast-1", "eu-west-1", "sa-east-1", "us-east-1")
LATENCY = {
    ("eu-west-1", "us-east-1"): 80.0,
    ("ap-southeast-1", "us-east-1"): 220.0,
    ("sa-east-1", "us-east-1"): 120.0,
    ("ap-southeast-1", "eu-west-1"): 160.0,
    ("eu-west-1", "sa-east-1"): 190.0,
    ("ap-southeast-1", "sa-east-1"): 320.0,
}
VIEW = ViewKey(DEFAULT_FLEET, "us-east-1")


def service(
    name: str = "checkout",
    endpoints: Mapping[str, Sequence[Endpoint]] | None = None,
    *,
    hosts: Sequence[str] | None = None,
    protocol: Protocol = Protocol.HTTP1,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
    retries: Retries = Retries(),  # noqa: B008  (frozen)
    capacity_rps: float = 1_000.0,
) -> Service:
    """A service deployed where `endpoints` says; by default two made-up addresses in each region."""
    found = endpoints or {region: made_up(name, r) for r, region in enumerate(REGIONS)}
    return Service(
        name=name,
        hosts=tuple(hosts or (f"{name}.demo",)),
        protocol=protocol,
        health=HealthCheck(),
        timeouts=timeouts,
        retries=retries,
        reserve=0.2,
        ramp_up_ms=60_000,
        min_change=0.02,
        latency_tolerance_ms=5,
        demand_rps={},
        deployments={region: Deployment(region, tuple(of_region), capacity_rps) for region, of_region in found.items()},
    )


def made_up(name: str, r: int, count: int = 2) -> list[Endpoint]:
    """Return endpoints that no other service and region has."""
    number = sum(name.encode()) % 250
    return [Endpoint(f"10.{r}.{number}.{i + 1}", 8080) for i in range(count)]


def policy(
    services: Sequence[Service] = (), *, regions: Sequence[str] = REGIONS, fleets: Sequence[Fleet] | None = None
) -> Policy:
    """A policy of these services; one default fleet on 127.0.0.1:10000 unless others are given."""
    latency = LATENCY | {(b, a): ms for (a, b), ms in LATENCY.items()}
    return Policy(
        regions={name: Region(name) for name in regions},
        latency_ms={(a, b): 1.0 if a == b else latency.get((a, b), 100.0) for a in regions for b in regions},
        services={s.name: s for s in services or (service(),)},
        fleets={f.name: f for f in fleets or (Fleet(DEFAULT_FLEET, "127.0.0.1", 10_000),)},
        digest="test",
    )


def addresses(of: Policy) -> dict[Endpoint, tuple[Address, ...]]:
    """Every endpoint of the policy resolved to its own address; host names to 127.0.0.1."""
    return {
        endpoint: (Address(endpoint.host if endpoint.host[0].isdigit() else "127.0.0.1", endpoint.port),)
        for s in of.services.values()
        for deployment in s.deployments.values()
        for endpoint in deployment.endpoints
    }


def protection(**changes: object) -> Protection:
    """Sizes that stand in nobody's way."""
    settings: dict[str, object] = {
        "outlier_profile": "standard",
        "max_ejection_percent": 100,
        "overprovisioning_factor": 140,
        "max_connections": 2048,
        "max_pending_requests": 2048,
        "max_requests": 2048,
        "retry_budget_percent": 20.0,
        "min_retry_concurrency": 100,
        "connect_timeout_ms": 900,
    }
    return Protection(**(settings | changes))  # type: ignore[arg-type]


def row(shares: Mapping[str, int], regions: Sequence[str] = REGIONS) -> Row:
    """Weights over `regions` in proportion to `shares`, summing to the total; all zero for no shares."""
    total = sum(shares.values())
    weights = [shares.get(region, 0) * TOTAL_WEIGHT // total if total else 0 for region in regions]
    if total:
        weights[weights.index(max(weights))] += TOTAL_WEIGHT - sum(weights)
    return tuple(weights)


def service_decision(
    of: Service,
    shares: Mapping[str, int],
    *,
    regions: Sequence[str] = REGIONS,
    reflex: Mapping[str, Mapping[str, int]] | None = None,
    protect: Protection | None = None,
) -> ServiceDecision:
    """The same `shares` in every view; the reflex plan of a region is even over the rest unless given."""
    weights = tuple(row(shares, regions) for _ in regions)
    even = {gone: {region: 1 for region in of.deployments if region != gone} for gone in regions}
    plans = {**even, **(reflex or {})}
    settings = protect or protection()
    return ServiceDecision(
        service=of.name,
        regions=tuple(regions),
        verdicts=tuple(
            Verdict(Health.HEALTHY, 1.0, "test", 0.0) if region in of.deployments else None for region in regions
        ),
        demand_rps=tuple(100.0 for _ in regions),
        capacity_rps=tuple(1000.0 for _ in regions),
        load_rps=tuple(100.0 for _ in regions),
        overload=1.0,
        weights=weights,
        reflex=tuple(tuple(row(plans[gone], regions) for _ in regions) for gone in regions),
        reflex_overload=tuple(1.0 for _ in regions),
        n_minus_1=(),
        protection=tuple(tuple(settings if region in of.deployments else None for region in regions) for _ in regions),
        reasons=tuple(tuple("test" for _ in regions) for _ in regions),
    )


def decision(*services: ServiceDecision, regions: Sequence[str] = REGIONS) -> Decision:
    """A decision over these services."""
    return Decision(tuple(regions), services)


def even(of: Policy) -> Decision:
    """A decision that spreads every service evenly over its deployments."""
    regions = tuple(sorted(of.regions))
    return decision(
        *(
            service_decision(s, dict.fromkeys(s.deployments, 1), regions=regions)
            for s in sorted(of.services.values(), key=lambda s: s.name)
        ),
        regions=regions,
    )
