"""Building what Envoys are sent, in CPU time: all of it at the start, and again after one region died.

Sizes are regions × views × services: 4×4×100.
"""

from __future__ import annotations

from bench.figures import Figure
from bench.run import Run, cpu_ms
from bench.world import EIGHT, FOUR, Incident, policy
from xds_server.model import Address, Decision, Endpoint, ViewKey
from xds_server.policy.types import Policy
from xds_server.snapshot.build import Builder
from xds_server.snapshot.resource import Snapshot, TypeUrl


def snapshots(run: Run) -> list[Figure]:
    """Measure the sizes that matter."""
    services = run.pick(100, 10)
    figures = _sized(run, policy(services, FOUR), f"4×4×{services}", run.pick(5, 2))
    if not run.quick:
        figures += _sized(run, policy(1_000, EIGHT), "8×8×1,000", 2)
    return figures


def _sized(run: Run, of: Policy, size: str, runs: int) -> list[Figure]:
    run.say(f"snapshots, {size}")
    incident = Incident()
    incident.begin(of)
    before = _decision(incident)
    dead = max(of.regions)
    for _ in range(2):
        incident.step(incident.seen(dead))
    after = _decision(incident)
    cold: list[float] = []
    warm: list[float] = []
    for _ in range(runs):
        round_ = Round(of)
        cold += cpu_ms(lambda here=round_: here.build(before), 1)  # type: ignore[misc]
        warm += cpu_ms(lambda here=round_: here.build(after), 1)  # type: ignore[misc]
    note = _sizes(Round(of).build(before))
    return [
        Figure(f"build all snapshots, {size}", "ms CPU", tuple(cold), note=note),
        Figure(f"build again after one region died, {size}", "ms CPU", tuple(warm)),
    ]


class Round:
    """A builder and its unchanging inputs."""

    def __init__(self, of: Policy) -> None:
        self._builder = Builder()
        self._policy = of
        self._views = [ViewKey(fleet, region) for fleet in of.fleets for region in of.regions]
        self._addresses = {endpoint: (Address(endpoint.host, endpoint.port),) for endpoint in _endpoints(of)}

    def build(self, decision: Decision, *views: ViewKey) -> dict[ViewKey, Snapshot]:
        """Build these views, or those of all Envoys."""
        return self._builder.build_all(self._policy, decision, views or self._views, self._addresses)


def _endpoints(of: Policy) -> list[Endpoint]:
    deployments = [deployment for service in of.services.values() for deployment in service.deployments.values()]
    return [endpoint for deployment in deployments for endpoint in deployment.endpoints]


def _decision(incident: Incident) -> Decision:
    assert incident.controller.decision is not None
    return incident.controller.decision


def _sizes(built: dict[ViewKey, Snapshot]) -> str:
    snapshot = next(iter(built.values()))
    names = {TypeUrl.CLUSTER: "CDS", TypeUrl.ENDPOINT: "EDS", TypeUrl.ROUTE: "RDS"}
    sizes = (
        f"{name} {sum(len(r.body) for r in snapshot.resources[url].values()) / 1024:,.0f} KiB"
        for url, name in names.items()
    )
    return "one view: " + ", ".join(sizes)
