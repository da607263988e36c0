"""The SotW rules, one by one, as conversations. Section names are those of Envoy's `xds_protocol` page."""

from __future__ import annotations

import pytest

from tests.protocol.talk import TYPES, Peer, envoy_on, node, world
from xds_server.protocol.conversation import Limits
from xds_server.protocol.events import Acked, Code, Identified, Nacked, ProtocolError, StaleNonce, Subscribed, Version
from xds_server.protocol.sharing import Sharing
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.wire import Request

TWO = world("C a=1", "C b=1", "E a=1", "E b=1")


class TestBasics:
    """Basic Protocol Overview; ACK/NACK and resource type instance version."""

    def test_the_first_request_introduces_the_client_and_is_answered(self) -> None:
        peer = Peer()
        assert peer.asks("C") == [node(), Subscribed(TYPES["C"], frozenset(), wildcard=True)]
        assert peer.sees(TWO) == ["C 1: a=1 b=1"]

    def test_an_ack_is_answered_with_silence(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.sees(TWO)
        assert peer.acks("C") == [Acked(TYPES["C"], TWO.versions[TYPES["C"]], "1")]
        assert peer.sees(TWO) == []
        assert peer.synced("C") == TWO.versions[TYPES["C"]]

    def test_without_a_node_there_is_no_conversation(self) -> None:
        with pytest.raises(ProtocolError) as caught:
            SotwStream(Sharing()).receive(Request(TYPES["C"]))
        assert caught.value.code is Code.INVALID_ARGUMENT

    def test_a_request_needs_a_type(self) -> None:
        with pytest.raises(ProtocolError, match="type_url"):
            SotwStream(Sharing()).receive(Request("", node=node()))

    def test_types_and_names_are_limited(self) -> None:
        peer = Peer(limits=Limits(types=1, names=2))
        peer.asks("E", "a", "b")
        with pytest.raises(ProtocolError, match="more than 1 resource types"):
            peer.asks("C")
        with pytest.raises(ProtocolError, match="3 resource names, more than 2"):
            peer.asks("E", "a", "b", "c")

    def test_only_one_response_of_a_type_is_unanswered_and_versions_are_skipped(self) -> None:
        peer = Peer()
        peer.asks("C")
        assert peer.sees(world("C a=1")) == ["C 1: a=1"]
        assert peer.sees(world("C a=2")) == []
        assert peer.sees(world("C a=3")) == []
        peer.acks("C")
        assert peer.sees(world("C a=3")) == ["C 2: a=3"]

    def test_a_version_that_comes_back_gets_a_new_nonce_so_the_old_ack_does_not_count(self) -> None:
        peer = Peer()
        peer.asks("C")
        first, second = world("C a=1"), world("C a=2")
        for nonce, snapshot in enumerate((first, second, first), start=1):
            assert peer.sees(snapshot) == [f"C {nonce}: {'a=2' if snapshot is second else 'a=1'}"]
            if nonce < 3:
                peer.acks("C")
        assert peer.asks("C", nonce="1") == [StaleNonce(TYPES["C"], "1")]
        assert peer.sees(second) == []


class TestNames:
    """How the client specifies what resources to return; Unsubscribing From Resources."""

    def test_empty_names_mean_all_until_a_name_was_given_and_nothing_after(self) -> None:
        peer = Peer(agent="grpc")
        peer.asks("C")
        assert peer.settles(TWO) == ["C 1: a=1 b=1"]
        peer.asks("C", "*", "a")
        assert peer.settles(TWO) == ["C 2: a=1 b=1"]  # a was named: it is answered, and the full state with it
        peer.asks("C", "a")
        assert peer.settles(TWO) == []
        peer.asks("C")
        assert peer.settles(world("C a=2", "C b=2")) == []

    def test_a_star_means_all_for_any_type(self) -> None:
        peer = Peer()
        peer.asks("E", "*")
        assert peer.sees(TWO) == ["E 1: a=1 b=1"]

    def test_an_empty_list_of_assignments_means_none(self) -> None:
        peer = Peer()
        peer.asks("E")
        assert peer.sees(TWO) == []

    def test_only_what_was_asked_for_comes(self) -> None:
        peer = Peer()
        peer.asks("E", "b")
        assert peer.settles(TWO) == ["E 1: b=1"]
        assert peer.settles(world("E a=2", "E b=1")) == []

    def test_a_name_that_does_not_exist_yet_is_answered_when_it_appears(self) -> None:
        peer = Peer()
        peer.asks("E", "a", "new")
        assert peer.settles(TWO) == ["E 1: a=1"]
        assert peer.settles(world("E a=1", "E b=1", "E new=7")) == ["E 2: new=7"]

    def test_a_name_that_is_added_is_answered_alone(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.settles(TWO)
        peer.asks("E", "a", "b")
        assert peer.settles(TWO) == ["E 2: b=1"]

    def test_a_name_that_is_asked_for_again_is_answered_again(self) -> None:
        peer = Peer()
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        peer.asks("E", "a")
        assert peer.settles(TWO) == []
        peer.asks("E", "a", "b")
        assert peer.settles(TWO) == ["E 2: b=1"]

    def test_names_may_change_with_an_ack(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.sees(TWO)
        peer.acks("E", "a", "b")
        assert peer.sees(TWO) == ["E 2: b=1"]

    def test_a_listener_that_does_not_exist_is_told_by_an_answer_without_it(self) -> None:
        peer = Peer(agent="grpc")
        peer.asks("L", "shop")
        assert peer.sees(TWO) == ["L 1:"]


class TestNonces:
    """Resource updates."""

    def test_a_request_that_crossed_a_response_is_ignored_with_its_names(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        assert peer.sees(TWO) == ["E 1: a=1"]
        assert peer.asks("E", "a", "b", nonce="") == [StaleNonce(TYPES["E"], "")]
        assert peer.sees(TWO) == []
        peer.acks("E", "a", "b")
        assert peer.sees(TWO) == ["E 2: b=1"]

    def test_a_name_dropped_and_taken_up_again_behind_a_response_is_answered(self) -> None:
        peer = Peer(agent="grpc")
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        changed = world("E a=2", "E b=1")
        assert peer.sees(changed) == ["E 2: a=2"]
        peer.asks("E", "a", nonce="1")  # before it has seen the response
        peer.asks("E", "a", "b", nonce="1")
        peer.acks("E")
        assert peer.sees(changed) == ["E 3: b=1"]

    def test_what_was_under_way_when_it_was_dropped_and_taken_up_again_came(self) -> None:
        peer = Peer(agent="grpc")
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        changed = world("E a=1", "E b=2")
        assert peer.sees(changed) == ["E 2: b=2"]
        peer.asks("E", "a", nonce="1")
        peer.asks("E", "a", "b", nonce="1")
        peer.acks("E")
        assert peer.sees(changed) == []

    def test_a_change_of_names_before_any_response_counts(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.asks("E", "a", "b")
        assert peer.sees(TWO) == ["E 1: a=1 b=1"]

    def test_a_request_without_nonce_counts_once_everything_is_answered(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.settles(TWO)
        peer.asks("E", "a", "b", nonce="")
        assert peer.sees(TWO) == ["E 2: b=1"]

    def test_an_error_with_a_stale_nonce_rejects_nothing(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.settles(world("C a=1"))
        assert peer.sees(world("C a=2")) == ["C 2: a=2"]
        stale = Request(TYPES["C"], nonce="1", error="late")
        assert peer.stream.receive(stale) == (StaleNonce(TYPES["C"], "1"),)
        peer.acks("C")
        assert peer.sees(world("C a=2")) == []


class TestFullStateAndParts:
    """Grouping Resources into Responses; Deleting Resources."""

    def test_clusters_come_whole_and_absence_removes(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.settles(TWO)
        assert peer.settles(world("C a=1", "C b=2")) == ["C 2: a=1 b=2"]
        assert peer.settles(world("C b=2")) == ["C 3: b=2"]

    def test_an_empty_set_is_answered_and_removes_all(self) -> None:
        peer = Peer()
        peer.asks("L")
        assert peer.settles(world()) == ["L 1:"]
        assert peer.settles(world("L l=1")) == ["L 2: l=1"]
        assert peer.settles(world()) == ["L 3:"]

    def test_assignments_come_in_parts_and_absence_says_nothing(self) -> None:
        peer = Peer()
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        assert peer.settles(world("E a=2", "E b=1")) == ["E 2: a=2"]
        assert peer.settles(world("E b=1")) == []
        assert peer.settles(world("E a=2", "E b=1")) == []
        assert peer.settles(world("E a=3", "E b=1")) == ["E 3: a=3"]


class TestWarming:
    """Resource warming: a changed cluster waits for an assignment that arrives after it."""

    def test_assignments_of_a_changed_cluster_are_answered_again(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        changed = world("C a=1", "C b=2", "E a=1", "E b=1")
        assert peer.settles(changed) == ["C 3: a=1 b=2", "E 4: b=1"]

    def test_a_new_client_gets_each_assignment_once(self) -> None:
        peer = Peer()
        peer.asks("C")
        assert peer.sees(TWO) == ["C 1: a=1 b=1"]
        peer.asks("E", "a", "b")  # Envoy asks before it acknowledges the clusters
        assert peer.sees(TWO) == ["E 2: a=1 b=1"]
        peer.acks("C")
        peer.acks("E")
        assert peer.sees(TWO) == []

    def test_a_cluster_that_is_removed_and_comes_back_gets_its_assignment(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        peer.settles(world("C a=1", "E a=1"))
        assert peer.settles(TWO) == ["C 4: a=1 b=1", "E 5: b=1"]

    def test_endpoints_of_a_changed_cluster_wait_for_it_and_others_do_not(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        slow = world("C a=2", "C b=1", "E a=1", "E b=1")
        assert peer.sees(slow) == ["C 3: a=2 b=1", "E 4: a=1"]
        peer.acks("E")
        newest = world("C a=2", "C b=2", "E a=2", "E b=2")
        assert peer.sees(newest) == ["E 5: a=2"]
        peer.acks("E")
        peer.acks("C")
        assert peer.sees(newest) == ["C 6: a=2 b=2", "E 7: b=2"]


OLD = world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a")


class TestOrder:
    """Eventual consistency considerations: make before break."""

    def test_a_new_client_is_brought_up(self) -> None:
        assert envoy_on(OLD, "a").settles(OLD) == []

    def test_a_route_waits_for_its_cluster_and_for_that_clusters_endpoints(self) -> None:
        peer = envoy_on(OLD, "a")
        new = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:a C:b")
        assert peer.sees(new) == ["C 5: a=1 b=1"]
        assert peer.waiting("R") == {"r"}
        peer.asks("E", "a", "b")
        assert peer.sees(new) == ["E 6: b=1"]
        peer.acks("C")
        assert peer.sees(new) == []
        peer.acks("E")
        assert peer.sees(new) == ["R 7: r=2"]
        peer.acks("R")
        assert peer.sees(new) == []
        assert peer.synced("R") == new.versions[TYPES["R"]]

    def test_weights_do_not_wait_for_anything_if_their_clusters_are_there(self) -> None:
        peer = envoy_on(OLD, "a")
        new = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:a")
        assert peer.sees(new) == ["C 5: a=1 b=1", "R 6: r=2"]

    def test_weights_do_not_wait_for_a_rejected_cluster(self) -> None:
        peer = envoy_on(OLD, "a")
        peer.sees(world("C a=2", "E a=1", "L l=1 > R:r", "R r=1 > C:a"))
        peer.acks("E")
        peer.nacks("C")
        new = world("C a=2", "E a=2", "L l=1 > R:r", "R r=2 > C:a")
        assert peer.sees(new) == ["E 7: a=2", "R 8: r=2"]

    def test_clusters_leave_after_the_routes_that_name_them(self) -> None:
        both = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=1 > C:a C:b")
        peer = envoy_on(both, "a b")
        only = world("C a=2", "E a=1", "L l=1 > R:r", "R r=2 > C:a")
        assert peer.sees(only) == ["C 5: a=2 b=1", "E 6: a=1", "R 7: r=2"]
        assert peer.waiting("C") == {"b"}
        peer.acks("C")
        assert peer.sees(only) == []
        peer.acks("R")
        assert peer.sees(only) == ["C 8: a=2"]

    def test_a_service_is_replaced_without_a_gap(self) -> None:
        peer = envoy_on(OLD, "a")
        new = world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        assert peer.sees(new) == ["C 5: a=1 b=1"]
        peer.asks("E", "a", "b")
        assert peer.sees(new) == ["E 6: b=1"]
        peer.acks("C")
        peer.acks("E")
        assert peer.sees(new) == ["R 7: r=2"]
        peer.acks("R")
        assert peer.sees(new) == ["C 8: b=1"]

    def test_a_rejected_route_keeps_its_clusters(self) -> None:
        peer = envoy_on(OLD, "a")
        new = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        peer.asks("E", "a", "b")
        for came in peer.sees(new):
            peer.acks(came[0])
        for came in peer.sees(new):
            assert came[0] in "ER"
            peer.acks("E") if came[0] == "E" else peer.nacks("R")
        while came_again := peer.sees(new):
            for came in came_again:
                peer.nacks("R") if came[0] == "R" else peer.acks(came[0])
        assert peer.sees(world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")) == []
        assert peer.waiting("C") == {"a"}

    def test_a_listener_with_inline_routes_waits_for_its_clusters(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.asks("L")
        inline = world("C a=1", "L l=1 > C:a")
        assert peer.sees(inline) == ["C 1: a=1", "L 2:"]
        peer.acks("C")
        peer.acks("L")
        assert peer.sees(inline) == ["L 3: l=1"]

    def test_a_client_that_asks_for_clusters_by_name_gets_its_routes_first(self) -> None:
        peer = Peer(agent="grpc")
        peer.asks("L", "l")
        assert peer.settles(OLD) == ["L 1: l=1"]
        peer.asks("R", "r")
        assert peer.settles(OLD) == ["R 2: r=1"]
        peer.asks("C", "a")
        assert peer.settles(OLD) == ["C 3: a=1"]
        peer.asks("E", "a")
        assert peer.settles(OLD) == ["E 4: a=1"]
        assert peer.sees(world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")) == ["C 5:", "R 6: r=2"]


class TestRejection:
    """ACK/NACK: a NACK is an event, and what was rejected is not sent again."""

    def test_a_nack_says_what_was_new_and_in_whose_words(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.settles(world("C a=1", "C b=1"))
        bad = world("C a=1", "C b=2")
        peer.sees(bad)
        assert peer.nacks("C", "no such filter") == [
            Nacked(TYPES["C"], bad.versions[TYPES["C"]], "2", "no such filter", (Version("b", "2"),))
        ]

    def test_a_rejected_resource_is_not_sent_again_but_new_content_is(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.sees(world("E a=1"))
        peer.nacks("E")
        assert peer.sees(world("E a=1")) == []
        assert peer.waiting("E") == {"a"}
        assert peer.sees(world("E a=2")) == ["E 2: a=2"]
        peer.acks("E")
        assert peer.sees(world("E a=1")) == []

    def test_a_version_alone_does_not_make_a_nack(self) -> None:
        peer = Peer()
        peer.asks("E", "a")
        peer.sees(TWO)
        (event,) = peer.stream.receive(Request(TYPES["E"], frozenset({"a"}), version="older", nonce="1"))
        assert isinstance(event, Acked)

    def test_the_good_part_flows_and_the_bad_one_is_found(self) -> None:
        peer = Peer()
        names = [f"e{n}" for n in range(8)]
        peer.asks("E", *names)
        snapshot = world(*(f"E {name}=1" for name in names))
        tries, came = 0, peer.sees(snapshot)
        while came:
            tries += 1
            peer.nacks("E") if "e5=1" in came[0] else peer.acks("E")
            came = peer.sees(snapshot)
        assert peer.waiting("E") == {"e5"}
        assert peer.stream.status()[0].resources == 7
        assert tries <= 8

    def test_a_bad_cluster_stays_at_its_last_good_content(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.settles(world("C a=1", "C b=1"))
        peer.sees(world("C a=1", "C b=2"))
        peer.nacks("C")
        assert peer.settles(world("C a=2", "C b=2")) == ["C 3: a=2 b=1"]

    def test_a_removal_that_is_rejected_is_not_repeated(self) -> None:
        peer = Peer()
        peer.asks("L")
        peer.settles(world("L a=1", "L b=1"))
        assert peer.sees(world("L a=1")) == ["L 2: a=1"]
        peer.nacks("L")
        assert peer.sees(world("L a=1")) == []


class TestReconnect:
    """ACK/NACK and resource type instance version: a version belongs to the resources, not to the stream."""

    def test_a_client_that_has_everything_is_sent_nothing(self) -> None:
        before = envoy_on(OLD, "a")
        again = Peer()  # of another server process: nothing is remembered
        again.asks("C", version=before.versions["C"])
        again.asks("E", "a", version=before.versions["E"])
        again.asks("L", version=before.versions["L"])
        again.asks("R", "r", version=before.versions["R"])
        assert again.sees(OLD) == []
        assert again.synced("R") == OLD.versions[TYPES["R"]]

    def test_only_the_difference_comes_to_a_client_that_is_remembered(self) -> None:
        sharing = Sharing()
        before = envoy_on(OLD, "a", sharing)
        new = world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        again = Peer(sharing=sharing)
        again.asks("C", version=before.versions["C"])
        again.asks("E", "a", version=before.versions["E"])
        again.asks("L", version=before.versions["L"])
        again.asks("R", "r", version=before.versions["R"])
        assert again.sees(new) == ["C 1: a=1 b=1"]  # with its old cluster, until its route has moved
        again.asks("E", "a", "b")
        again.acks("C")
        assert again.settles(new) == ["E 2: b=1", "R 3: r=2", "C 4: b=1"]

    def test_clusters_that_are_gone_leave_only_when_the_routes_are_known(self) -> None:
        sharing = Sharing()
        before = envoy_on(OLD, "a", sharing)
        again = Peer(sharing=sharing)
        again.asks("C", version=before.versions["C"])
        assert again.sees(world("L l=1 > R:r", "R r=2")) == ["C 1: a=1"]  # the first request of four
        again.asks("R", "r", version=before.versions["R"])
        gone = world("L l=1 > R:r", "R r=2")
        assert again.sees(gone) == ["R 2: r=2"]
        again.acks("C")
        assert again.sees(gone) == []
        again.acks("R")
        assert again.sees(gone) == ["C 3:"]

    def test_an_unknown_version_gets_everything(self) -> None:
        peer = Peer()
        peer.asks("C", version="from elsewhere")
        peer.asks("E", "a", version="from elsewhere")
        assert peer.sees(OLD) == ["C 1: a=1", "E 2: a=1"]

    def test_a_name_the_version_does_not_cover_is_sent(self) -> None:
        before = Peer()
        before.asks("E", "a")
        before.settles(TWO)
        again = Peer()
        again.asks("E", "a", "b", version=before.versions["E"])
        assert again.sees(TWO) == ["E 1: a=1 b=1"]

    def test_an_assignment_that_was_owed_when_the_stream_broke_is_sent(self) -> None:
        before = Peer()
        before.asks("C")
        before.asks("E", "a")
        before.settles(world("C a=1", "E a=1"))
        changed = world("C a=2", "E a=1")
        assert before.sees(changed) == ["C 3: a=2", "E 4: a=1"]
        before.acks("C")
        again = Peer()
        again.asks("C", version=before.versions["C"])
        again.asks("E", "a", version=before.versions["E"])
        assert again.sees(changed) == ["E 1: a=1"]

    def test_a_version_by_name_is_not_believed_of_a_client_that_may_have_dropped_it(self) -> None:
        before = Peer(agent="grpc")
        before.asks("E", "a")
        before.settles(TWO)
        again = Peer(agent="grpc")
        again.asks("E", "a", version=before.versions["E"])
        assert again.sees(TWO) == ["E 1: a=1"]


class TestGivenVersions:
    """A caller's version goes on the wire unchanged."""

    def test_the_version_is_the_callers(self) -> None:
        peer = Peer()
        peer.asks("C")
        peer.asks("E", "a")
        given = world("C a=1", "C b=1", "E a=1", "E b=1", C="v7", E="v8")
        peer.settles(given)
        assert peer.versions == {"C": "v7", "E": "v8"}
        again = Peer()
        again.asks("C", version="v7")
        again.asks("E", "a", version="v8")
        assert again.sees(given) == ["E 1: a=1"]


def test_the_conversation_keeps_who_and_not_the_whole_node() -> None:
    assert set(Identified.__slots__) == {"node_id", "cluster", "region", "zone", "agent", "version", "identities"}
