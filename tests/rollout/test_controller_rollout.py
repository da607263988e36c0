"""A policy edit through the controller: trial, promotion, rollback, and health that waits for neither."""

from __future__ import annotations

from xds_server.controller import Controller
from xds_server.model import Observation, ViewKey
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import Joined, Left, Refused, Settled
from xds_server.snapshot.resource import Key, TypeUrl
from xds_server.step import Inputs, Outcome

VIEW = ViewKey("default", "east")


def policy(*, east: int = 1000, hosts: str = "shop.demo", listen: str = "127.0.0.1:10000", fleets: str = "") -> Policy:
    text = f"""
version: 1
regions:
  east: {{latency: {{west: 80ms}}}}
  west: {{}}
fleets: {{{fleets or f'default: {{listen: "{listen}"}}'}}}
services:
  shop:
    hosts: [{hosts}]
    demand: {{east: 900, west: 300}}
    deployments:
      east: {{capacity: {east}, endpoints: ["10.0.0.1:80"]}}
      west: {{capacity: 1000, endpoints: ["10.0.1.1:80"]}}
"""
    return parse(text, "policy.yaml").policy


class Fleet:
    """A controller with two Envoys in `east`, and what it last published."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.now = 0.0
        self.targets = self.step(policy=policy()).targets or {}
        self.probe()
        self.snapshot = self.step(clients=(Joined(1, "envoy-1", VIEW), Joined(2, "envoy-2", VIEW))).snapshots[VIEW]

    def step(self, **inputs: object) -> Outcome:
        self.now += 0.1
        return self.controller.step(Inputs(**inputs), self.now)  # type: ignore[arg-type]

    def probe(self, down: str = "") -> Outcome:
        seen = (Observation("controlplane", t, t.region != down, self.now) for t in self.targets)
        return self.step(observations=tuple(seen))

    @property
    def version(self) -> str:
        assert self.controller.policy is not None
        return self.controller.policy.digest


def kinds(outcome: Outcome) -> list[str]:
    return [event.kind for event in outcome.events]


def test_an_edit_goes_to_the_cohort_and_then_to_all() -> None:
    fleet = Fleet()
    before, edit = fleet.version, policy(hosts="shop.demo, store.demo")
    outcome = fleet.step(policy=edit)
    assert outcome.trial is not None
    assert len(outcome.trial.members) == 1
    assert not outcome.snapshots
    assert fleet.version == before
    outcome = fleet.step(clients=(Settled(next(iter(outcome.trial.members))),))
    assert outcome.promoted == edit
    assert outcome.trial is None
    assert outcome.snapshots.keys() >= {VIEW}
    assert fleet.version == edit.digest


def test_an_edit_is_tried_by_those_for_whom_it_changes_something() -> None:
    fleet = Fleet()
    west = VIEW._replace(region="west")
    fleet.step(clients=tuple(Joined(n, f"envoy-{n}", west) for n in range(3, 40)))
    other = VIEW._replace(fleet="web")
    both = policy(fleets='default: {listen: "127.0.0.1:10000"}, web: {listen: "127.0.0.1:10001"}')
    outcome = fleet.step(policy=both)
    assert outcome.promoted == both, "it changes nothing for anybody that is connected"
    fleet.step(clients=(Joined(40, "web-1", other),))
    edit = policy(fleets='default: {listen: "127.0.0.1:10000"}, web: {listen: "127.0.0.1:80"}')
    outcome = fleet.step(policy=edit)
    assert outcome.trial is not None
    assert outcome.trial.members == {40}
    outcome = fleet.step(clients=(Left(40), Joined(41, "web-2", other)))
    assert outcome.refused is not None, "nobody else could have tried it when that one left"


def test_whoever_comes_together_with_an_edit_is_compared_like_the_others() -> None:
    fleet = Fleet()
    other = VIEW._replace(region="west")
    outcome = fleet.step(policy=policy(listen="127.0.0.1:80"), clients=(Joined(3, "envoy-3", other),))
    assert (outcome.trial, outcome.promoted) == (None, None)
    assert outcome.wake_at is not None
    assert fleet.step().trial is not None


def test_a_rejected_edit_is_rolled_back_with_envoys_words() -> None:
    fleet = Fleet()
    before = fleet.version
    outcome = fleet.step(policy=policy(listen="127.0.0.1:80"))
    assert outcome.trial is not None
    (member,) = outcome.trial.members
    listener = outcome.trial.snapshots[VIEW].resources[TypeUrl.LISTENER]
    new = tuple((resource.key, resource.version) for resource in listener.values())
    outcome = fleet.step(clients=(Refused(member, new, "cannot bind '127.0.0.1:80': permission denied"),))
    assert fleet.version == before
    assert outcome.trial is None
    assert outcome.refused is not None
    assert "cannot bind" in outcome.refused[1]
    assert "policy.rejected" in kinds(outcome)


def test_without_clients_an_edit_is_in_force_at_once() -> None:
    fleet = Fleet()
    fleet.step(clients=(Left(1), Left(2)))
    edit = policy(east=800)
    outcome = fleet.step(policy=edit)
    assert outcome.promoted == edit
    assert outcome.snapshots
    assert not outcome.gone


def test_health_moves_weights_under_both_policies_meanwhile() -> None:
    fleet = Fleet()
    outcome = fleet.step(policy=policy(hosts="store.demo"))
    assert outcome.trial is not None
    routes = outcome.trial.snapshots[VIEW].versions[TypeUrl.ROUTE]
    for _ in range(3):
        fleet.now += 1.0
        outcome = fleet.probe(down="west")
        if outcome.snapshots:
            break
    assert VIEW in outcome.snapshots
    assert outcome.trial is not None
    assert outcome.trial.snapshots[VIEW].versions[TypeUrl.ROUTE] != routes
    fleet.now += 40.0
    assert fleet.step().trial is None
    assert routes


def test_an_edit_undone_during_its_trial_leaves_what_is_in_force() -> None:
    fleet = Fleet()
    before = fleet.version
    fleet.step(policy=policy(hosts="store.demo"))
    outcome = fleet.step(policy=policy())
    assert outcome.trial is None
    assert outcome.promoted is None
    assert fleet.version == before


def test_a_newer_edit_replaces_the_trial() -> None:
    fleet = Fleet()
    fleet.step(policy=policy(hosts="store.demo"))
    latest = policy(hosts="market.demo")
    outcome = fleet.step(policy=latest)
    assert outcome.trial is not None
    for member in outcome.trial.members:
        outcome = fleet.step(clients=(Settled(member),))
    assert fleet.version == latest.digest


def test_a_trial_nobody_answers_is_rolled_back_in_time() -> None:
    fleet = Fleet()
    before = fleet.version
    outcome = fleet.step(policy=policy(hosts="store.demo"))
    assert outcome.wake_at is not None
    fleet.now += 31.0
    outcome = fleet.step()
    assert outcome.refused is not None
    assert fleet.version == before


def test_what_is_rejected_after_the_trial_goes_back_to_what_was_there_before_the_edit() -> None:
    fleet = Fleet()
    (before,) = fleet.snapshot.resources[TypeUrl.LISTENER].values()
    outcome = fleet.step(policy=policy(listen="127.0.0.1:80"))
    assert outcome.trial is not None
    (member,) = outcome.trial.members
    outcome = fleet.step(clients=(Settled(member),))
    (new,) = outcome.snapshots[VIEW].resources[TypeUrl.LISTENER].values()
    other = next(stream for stream in (1, 2) if stream != member)
    outcome = fleet.step(clients=(Refused(other, ((new.key, new.version),), "cannot bind '127.0.0.1:80'"),))
    (kept,) = outcome.snapshots[VIEW].resources[TypeUrl.LISTENER].values()
    assert kept == before != new


def test_after_a_restart_nothing_is_taken_from_others_because_one_rejects_it() -> None:
    fleet = Fleet()
    fleet.controller = Controller(fleet.controller.memory())
    joined = (Joined(1, "envoy-1", VIEW), Joined(2, "envoy-2", VIEW))
    (listener,) = fleet.step(policy=policy(), clients=joined).snapshots[VIEW].resources[TypeUrl.LISTENER].values()
    outcome = fleet.step(clients=(Refused(1, ((listener.key, listener.version),), "cannot bind"),))
    assert not outcome.snapshots, "envoy-2 may have a listener from before that works"
    assert not fleet.controller.quarantined


def test_what_one_client_proved_bad_is_kept_back_from_its_view() -> None:
    fleet = Fleet()
    first = fleet.controller.step(Inputs(), fleet.now)
    assert not first.snapshots
    fleet.now += 1
    for _ in range(4):
        fleet.now += 1.0
        outcome = fleet.probe(down="west")
        if VIEW in outcome.snapshots:
            break
    moved = outcome.snapshots[VIEW]
    routes = next(iter(moved.resources[TypeUrl.ROUTE].values()))
    outcome = fleet.step(clients=(Refused(1, ((Key(TypeUrl.ROUTE, routes.name), routes.version),), "bad route"),))
    assert "resource.quarantined" in kinds(outcome)
    kept = outcome.snapshots[VIEW].resources[TypeUrl.ROUTE][routes.name]
    assert kept.version != routes.version
    assert fleet.controller.quarantined[0].error == "bad route"
    outcome = fleet.step(retry=True)
    assert outcome.snapshots[VIEW].resources[TypeUrl.ROUTE][routes.name].version == routes.version
    assert not fleet.controller.quarantined
