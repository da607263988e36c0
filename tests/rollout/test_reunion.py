"""A policy that was on trial when the process ended: the trial begins again when clients are back."""

from __future__ import annotations

from tests.rollout.test_controller_rollout import VIEW, Fleet, kinds, policy
from xds_server.controller import Controller
from xds_server.rollout.news import Joined, Refused, Settled
from xds_server.rollout.reunion import FIRST_S, OTHERS_S
from xds_server.snapshot.resource import TypeUrl
from xds_server.step import Inputs, Memory, Outcome

EDIT = policy(listen="127.0.0.1:80")
EAST, WEST = VIEW, VIEW._replace(region="west")


class Life:
    """The process after one that ended with an edit on trial."""

    def __init__(self) -> None:
        earlier = Fleet()
        assert earlier.step(policy=EDIT).trial is not None
        self.memory = earlier.controller.memory()
        self.controller = Controller(self.memory)
        self.now = 1_000.0
        self.step(policy=policy())
        self.step(policy=EDIT)

    def step(self, **inputs: object) -> Outcome:
        return self.controller.step(Inputs(**inputs), self.now)  # type: ignore[arg-type]

    def at(self, later: float, **inputs: object) -> Outcome:
        self.now += later
        return self.step(**inputs)


def in_force(life: Life) -> str:
    assert life.controller.policy is not None
    return life.controller.policy.digest


def test_memory_names_the_policy_on_trial_until_the_trial_has_ended() -> None:
    fleet = Fleet()
    assert fleet.controller.memory().trial == ""
    trial = fleet.step(policy=EDIT).trial
    assert trial is not None
    assert fleet.controller.memory().trial == EDIT.digest
    fleet.step(clients=tuple(map(Settled, trial.members)))
    assert fleet.controller.memory().trial == ""


def test_the_policy_before_is_in_force_until_clients_are_back_and_have_tried_it() -> None:
    life = Life()
    assert in_force(life) == policy().digest
    first = life.at(1.0, clients=(Joined(1, "envoy-1", EAST),))
    assert first.trial is None
    assert VIEW in first.snapshots
    assert first.wake_at is not None
    assert life.at(OTHERS_S - 0.1, clients=(Joined(2, "envoy-2", WEST),)).trial is None
    outcome = life.at(0.1)
    assert outcome.trial is not None
    assert kinds(outcome) == ["policy.trial"]
    (member,) = outcome.trial.members
    assert in_force(life) == policy().digest
    assert life.at(0.1, clients=(Settled(member),)).promoted == EDIT


def test_what_the_cohort_rejects_then_is_rolled_back() -> None:
    life = Life()
    life.at(1.0, clients=(Joined(1, "envoy-1", EAST),))
    outcome = life.at(OTHERS_S)
    assert outcome.trial is not None
    new = outcome.trial.snapshots[VIEW].resources[TypeUrl.LISTENER].values()
    outcome = life.at(0.1, clients=(Refused(1, tuple((r.key, r.version) for r in new), "cannot bind"),))
    assert outcome.refused is not None
    assert in_force(life) == policy().digest
    assert life.controller.memory().trial == ""


def test_with_nobody_there_it_is_in_force_in_the_end() -> None:
    life = Life()
    assert life.at(FIRST_S - 0.1).promoted is None
    assert life.at(0.1).promoted == EDIT


def test_clients_that_come_one_after_the_other_do_not_put_it_off_for_ever() -> None:
    life = Life()
    for number in range(1, 8):
        outcome = life.at(1.0, clients=(Joined(number, f"envoy-{number}", EAST),))
    assert outcome.trial is not None


def test_an_edit_meanwhile_waits_as_well() -> None:
    life = Life()
    other = policy(listen="127.0.0.1:81")
    life.at(1.0, clients=(Joined(1, "envoy-1", EAST),))
    assert life.at(1.0, policy=other).trial is None
    assert life.controller.candidate == other
    outcome = life.at(OTHERS_S - 1.0)
    assert outcome.trial is not None


def test_without_a_trial_to_go_on_with_nothing_waits() -> None:
    life = Life()
    controller = Controller(Memory(life.memory.beliefs, life.memory.weights))
    controller.step(Inputs(policy=policy()), 0.0)
    assert controller.step(Inputs(policy=EDIT), 1.0).promoted == EDIT
