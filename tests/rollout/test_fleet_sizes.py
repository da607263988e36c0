"""Breakers through the controller: they follow how many Envoys there are, whether or not anything else moves."""

from __future__ import annotations

from tests.rollout.test_controller_rollout import VIEW, Fleet, policy
from xds_server.decision.fleet_size import GROWN_AFTER_S, SHRUNK_AFTER_S
from xds_server.model import FleetSize, ViewKey
from xds_server.rollout.news import Joined, Left
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.resource import TypeUrl


def joined(count: int, view: ViewKey = VIEW) -> tuple[Joined, ...]:
    return tuple(Joined(n, f"envoy-{n}", view) for n in range(10, 10 + count))


def test_a_fleet_that_has_grown_gets_smaller_parts_by_runtime_alone() -> None:
    fleet = Fleet()
    before = dict(fleet.controller._track.snapshots)  # type: ignore[union-attr]
    first_two = fleet.now
    outcome = fleet.step(clients=joined(9))
    assert not outcome.snapshots
    assert outcome.wake_at == first_two + GROWN_AFTER_S
    fleet.now = outcome.wake_at
    grown = fleet.probe()
    assert grown.decision is not None
    assert grown.decision.sizes == (FleetSize(*VIEW[:2], 11),)
    assert set(grown.snapshots) == {VIEW}
    versions = grown.snapshots[VIEW].versions
    assert {t for t, version in versions.items() if before[VIEW].versions[t] != version} == {TypeUrl.RUNTIME}
    fleet.step(clients=tuple(Left(n) for n in range(10, 19)))
    fleet.now += SHRUNK_AFTER_S
    after = fleet.probe()
    assert after.decision is not None
    assert after.decision.sizes == (FleetSize(*VIEW[:2], 2),)
    assert after.snapshots[VIEW].versions == before[VIEW].versions


def test_grpc_clients_do_not_count() -> None:
    fleet = Fleet()
    fleet.step(clients=joined(9, VIEW._replace(kind=GRPC)))
    fleet.now += GROWN_AFTER_S
    decision = fleet.probe().decision
    assert decision is not None
    assert decision.sizes == (FleetSize(*VIEW[:2], 2),)


def test_a_policy_on_trial_has_the_same_sizes() -> None:
    fleet = Fleet()
    fleet.step(clients=joined(9))
    fleet.now += GROWN_AFTER_S
    fleet.probe()
    trial = fleet.step(policy=policy(hosts="shop.demo, store.demo")).trial
    assert trial is not None
    assert TypeUrl.RUNTIME in trial.snapshots[VIEW].versions
    standing = fleet.controller._track.snapshots[VIEW]  # type: ignore[union-attr]
    assert trial.snapshots[VIEW].versions[TypeUrl.RUNTIME] == standing.versions[TypeUrl.RUNTIME]
