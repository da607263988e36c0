"""gRPC clients without a proxy, real ones: they resolve through us, follow weights, and lose no call with a region."""

from __future__ import annotations

import signal

import pytest

from tests.grpc_clients.stage import CLIENTS, HOME, LAST, NEXT, OWN_HOST, Counts, Stage

TOLERANCE = 0.05
"""Of 1,500 calls at a share of 70 %, one standard deviation is 1.2 %."""
CALLS = 1_500


def all_call(stage: Stage, calls: int) -> dict[str, Counts]:
    for caller in stage.callers.values():
        caller.begin(calls)
    return {name: caller.end() for name, caller in stage.callers.items()}


def test_resolve_through_us_by_name_and_follow_the_weights(stage: Stage) -> None:
    for counts in all_call(stage, CALLS).values():
        assert counts.failed == {}
        assert abs(counts.share(HOME) - 0.70) < TOLERANCE, counts.served
        assert abs(counts.share(NEXT) - 0.30) < TOLERANCE, counts.served
    clients = stage.clients()
    assert set(clients) == set(CLIENTS)
    for client in clients.values():
        assert client["kind"] == "grpc"
        assert client["agent"].startswith("gRPC")
        assert client["region"] == HOME
        assert set(client["types"]) == {"LDS", "RDS", "CDS", "EDS"}
        assert all(said["nacked"] is None for said in client["types"].values()), client
        assert all(said["acked"] == said["sent"] for said in client["types"].values()), client


def test_follow_a_policy_edit_which_goes_to_a_cohort_of_them_first(stage: Stage) -> None:
    all_call(stage, 10)
    stage.capacities(40, 90)
    stage.follows(us_east_1=40, eu_west_1=60)
    for counts in all_call(stage, CALLS).values():
        assert counts.failed == {}
        assert abs(counts.share(HOME) - 0.40) < TOLERANCE, counts.served
        assert abs(counts.share(NEXT) - 0.60) < TOLERANCE, counts.served
    trials = [event for event in stage.api("events")["events"] if event["kind"] == "policy.trial"]
    assert trials[-1]["message"].endswith(CLIENTS), trials[-1]


def test_lose_no_call_when_the_region_with_most_weight_is_killed(stage: Stage) -> None:
    for caller in stage.callers.values():
        caller.begin(2 * CALLS)
    stage.backends[HOME].kill()
    for counts in (caller.end() for caller in stage.callers.values()):
        assert counts.failed == {}
        assert sum(counts.served.values()) == 2 * CALLS
    stage.follows(eu_west_1=40, sa_east_1=60)
    for counts in all_call(stage, CALLS).values():
        assert counts.failed == {}
        assert set(counts.served) == {NEXT, LAST}


def test_lose_no_call_when_a_region_is_killed_while_the_control_plane_is_dead(stage: Stage) -> None:
    all_call(stage, 10)
    stage.control_plane.kill()
    for caller in stage.callers.values():
        caller.begin(2 * CALLS)
    stage.backends[HOME].kill()
    for counts in (caller.end() for caller in stage.callers.values()):
        assert counts.failed == {}
        assert sum(counts.served.values()) == 2 * CALLS
    for counts in all_call(stage, CALLS).values():
        assert counts.failed == {}
        assert set(counts.served) == {NEXT, LAST}, "the reflex plan: priority 1 of the dead region's cluster"


def test_lose_no_call_to_a_region_that_hangs_if_they_look_for_it(stage: Stage) -> None:
    all_call(stage, 10)
    for caller in stage.callers.values():
        caller.begin(2 * CALLS)
    stage.backends[HOME].send(signal.SIGSTOP)
    for counts in (caller.end() for caller in stage.callers.values()):
        assert counts.failed == {}
        assert sum(counts.served.values()) == 2 * CALLS
    stage.follows(eu_west_1=40, sa_east_1=60)


def test_come_back_to_a_control_plane_that_was_started_again(stage: Stage) -> None:
    all_call(stage, 10)
    stage.control_plane.kill()
    stage.restore()
    stage.capacities(40, 90)
    stage.follows(us_east_1=40, eu_west_1=60)
    for counts in all_call(stage, CALLS).values():
        assert counts.failed == {}
        assert abs(counts.share(HOME) - 0.40) < TOLERANCE, counts.served


def test_every_host_of_a_service_is_a_name_to_ask_for(stage: Stage) -> None:
    with stage.another("grpcio", "checkout.other") as caller:
        counts = caller.call(CALLS)
    assert counts.failed == {}
    assert abs(counts.share(HOME) - 0.70) < TOLERANCE, counts.served


def test_refuse_in_an_overload_what_does_not_fit_and_try_none_of_it_again(stage: Stage) -> None:
    """Demand is 140, of which 100 fit: 29 % of the calls fail, whatever the classes."""
    all_call(stage, 10)
    stage.capacities(40, 30, 30)
    stage.until("something is refused", lambda: bool(stage.api("decision")["services"][0]["views"][2]["shed"]))
    stage.until("the clients have it", stage.synced)
    stage.until("they go by it", lambda: all(counts.failed for counts in all_call(stage, 50).values()))
    for counts in all_call(stage, CALLS).values():
        refused = sum(counts.failed.values())
        assert abs(refused / CALLS - 0.29) < TOLERANCE, (counts.failed, counts.served)
        assert all(said.startswith("UNAVAILABLE") for said in counts.failed), counts.failed


@pytest.mark.parametrize("name", CLIENTS)
def test_resolve_a_name_of_the_operators_own(stage: Stage, name: str) -> None:
    with stage.another(name, OWN_HOST) as caller:
        counts = caller.call(50)
    assert (counts.failed, set(counts.served)) == ({}, {NEXT})
