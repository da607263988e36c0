"""The made-up worlds are what the benchmarks say they are."""

from __future__ import annotations

from bench.world import EIGHT, FOUR, UTILISATION, Incident, policy, policy_text
from xds_server.model import TOTAL_WEIGHT


def test_a_world_is_the_same_every_time_and_has_the_size_it_was_asked_for() -> None:
    assert policy_text(5, FOUR) == policy_text(5, FOUR)
    found = policy(5, EIGHT)
    assert (len(found.services), len(found.regions)) == (5, 8)
    endpoints = {e for s in found.services.values() for d in s.deployments.values() for e in d.endpoints}
    assert len(endpoints) == 5 * 8 * 2


def test_demand_is_half_of_the_capacity() -> None:
    for service in policy(20, FOUR).services.values():
        capacity = sum(deployment.capacity_rps for deployment in service.deployments.values())
        assert abs(sum(service.demand_rps.values()) / capacity - UTILISATION) < 0.001


def test_a_dead_region_is_empty_after_two_rounds_of_probes() -> None:
    incident = Incident()
    incident.begin(policy(3, FOUR))
    for dead in ("", FOUR[1], FOUR[1]):
        incident.step(incident.seen(dead))
    decision = incident.controller.decision
    assert decision is not None
    for service in decision.services:
        assert service.load_rps[1] == 0.0
        assert all(sum(row) == TOTAL_WEIGHT for row in service.weights)
