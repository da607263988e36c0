"""A view exists from when its first client joins, under the policy in force and under one on trial."""

from __future__ import annotations

from tests.rollout.test_controller_rollout import VIEW, Fleet, policy
from xds_server.controller import Controller
from xds_server.rollout.news import Joined, Left, Settled
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.resource import TypeUrl
from xds_server.step import Inputs, Memory

GRPC_VIEW = VIEW._replace(kind=GRPC)


def test_only_views_that_a_client_has_are_built() -> None:
    fleet = Fleet()
    outcome = fleet.step(policy=policy(hosts="shop.demo, store.demo"))
    assert outcome.trial is not None
    assert set(outcome.trial.snapshots) == {VIEW}
    west = VIEW._replace(region="west")
    outcome = fleet.step(clients=(Joined(3, "envoy-3", west),))
    assert set(outcome.snapshots) == {west}
    assert outcome.trial is not None
    assert set(outcome.trial.snapshots) == {VIEW, west}


def test_nothing_is_built_before_anybody_joins() -> None:
    controller = Controller(Memory())
    outcome = controller.step(Inputs(policy=policy()), 0.0)
    assert outcome.decision is not None
    assert not outcome.snapshots
    assert set(controller.step(Inputs(clients=(Joined(1, "envoy-1", VIEW),)), 0.1).snapshots) == {VIEW}


def test_the_first_of_a_kind_gets_its_view_at_once_and_nobody_else_is_touched() -> None:
    fleet = Fleet()
    outcome = fleet.step(clients=(Joined(3, "caller", GRPC_VIEW),))
    assert {view.kind for view in outcome.snapshots} == {GRPC}
    assert list(outcome.snapshots[GRPC_VIEW].resources[TypeUrl.LISTENER]) == ["shop.demo"]
    assert not fleet.step(clients=(Joined(4, "caller-2", GRPC_VIEW),)).snapshots


def test_weights_of_that_kind_follow_health_like_all_others() -> None:
    fleet = Fleet()
    before = fleet.step(clients=(Joined(3, "caller", GRPC_VIEW),)).snapshots[GRPC_VIEW]
    outcome = fleet.probe(down="east")
    while GRPC_VIEW not in outcome.snapshots:
        assert fleet.now < 30.0
        outcome = fleet.probe(down="east")
    after = outcome.snapshots[GRPC_VIEW]
    assert after.versions[TypeUrl.ROUTE] != before.versions[TypeUrl.ROUTE]
    assert after.versions[TypeUrl.LISTENER] == before.versions[TypeUrl.LISTENER]


def test_a_kind_keeps_its_views_over_a_policy_edit_and_when_its_clients_are_away() -> None:
    fleet = Fleet()
    fleet.step(clients=(Joined(3, "caller", GRPC_VIEW), Left(1), Left(2)))
    outcome = fleet.step(policy=policy(hosts="shop.demo, store.demo"))
    assert outcome.trial is not None
    assert outcome.trial.members == {3}
    assert list(outcome.trial.snapshots[GRPC_VIEW].resources[TypeUrl.LISTENER]) == ["shop.demo", "store.demo"]
    outcome = fleet.step(clients=(Settled(3),))
    assert outcome.promoted is not None
    assert GRPC_VIEW in outcome.snapshots
    assert not outcome.gone
    fleet.step(clients=(Left(3),))
    outcome = fleet.step(policy=policy(hosts="shop.demo"))
    assert GRPC_VIEW in outcome.snapshots
