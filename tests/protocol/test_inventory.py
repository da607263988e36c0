"""Where a client is with each resource, and an operator's retry, as conversations."""

from __future__ import annotations

from tests.protocol.delta_talk import DeltaPeer
from tests.protocol.talk import LETTERS, Peer, envoy_on, world
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.typestate import Refusal
from xds_server.protocol.updates import MOST
from xds_server.snapshot.resource import Snapshot

ONE = world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a")


def states(peer: Peer, snapshot: Snapshot | None) -> dict[str, str]:
    """Return `C a` and so on with state, version and the rejected version, if there is one."""
    return {
        f"{LETTERS[s.type_url]} {s.name}": f"{s.state} {s.version}" + (f" not {s.refusal.version}" if s.refusal else "")
        for s in peer.stream.resources(snapshot)
    }


def test_what_was_accepted_is_in_sync() -> None:
    peer = envoy_on(ONE, "a")
    assert states(peer, ONE) == {"C a": "SYNCED 1", "E a": "SYNCED 1", "L l": "SYNCED 1", "R r": "SYNCED 1"}


def test_a_change_is_not_sent_then_stale_then_in_sync() -> None:
    peer = envoy_on(ONE, "a")
    two = world("C a=1", "E a=2", "L l=1 > R:r", "R r=1 > C:a")
    assert states(peer, two)["E a"] == "NOT_SENT 2"
    peer.sees(two)
    assert states(peer, two)["E a"] == "STALE 2"
    assert states(peer, two)["C a"] == "SYNCED 1"
    peer.acks("E")
    assert states(peer, two)["E a"] == "SYNCED 2"


def test_what_waits_for_its_cluster_is_not_sent() -> None:
    peer = envoy_on(ONE, "a")
    two = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
    peer.sees(two)
    assert states(peer, two)["C b"] == "STALE 1"
    assert states(peer, two)["R r"] == "NOT_SENT 2"


def test_a_rejected_resource_shows_what_the_client_has_and_the_words() -> None:
    peer = envoy_on(ONE, "a")
    two = world("C a=2", "E a=1", "L l=1 > R:r", "R r=1 > C:a")
    peer.sees(two)
    peer.nacks("C", "no such filter")
    assert states(peer, two)["C a"] == "ERROR 1 not 2"
    (rejected,) = (s.rejected for s in peer.stream.status() if LETTERS[s.type_url] == "C")
    assert rejected == (Refusal("a", "2", "no such filter"),)


def test_an_error_ends_when_other_content_is_accepted() -> None:
    peer = envoy_on(ONE, "a")
    peer.sees(world("C a=2", "E a=1", "L l=1 > R:r", "R r=1 > C:a"))
    peer.nacks("C")
    three = world("C a=3", "E a=1", "L l=1 > R:r", "R r=1 > C:a")
    peer.settles(three)
    assert states(peer, three)["C a"] == "SYNCED 3"
    assert not any(status.rejected for status in peer.stream.status())


def test_of_several_suspects_only_the_culprit_stays_in_error() -> None:
    peer = envoy_on(ONE, "a")
    two = world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a", *(f"C new{n}=1" for n in range(4)))
    peer.sees(two)
    peer.nacks("C", "one is bad")
    while came := peer.sees(two):
        for answer in came:
            peer.nacks("C", "new2 is bad") if "new2" in answer else peer.acks(answer[0])
    shown = states(peer, two)
    assert {name: shown[f"C {name}"] for name in ("new0", "new1", "new3")} == dict.fromkeys(
        ("new0", "new1", "new3"), "SYNCED 1"
    )
    assert shown["C new2"] == "ERROR  not 1"


def test_a_name_that_does_not_exist_is_not_sent() -> None:
    peer = envoy_on(ONE, "a")
    peer.asks("E", "a", "nothing")
    assert states(peer, ONE)["E nothing"] == "NOT_SENT "


def test_without_a_snapshot_there_is_what_the_client_has() -> None:
    assert states(envoy_on(ONE, "a"), None)["C a"] == "SYNCED 1"


def test_a_retry_sends_the_rejected_resource_once_more() -> None:
    peer = envoy_on(ONE, "a")
    two = world("C a=1", "E a=1", "L l=2 > R:r", "R r=1 > C:a")
    peer.sees(two)
    peer.nacks("L", "address already in use")
    assert peer.settles(two) == []
    peer.stream.retry()
    assert peer.sees(two) == ["L 6: l=2"]
    peer.acks("L")
    assert states(peer, two)["L l"] == "SYNCED 2"
    peer.stream.retry()
    assert peer.sees(two) == []


def test_a_retry_reaches_a_client_that_came_back_with_what_nobody_knows() -> None:
    peer = Peer()
    peer.asks("L", version="from before")
    two = world("L l=1", "L m=1")
    peer.sees(two)
    peer.nacks("L", "m: address already in use")
    assert peer.settles(two) == []
    assert states(peer, two) == {"L l": "SYNCED 1", "L m": "ERROR  not 1"}
    peer.stream.retry()
    assert peer.sees(two) == ["L 2: l=1 m=1"]


def test_delta_tells_the_same_and_retries_too() -> None:
    peer = DeltaPeer()
    peer.asks("C", "*")
    peer.settles(world("C a=1", "C b=1"))
    two = world("C a=1", "C b=2")
    peer.sees(two)
    peer.nacks("C", "no such filter")
    assert peer.settles(two) == []
    shown = {status.name: (str(status.state), status.version) for status in peer.stream.resources(two)}
    assert shown == {"a": ("SYNCED", "1"), "b": ("ERROR", "1")}
    peer.stream.retry()
    assert [line.split(": ")[1] for line in peer.settles(two)] == ["b=2"]
    assert {status.state for status in peer.stream.resources(two)} == {"SYNCED"}


def times(peer: Peer, snapshot: Snapshot) -> dict[str, float | None]:
    return {s.name: s.updated for s in peer.stream.resources(snapshot)}


class TestTimes:
    """When a client last accepted a resource."""

    def test_each_resource_has_the_time_of_the_answer_that_brought_it(self) -> None:
        peer = Peer()
        peer.asks("E", "a", "b", "c")
        for peer.now, lines in ((1.0, ("E a=1", "E b=1")), (2.0, ("E a=1", "E b=2")), (3.0, ("E a=1", "E b=3"))):
            peer.settles(world(*lines))
        assert times(peer, world("E a=1", "E b=3")) == {"a": 1.0, "b": 3.0, "c": None}

    def test_a_rejection_has_its_time_and_content_and_leaves_the_other(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.now = 1.0
        peer.settles(world("E a=1"))
        bad = world("E a=9")
        peer.sees(bad)
        peer.now = 2.0
        peer.nacks("E", "no")
        (status,) = peer.stream.resources(bad)
        assert (status.updated, status.refusal) == (1.0, Refusal("a", "9", "no", 2.0))
        assert status.failed is not None
        assert status.failed.version == "9"
        (later,) = peer.stream.resources(world("E a=1"))
        assert later.failed is None

    def test_what_it_had_before_it_connected_has_no_time(self) -> None:
        sharing = Sharing()
        before = envoy_on(ONE, "a", sharing)
        again = Peer(sharing=sharing)
        again.asks("C", version=before.versions["C"])
        assert again.sees(ONE) == []
        assert times(again, ONE) == {"a": None}

    def test_what_came_many_changes_ago_has_none_any_more(self) -> None:
        peer = Peer()
        names = [f"e{n}" for n in range(MOST + 2)]
        peer.asks("E", *names)
        seen = world(*(f"E {name}=1" for name in names))
        peer.settles(seen)
        for count, name in enumerate(names[:-1], start=1):
            peer.now = float(count)
            seen = world(*(f"E {other}={2 if other <= name else 1}" for other in names))
            assert peer.settles(seen)[0].endswith(f": {name}=2")
        assert times(peer, seen) == {
            **{name: float(n) for n, name in enumerate(names, start=1)},
            "e0": None,
            "e9": None,
        }
