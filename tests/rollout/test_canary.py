"""How a trial ends: every line of the table at the top of canary.py."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from xds_server.rollout.canary import Client, Ended, Trial, begin, left, overdue, refused, settled


def fleet(count: int) -> dict[int, Client]:
    return {n: Client(n, f"envoy-{n}") for n in range(1, count + 1)}


def trial(clients: Mapping[int, Client], share: float = 0.5) -> Trial:
    begun = begin("digest", clients, share, 30.0, 100.0)
    assert isinstance(begun, Trial)
    return begun


def test_with_nobody_connected_a_policy_is_promoted_at_once() -> None:
    ended = begin("digest", {}, 0.05, 30.0, 0.0)
    assert isinstance(ended, Ended)
    assert ended.promoted


def test_the_cohort_is_the_share_and_at_least_one() -> None:
    assert len(trial(fleet(100), 0.05).members) == 5
    assert len(trial(fleet(3), 0.05).members) == 1


def test_another_policy_chooses_others() -> None:
    cohorts = {tuple(sorted(begin(f"d{n}", fleet(50), 0.02, 30.0, 0.0).members)) for n in range(20)}  # type: ignore[union-attr]
    assert len(cohorts) > 5


def test_promoted_when_all_have_acknowledged() -> None:
    begun = trial(fleet(4))
    first, second = begun.members
    after = settled(begun, first)
    assert isinstance(after, Trial)
    ended = settled(after, second)
    assert isinstance(ended, Ended)
    assert ended.promoted


def test_who_is_not_in_the_cohort_has_no_say() -> None:
    begun = trial(fleet(4))
    outsider = next(stream for stream in fleet(4) if stream not in begun.members)
    assert settled(begun, outsider) is begun
    assert refused(begun, outsider, "no") is begun
    assert left(begun, outsider, fleet(4)) is begun


def test_rolled_back_with_the_words_of_who_rejected_it() -> None:
    begun = trial(fleet(4))
    ended = refused(begun, next(iter(begun.members)), "cannot bind '127.0.0.1:80'")
    assert isinstance(ended, Ended)
    assert not ended.promoted
    assert "cannot bind" in ended.reason


def test_who_leaves_is_replaced_once() -> None:
    clients = fleet(4)
    begun = trial(clients, 0.25)
    (gone,) = begun.members
    rest = {n: c for n, c in clients.items() if n != gone}
    after = left(begun, gone, rest)
    assert isinstance(after, Trial)
    (second,) = after.members
    assert second != gone
    ended = left(after, second, {n: c for n, c in rest.items() if n != second})
    assert isinstance(ended, Ended)
    assert not ended.promoted


def test_who_leaves_after_acknowledging_has_said_its_word() -> None:
    clients = fleet(4)
    begun = trial(clients)
    first, second = begun.members
    after = settled(begun, first)
    assert isinstance(after, Trial)
    without = left(after, first, clients)
    assert isinstance(without, Trial)
    ended = settled(without, second)
    assert isinstance(ended, Ended)
    assert ended.promoted


def test_when_time_is_up_those_who_answered_decide() -> None:
    begun = trial(fleet(4))
    assert overdue(begun, 129.0) is begun
    ended = overdue(begun, 130.0)
    assert isinstance(ended, Ended)
    assert not ended.promoted
    first, second = begun.members
    after = settled(begun, first)
    assert isinstance(after, Trial)
    late = overdue(after, 130.0)
    assert isinstance(late, Ended)
    assert late.promoted
    assert late.silent == (begun.members[second].node_id,)


@given(
    st.integers(1, 12),
    st.floats(0.01, 1.0),
    st.lists(st.tuples(st.sampled_from("sln"), st.integers(1, 12)), max_size=40),
)
def test_every_trial_ends_or_waits_for_somebody(count: int, share: float, news: list[tuple[str, int]]) -> None:
    clients = fleet(count)
    state: Trial | Ended = trial(clients, share)
    for what, stream in news:
        if isinstance(state, Ended):
            break
        if what == "s":
            state = settled(state, stream)
        elif what == "l":
            clients.pop(stream, None)
            state = left(state, stream, clients)
        else:
            state = refused(state, stream, "no")
    if isinstance(state, Trial):
        assert state.waiting
        assert set(state.members) <= set(clients)
        assert isinstance(overdue(state, state.deadline), Ended)


def test_every_kind_of_client_is_asked_and_replaced_by_its_like() -> None:
    clients = {**fleet(40), 41: Client(41, "caller-1", "grpc"), 42: Client(42, "caller-2", "grpc")}
    begun = trial(clients, 0.05)
    assert sorted(client.kind for client in begun.members.values()) == ["", "", "grpc"]
    (gone,) = (stream for stream, client in begun.members.items() if client.kind == "grpc")
    after = left(begun, gone, {stream: client for stream, client in clients.items() if stream != gone})
    assert isinstance(after, Trial)
    assert sorted(client.kind for client in after.members.values()) == ["", "", "grpc"]
    assert gone not in after.members
    (second,) = (stream for stream, client in after.members.items() if client.kind == "grpc")
    after = left(after, second, fleet(40))
    assert isinstance(after, Trial)
    assert {client.kind for client in after.members.values()} == {""}, "nobody of its kind is left to ask"
