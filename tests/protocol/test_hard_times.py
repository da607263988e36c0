"""Conversations in which things cross, break or are rejected half-way: what the plain rules alone would get wrong.

Each of these was found by the random talk or by thinking it through; without its line of code the last step differs.
"""

from __future__ import annotations

from tests.protocol.talk import Peer, envoy_on, world
from xds_server.protocol.sharing import Sharing

OLD = world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a")
TWO = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=1 > C:a")


def test_a_cluster_that_changes_to_and_fro_behind_a_slow_assignment_gets_it_again() -> None:
    peer = envoy_on(OLD, "a")
    changed = world("C a=2", "E a=1", "L l=1 > R:r", "R r=1 > C:a")
    assert peer.sees(changed) == ["C 5: a=2", "E 6: a=1"]
    for nonce, snapshot in ((7, OLD), (8, changed)):
        peer.acks("C")
        assert peer.sees(snapshot) == [f"C {nonce}: a={'1' if snapshot is OLD else '2'}"]
    peer.acks("C")
    peer.acks("E")  # the one that came before the cluster changed back and forth
    assert peer.sees(changed) == ["E 9: a=1"]


def test_a_cluster_that_went_and_came_back_is_not_in_place_before_its_assignment() -> None:
    peer = envoy_on(TWO, "a b")
    assert peer.settles(OLD) == ["C 5: a=1"]
    back = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:a C:b")
    assert peer.sees(back) == ["C 6: a=1 b=1", "E 7: b=1"]
    peer.acks("C")
    assert peer.sees(back) == []
    peer.acks("E")
    assert peer.sees(back) == ["R 8: r=2"]


def test_an_assignment_accepted_after_its_cluster_went_does_not_count() -> None:
    peer = envoy_on(TWO, "a b")
    assert peer.sees(world("C a=1", "E a=1", "E b=2", "L l=1 > R:r", "R r=1 > C:a")) == ["C 5: a=1", "E 6: b=2"]
    peer.acks("C")
    peer.acks("E")
    back = world("C a=1", "C b=1", "E a=1", "E b=2", "L l=1 > R:r", "R r=2 > C:a C:b")
    assert peer.sees(back) == ["C 7: a=1 b=1", "E 8: b=2"]
    peer.acks("C")
    assert peer.sees(back) == []


def test_suspects_that_nobody_wants_any_more_do_not_hold_up_the_others() -> None:
    peer = Peer()
    peer.asks("E", "a", "b")
    peer.sees(world("E a=9", "E b=1"))
    peer.nacks("E")
    assert peer.sees(world("E b=1")) == ["E 2: b=1"]


def test_after_a_half_applied_rejection_the_set_is_sent_clean() -> None:
    peer = Peer()
    peer.asks("C")
    peer.settles(world("C a=1"))
    assert peer.sees(world("C a=9", "C b=1")) == ["C 2: a=9 b=1"]
    peer.nacks("C")  # b is there now
    assert peer.sees(world("C a=1")) == ["C 3: a=1"]


def test_a_cluster_removed_in_a_rejected_set_is_not_in_place_when_it_comes_back() -> None:
    peer = envoy_on(TWO, "a b")
    assert peer.sees(world("C a=1", "C c=9", "E a=1", "L l=1 > R:r", "R r=1 > C:a")) == ["C 5: a=1 c=9"]
    peer.nacks("C")  # c is not there, and b is gone
    back = world("C a=1", "C b=1", "C c=9", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:a C:b")
    assert peer.sees(back) == ["C 6: a=1 b=1", "E 7: b=1"]
    peer.acks("C")
    peer.acks("E")
    assert peer.sees(back) == ["R 8: r=2"]


def test_a_returning_client_that_is_not_known_is_not_sent_parts_on_trial() -> None:
    peer = Peer()
    peer.asks("C", version="of a server that is no more")
    peer.asks("E", "a", "b")
    snapshot = world("C a=9", "C b=1", "E a=1", "E b=1", "R r=1 > C:b")
    assert peer.sees(snapshot) == ["C 1: a=9 b=1", "E 2: a=1 b=1"]
    peer.nacks("C", "Error adding/updating cluster(s) a: no such filter")
    peer.acks("E")
    assert peer.sees(snapshot) == []  # without a it would lose the a that it has
    peer.asks("R", "r")
    assert peer.sees(snapshot) == ["R 3: r=1"]
    assert peer.sees(world("C a=9", "C b=2", "E a=1", "E b=1", "R r=1 > C:b"))[0] == "C 4: a=9 b=2"


def test_what_such_a_client_rejected_before_does_not_condemn_what_is_new() -> None:
    peer = Peer()
    peer.asks("C", version="of a server that is no more")
    peer.sees(world("C a=9"))
    peer.nacks("C", "Error adding/updating cluster(s) a: no such filter")
    both = world("C a=9", "C b=1")
    assert peer.sees(both) == ["C 2: a=9 b=1"]
    peer.nacks("C", "Error adding/updating cluster(s) a: no such filter")
    assert peer.settles(world("C c=1")) == ["C 3: c=1"]
    assert peer.settles(both) == ["C 4: b=1"]


def test_a_client_that_left_in_the_middle_of_a_change_is_brought_to_a_known_state() -> None:
    sharing = Sharing()
    before = envoy_on(OLD, "a", sharing)
    new = world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
    assert before.sees(new) == ["C 5: a=1 b=1"]
    before.stream.end()
    again = Peer(sharing=sharing)
    again.asks("C", version=before.versions["C"])
    assert again.sees(OLD) == ["C 1: a=1"]  # it may have b


def test_a_client_that_left_in_peace_is_believed_again() -> None:
    sharing = Sharing()
    before = envoy_on(OLD, "a", sharing)
    before.sees(TWO)
    before.stream.end()
    again = Peer(sharing=sharing)
    again.asks("C", version=before.versions["C"])
    again.settles(OLD)
    again.stream.end()
    third = Peer(sharing=sharing)
    third.asks("C", version=again.versions["C"])
    assert third.sees(OLD) == []


def test_a_route_dropped_and_wanted_again_as_the_stream_broke_is_sent() -> None:
    sharing = Sharing()
    before = envoy_on(OLD, "a", sharing)
    alone = world("C a=1", "E a=1", "R r=1 > C:a")
    assert before.settles(alone) == ["L 5:"]  # the Envoy drops r with its listener, and its version stays
    assert before.sees(OLD) == ["L 6: l=1"]  # taken, and not answered: the stream breaks
    before.stream.end()
    again = Peer(sharing=sharing)
    again.asks("R", "r", version=before.versions["R"])
    assert again.sees(OLD) == ["R 1: r=1"]


def test_a_suspect_that_is_no_longer_asked_for_does_not_hold_up_the_others() -> None:
    peer = Peer()
    peer.asks("E", "a", "b")
    both = world("E a=9", "E b=1")
    peer.sees(both)
    peer.nacks("E")
    peer.asks("E", "b")
    assert peer.sees(both) == ["E 2: b=1"]


def test_a_route_does_not_go_to_a_cluster_that_is_about_to_leave() -> None:
    peer = envoy_on(TWO, "a b")
    assert peer.sees(OLD) == ["C 5: a=1"]
    back = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:a C:b")
    assert peer.sees(back) == []  # not to b, which the response under way removes
    peer.acks("C")
    assert peer.sees(back) == ["C 6: a=1 b=1", "E 7: b=1"]


def test_suspects_that_the_client_has_already_are_tried_all_the_same() -> None:
    sharing = Sharing()
    before = Peer(sharing=sharing)
    before.asks("E", "a", "b")
    before.settles(world("E a=1", "E b=1"))
    before.sees(world("E a=1", "E b=1", "E c=1"))
    before.asks("E", "a", "b", "c")
    before.sees(world("E a=1", "E b=1", "E c=9"))
    before.stream.end()  # with c under way: all are sent anew
    again = Peer(sharing=sharing)
    again.asks("E", "a", "b", "c", version=before.versions["E"])
    bad = world("E a=1", "E b=1", "E c=9")
    assert again.sees(bad) == ["E 1: a=1 b=1 c=9"]
    again.nacks("E")
    assert again.sees(bad) == ["E 2: a=1"]
    again.acks("E")
    assert again.sees(bad) == ["E 3: b=1 c=9"]


class TestComesBackWithout:
    """A version says what a client accepted; what it dropped since, and waits for, it still "has" by its version."""

    def leaves(self, assignment: str) -> tuple[Peer, Sharing]:
        """An Envoy that had b, lost it, was given it back with this assignment and left before it took that."""
        sharing = Sharing()
        peer = envoy_on(TWO, "a b", sharing)
        peer.settles(OLD)
        peer.asks("E", "a")
        back = world("C a=1", "C b=1", "E a=1", f"E b={assignment}", "L l=1 > R:r", "R r=2 > C:b")
        assert peer.sees(back) == ["C 6: a=1 b=1"]
        peer.asks("E", "a", "b")
        peer.acks("C")
        assert peer.sees(back) == [f"E 7: b={assignment}"]
        return peer, sharing

    def returns(self, before: Peer, sharing: Sharing) -> Peer:
        before.stream.end()
        again = Peer(sharing=sharing)
        again.versions = dict(before.versions)
        again.asks("C")
        again.asks("E", "a", "b")
        again.asks("L")
        again.asks("R", "r")
        return again

    def test_a_route_does_not_rest_on_an_assignment_that_was_rejected(self) -> None:
        before, sharing = self.leaves("9")
        before.nacks("E")
        again = self.returns(before, sharing)
        bad = world("C a=1", "C b=1", "E a=1", "E b=9", "L l=1 > R:r", "R r=2 > C:b")
        assert again.sees(bad) == ["E 1: b=9"]
        again.nacks("E")
        assert again.sees(bad) == []
        assert again.waiting("R") == {"r"}

    def test_the_assignment_that_it_had_once_is_sent_again(self) -> None:
        before, sharing = self.leaves("9")
        before.nacks("E")
        again = self.returns(before, sharing)
        good = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        assert again.settles(good) == ["E 1: b=1", "R 2: r=2"]

    def test_nor_on_one_that_was_under_way(self) -> None:
        before, sharing = self.leaves("1")
        again = self.returns(before, sharing)
        good = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        assert again.sees(good) == ["E 1: a=1 b=1"]
        again.acks("E")
        assert again.sees(good) == ["R 2: r=2"]

    def test_a_stream_that_ended_before_anything_was_answered_changes_nothing(self) -> None:
        before, sharing = self.leaves("1")
        again = self.returns(before, sharing)
        third = self.returns(again, sharing)
        good = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        assert third.sees(good) == ["E 1: a=1 b=1"]

    def test_nor_does_a_stream_of_clusters_alone(self) -> None:
        before, sharing = self.leaves("1")
        before.stream.end()
        good = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        clusters = Peer(sharing=sharing)
        clusters.asks("C", version=before.versions["C"])
        assert clusters.settles(good) == []
        clusters.versions = before.versions
        assert self.returns(clusters, sharing).sees(good) == ["E 1: a=1 b=1"]


def test_a_route_dropped_wanted_again_and_rejected_is_sent_when_it_is_what_it_was() -> None:
    sharing = Sharing()
    before = envoy_on(OLD, "a", sharing)
    before.settles(world("C a=1", "E a=1"))
    before.asks("R")  # the Envoy drops r with its listener
    bad = world("C a=1", "E a=1", "L l=1 > R:r", "R r=9 > C:a")
    assert before.settles(bad) == ["L 6: l=1"]
    before.asks("R", "r")
    assert before.sees(bad) == ["R 7: r=9"]
    before.nacks("R")
    before.stream.end()
    again = Peer(sharing=sharing)
    again.asks("R", "r", version=before.versions["R"])
    assert again.sees(OLD) == ["R 1: r=1"]


def test_an_assignment_owed_to_a_changed_cluster_and_rejected_is_owed_after_a_reconnect() -> None:
    sharing = Sharing()
    before = envoy_on(OLD, "a", sharing)
    assert before.settles(world("C a=2", "L l=1 > R:r", "R r=1 > C:a")) == ["C 5: a=2"]
    assert before.sees(world("C a=1", "E a=9", "L l=1 > R:r", "R r=1 > C:a")) == ["C 6: a=1", "E 7: a=9"]
    before.acks("C")
    before.nacks("E")
    before.stream.end()
    again = Peer(sharing=sharing)
    again.asks("C", version=before.versions["C"])
    again.asks("E", "a", version=before.versions["E"])
    assert again.sees(OLD) == ["E 1: a=1"]  # as it had for the first a, and the second waits for one


def test_an_assignment_owed_while_there_is_none_is_owed_when_there_is() -> None:
    peer = envoy_on(TWO, "a b")
    without = world("C a=2", "C b=1", "E b=2", "L l=1 > R:r", "R r=1 > C:a")
    assert peer.settles(without) == ["C 5: a=2 b=1", "E 6: b=2"]
    assert peer.settles(world("C a=1", "C b=1", "E b=2", "L l=1 > R:r", "R r=1 > C:a")) == ["C 7: a=1 b=1"]
    back = world("C a=1", "C b=1", "E a=1", "E b=3", "L l=1 > R:r", "R r=1 > C:a")
    assert peer.settles(back) == ["E 8: a=1 b=3"]


def test_clusters_of_a_returning_client_stay_until_the_routes_it_named_are_looked_at() -> None:
    sharing = Sharing()
    before = envoy_on(OLD, "a", sharing)
    gone = world("L l=1 > R:r", "R r=2")
    again = Peer(sharing=sharing)
    again.asks("C", version=before.versions["C"])
    assert again.sees(gone) == ["C 1: a=1"]
    again.asks("R", "r", version=before.versions["R"])
    again.acks("C")  # heard together with what came before it, while the last response was still being written
    assert again.sees(gone) == ["R 2: r=2"]
    again.acks("R")
    assert again.sees(gone) == ["C 3:"]
