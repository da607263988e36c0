"""The word of few clients against what the others of their view have done: who is at fault, and when that is known."""

from __future__ import annotations

import pytest

from tests.rollout.test_controller_rollout import VIEW, Fleet, kinds, policy
from xds_server.rollout.dissent import AT_A_TIME, LEAST, LOOK_EVERY_S, MOST_KEPT, WAIT_S, Dissent, Judged
from xds_server.rollout.news import Accepted, Disputed, Joined, Left, Refused, Settled
from xds_server.rollout.quarantine import Held
from xds_server.snapshot.resource import Key, Resource, TypeUrl

KEY = Key(TypeUrl.LISTENER, "outbound")


def held(client: int = 1, version: str = "v2") -> Held:
    return Held(VIEW, KEY, version, f"envoy-{client}", "cannot bind")


def disputed(version: str = "v2") -> Disputed:
    return Disputed(VIEW, KEY, version)


def judged(dissent: Dissent, accepting: int, now: float, in_view: int = 10) -> list[Judged]:
    """Look once, as the controller does when something is due."""
    return dissent.judge([Accepted(what, accepting) for what in dissent.due(now)], lambda _: in_view, now)


@pytest.mark.parametrize("in_view", range(1, LEAST + 1))
def test_where_there_are_few_clients_one_is_believed_at_once(in_view: int) -> None:
    assert Dissent().heard(1, held(), in_view, 0.0)


def test_one_that_is_alone_against_all_others_is_at_fault_itself() -> None:
    dissent = Dissent()
    assert not dissent.heard(1, held(), 10, 0.0)
    assert judged(dissent, 9, 0.1) == [Judged(held(), True, 1, 9)]
    assert dissent.next_look() is None


@pytest.mark.parametrize(("accepting", "in_view"), [(LEAST - 1, 4), (4, 10), (0, 1000)])
def test_what_too_few_have_accepted_is_kept_back_after_a_while(accepting: int, in_view: int) -> None:
    dissent = Dissent()
    assert not dissent.heard(1, held(), in_view, 0.0)
    assert judged(dissent, accepting, 0.0, in_view) == []
    assert judged(dissent, accepting, WAIT_S - LOOK_EVERY_S, in_view) == []
    assert judged(dissent, accepting, WAIT_S, in_view) == [Judged(held(), False, 1, accepting)]
    assert judged(dissent, accepting, WAIT_S + 1.0, in_view) == []


def test_others_that_answer_meanwhile_count() -> None:
    dissent = Dissent()
    dissent.heard(1, held(), 10, 0.0)
    assert judged(dissent, 4, 0.0) == []
    assert dissent.due(LOOK_EVERY_S - 0.01) == ()
    assert judged(dissent, 5, LOOK_EVERY_S) == [Judged(held(), True, 1, 5)]


@pytest.mark.parametrize(("in_view", "most"), [(4, 1), (19, 1), (20, 2), (100, 10), (1000, 100)])
def test_more_than_a_tenth_are_believed_at_once(in_view: int, most: int) -> None:
    dissent = Dissent()
    heard = [dissent.heard(n, held(n), in_view, 0.0) for n in range(most + 1)]
    assert heard == [*[False] * most, True]
    assert dissent.due(0.0) == ()


def test_a_tenth_of_those_connected_is_more_than_a_tenth_of_those_that_answered() -> None:
    dissent = Dissent()
    for n in range(10):
        dissent.heard(n, held(n), 100, 0.0)
    assert judged(dissent, 60, 0.0, 100) == []
    assert [each.upheld for each in judged(dissent, 90, 1.0, 100)] == [True] * 10


def test_the_same_client_is_told_of_once_also_when_it_comes_back() -> None:
    dissent = Dissent()
    dissent.heard(1, held(), 10, 0.0)
    assert len(judged(dissent, 9, 0.0)) == 1
    assert not dissent.heard(1, held(), 10, 1.0)
    assert dissent.due(1.0) == ()
    dissent.left(1)
    assert not dissent.heard(7, held(), 10, 2.0)
    assert judged(dissent, 9, 2.0) == []
    dissent.heard(8, held(2), 30, 3.0)
    assert [each.held.node_id for each in judged(dissent, 28, 3.0, 30)] == ["envoy-2"]


def test_those_that_have_gone_do_not_count() -> None:
    dissent = Dissent()
    for n in range(50):
        assert not dissent.heard(n, held(n), 10, float(n))
        dissent.left(n)
    assert dissent.due(100.0) == ()
    assert dissent.next_look() is None


def test_after_a_retry_everything_is_heard_anew() -> None:
    dissent = Dissent()
    dissent.heard(1, held(), 10, 0.0)
    judged(dissent, 9, 0.0)
    dissent.forget()
    assert not dissent.heard(1, held(), 10, 1.0)
    assert judged(dissent, 9, 1.0) == [Judged(held(), True, 1, 9)]


def test_a_client_that_rejects_everything_is_judged_a_little_at_a_time_in_bounded_memory() -> None:
    dissent = Dissent()
    for n in range(MOST_KEPT + 10):
        dissent.heard(1, held(version=f"v{n}"), 10, 0.0)
    seen: list[str] = []
    now = 0.0
    while due := dissent.due(now):
        assert len(due) <= AT_A_TIME
        seen += [each.held.version for each in judged(dissent, 9, now)]
        now += LOOK_EVERY_S
    assert seen == [f"v{n}" for n in range(10, MOST_KEPT + 10)]
    dissent.left(1)
    assert dissent.next_look() is None


# Through the controller.


class Crowd(Fleet):
    """Ten Envoys in one view, all of which have taken an edit of the listener."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.listener()
        self.step(clients=tuple(Joined(n, f"envoy-{n}", VIEW) for n in range(3, 11)))
        trial = self.step(policy=policy(listen="127.0.0.1:81")).trial
        assert trial is not None
        self.snapshot = self.step(clients=tuple(map(Settled, trial.members))).snapshots[VIEW]

    def listener(self) -> Resource:
        return self.snapshot.resources[TypeUrl.LISTENER]["outbound"]

    def refused(self, *streams: int) -> tuple[Refused, ...]:
        listener = self.listener()
        return tuple(Refused(n, ((listener.key, listener.version),), "cannot bind") for n in streams)

    def counted(self, clients: int) -> tuple[Accepted, ...]:
        return tuple(Accepted(what, clients) for what in self.controller.doubted(self.now))


def test_the_others_keep_what_one_machine_cannot_take_and_it_is_said_which() -> None:
    fleet = Crowd()
    outcome = fleet.step(clients=fleet.refused(7))
    assert (outcome.snapshots, outcome.events) == ({}, ())
    assert outcome.wake_at is not None
    assert outcome.wake_at <= fleet.now
    (what,) = fleet.controller.doubted(fleet.now)
    assert what == Disputed(VIEW, fleet.listener().key, fleet.listener().version)
    outcome = fleet.step(accepted=fleet.counted(9))
    assert kinds(outcome) == ["resource.upheld"]
    assert "9 clients have accepted it: envoy-7 alone rejected it: cannot bind" in outcome.events[0].message
    assert outcome.events[0].severity == "warning"
    assert (outcome.snapshots, fleet.controller.quarantined) == ({}, ())


def test_what_nobody_else_accepts_either_goes_back_to_what_was_before() -> None:
    fleet = Crowd()
    fleet.step(clients=fleet.refused(7))
    fleet.step(accepted=fleet.counted(0))
    fleet.now += WAIT_S
    outcome = fleet.step(accepted=fleet.counted(0))
    assert "resource.quarantined" in kinds(outcome)
    assert outcome.snapshots[VIEW].resources[TypeUrl.LISTENER]["outbound"].version == fleet.before.version


def test_two_of_ten_are_believed_at_once() -> None:
    fleet = Crowd()
    outcome = fleet.step(clients=fleet.refused(7, 8))
    assert kinds(outcome) == ["resource.quarantined"]
    assert fleet.controller.doubted(fleet.now) == ()


def test_an_edit_in_between_ends_the_dispute() -> None:
    fleet = Crowd()
    fleet.step(clients=fleet.refused(7))
    counts = fleet.counted(0)
    fleet.step(accepted=counts)
    trial = fleet.step(policy=policy(listen="127.0.0.1:82")).trial
    assert trial is not None
    fleet.step(clients=tuple(map(Settled, trial.members)))
    fleet.now += WAIT_S
    assert not [kind for kind in kinds(fleet.step(accepted=counts)) if kind.startswith("resource")]
    assert fleet.controller.quarantined == ()


def test_a_client_that_leaves_takes_its_word_with_it() -> None:
    fleet = Crowd()
    fleet.step(clients=fleet.refused(7))
    fleet.step(clients=(Left(7),))
    assert fleet.controller.doubted(fleet.now) == ()
