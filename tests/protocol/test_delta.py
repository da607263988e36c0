"""The delta rules, one by one, as conversations. Section names are those of Envoy's `xds_protocol` page."""

from __future__ import annotations

import pytest

from tests.protocol.delta_talk import DeltaPeer, delta_envoy_on
from tests.protocol.talk import TYPES, Peer, node, world
from xds_server.protocol.conversation import Limits
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.delta_wire import DeltaRequest
from xds_server.protocol.events import Acked, Code, Nacked, ProtocolError, StaleNonce, Subscribed, Version
from xds_server.protocol.sharing import Sharing
from xds_server.snapshot.resource import Snapshot

TWO = world("C a=1", "C b=1", "E a=1", "E b=1")


class TestBasics:
    """Incremental xDS."""

    def test_the_first_request_introduces_the_client_and_is_answered(self) -> None:
        peer = DeltaPeer()
        assert peer.asks("C") == [node(), Subscribed(TYPES["C"], frozenset(), wildcard=True)]
        assert peer.sees(TWO) == ["C 1: a=1 b=1"]

    def test_an_ack_is_answered_with_silence_and_says_the_version_of_the_whole(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.sees(TWO)
        assert peer.acks("C") == [Acked(TYPES["C"], TWO.versions[TYPES["C"]], "1")]
        assert peer.sees(TWO) == []
        assert peer.synced("C") == TWO.versions[TYPES["C"]]

    def test_without_a_node_or_a_type_there_is_no_conversation(self) -> None:
        with pytest.raises(ProtocolError) as caught:
            DeltaStream(Sharing()).receive(DeltaRequest(TYPES["C"]))
        assert caught.value.code is Code.INVALID_ARGUMENT
        with pytest.raises(ProtocolError, match="type_url"):
            DeltaStream(Sharing()).receive(DeltaRequest("", node=node()))

    def test_names_are_limited_however_slowly_they_come(self) -> None:
        peer = DeltaPeer(limits=Limits(names=2))
        peer.asks("E", "a", "b")
        peer.asks("E", "c", drops="a")
        with pytest.raises(ProtocolError, match="3 resource names, more than 2"):
            peer.asks("E", "d")

    def test_only_what_changed_comes_for_clusters_too_and_versions_are_skipped(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        assert peer.sees(TWO) == ["C 1: a=1 b=1"]
        assert peer.sees(world("C a=1", "C b=2")) == []
        peer.acks("C")
        assert peer.sees(world("C a=1", "C b=3")) == ["C 2: b=3"]

    def test_what_is_gone_is_named(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.settles(TWO)
        assert peer.settles(world("C b=1", "C c=1")) == ["C 2: c=1 -a"]
        assert peer.settles(world()) == ["C 3: -b -c"]

    def test_a_start_with_nothing_is_answered(self) -> None:
        peer = DeltaPeer()
        peer.asks("L")
        assert peer.settles(world()) == ["L 1:"]
        assert peer.settles(world("L l=1")) == ["L 2: l=1"]


class TestNames:
    """How the client specifies what resources to return; Subscribing to, Unsubscribing from Resources."""

    def test_the_four_steps_of_the_legacy_wildcard(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        assert peer.settles(TWO) == ["C 1: a=1 b=1"]
        peer.asks("C", "a")  # continues `*`, and is answered
        assert peer.settles(TWO) == ["C 2: a=1"]
        peer.asks("C", drops="*")  # a stays
        assert peer.settles(world("C a=2", "C b=2")) == ["C 3: a=2"]
        peer.asks("C", drops="a")  # nothing is left, and it does not mean `*` again
        peer.asks("C")
        assert peer.settles(world("C a=3", "C b=3")) == []

    def test_a_star_means_all_for_any_type(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "*")
        assert peer.sees(TWO) == ["E 1: a=1 b=1"]

    def test_an_empty_first_request_for_assignments_means_none(self) -> None:
        peer = DeltaPeer()
        peer.asks("E")
        assert peer.sees(TWO) == []
        peer.asks("E", "b")
        assert peer.sees(TWO) == ["E 1: b=1"]

    def test_a_name_that_does_not_exist_is_told_once_and_sent_when_it_appears(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a", "new")
        assert peer.settles(TWO) == ["E 1: a=1 -new"]
        assert peer.settles(world("E a=1", "E b=1", "E c=1")) == []
        assert peer.settles(world("E a=1", "E new=7")) == ["E 2: new=7"]
        assert peer.settles(world("E a=1")) == ["E 3: -new"]

    def test_a_name_asked_for_again_is_answered_although_unchanged(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        peer.asks("E", "b")
        assert peer.settles(TWO) == ["E 2: b=1"]
        peer.asks("E", drops="b")
        assert peer.settles(TWO) == []
        peer.asks("E", "b")
        assert peer.settles(TWO) == ["E 3: b=1"]

    def test_a_name_dropped_while_it_is_under_way_is_not_held(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a", "b")
        peer.sees(TWO)
        peer.asks("E", drops="b")
        peer.acks("E")
        assert peer.settles(world("E a=1", "E b=2")) == []
        peer.asks("E", "b")
        assert peer.settles(TWO) == ["E 2: b=1"]

    def test_dropping_what_was_never_asked_for_is_fine(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a")
        peer.settles(TWO)
        assert peer.asks("E", drops="nothing") == []
        assert peer.settles(TWO) == []

    def test_a_name_dropped_beside_a_star_is_answered_with_what_the_star_gives(self) -> None:
        peer = DeltaPeer()
        peer.asks("C", "*", "a", "no")
        assert peer.settles(TWO) == ["C 1: a=1 b=1 -no"]
        peer.asks("C", drops="a no")
        assert peer.settles(TWO) == ["C 2: a=1 -no"]

    def test_a_star_dropped_and_taken_up_brings_back_the_rest(self) -> None:
        peer = DeltaPeer()
        peer.asks("C", "*", "a")
        peer.settles(TWO)
        peer.asks("C", drops="*")
        assert peer.settles(TWO) == []
        peer.asks("C", "*")
        assert peer.settles(TWO) == ["C 2: b=1"]


class TestNonces:
    def test_a_stale_nonce_answers_nothing_but_its_names_count(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a")
        peer.settles(TWO)
        assert peer.sees(world("E a=2", "E b=1")) == ["E 2: a=2"]
        assert peer.asks("E", "b", nonce="1")[0] == StaleNonce(TYPES["E"], "1")
        assert peer.sees(TWO) == []
        peer.acks("E")
        assert peer.sees(world("E a=2", "E b=1")) == ["E 3: b=1"]

    def test_stale_nonces_for_ever_end_the_stream(self) -> None:
        peer = DeltaPeer(limits=Limits(stale=3))
        for _ in range(3):
            peer.asks("E", "a", nonce="old")
        with pytest.raises(ProtocolError, match="more than 3 requests in a row with a stale nonce") as caught:
            peer.asks("E", "a", nonce="old")
        assert caught.value.code is Code.RESOURCE_EXHAUSTED

    def test_names_without_a_nonce_answer_nothing(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a")
        peer.sees(TWO)
        assert peer.asks("E", "b") == [Subscribed(TYPES["E"], frozenset("ab"), wildcard=False)]
        assert peer.sees(TWO) == []
        peer.acks("E")
        assert peer.sees(TWO) == ["E 2: b=1"]


class TestWarming:
    """Resource warming."""

    def test_assignments_of_a_changed_cluster_come_again(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.asks("E", "a", "b")
        peer.settles(TWO)
        assert peer.settles(world("C a=1", "C b=2", "E a=1", "E b=1")) == ["C 3: b=2", "E 4: b=1"]

    def test_an_envoy_that_was_warming_when_the_server_died_gets_its_assignment(self) -> None:
        before = DeltaPeer()
        before.asks("C")
        before.asks("E", "a")
        before.settles(world("C a=1", "E a=1"))
        changed = world("C a=2", "E a=1")
        assert before.sees(changed) == ["C 3: a=2", "E 4: a=1"]
        before.acks("C")  # and not its assignment
        assert before.comes_back().sees(changed) == ["E 1: a=1"]

    def test_an_assignment_is_not_removed_under_a_cluster_that_stays(self) -> None:
        both = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=1 > C:a C:b")
        peer = delta_envoy_on(both, "a b")
        only = world("C a=1", "E a=1", "L l=1 > R:r", "R r=2 > C:a")
        assert peer.sees(only) == ["R 5: r=2"]
        assert (peer.waiting("C"), peer.waiting("E")) == ({"b"}, {"b"})
        peer.acks("R")
        assert peer.sees(only) == ["C 6: -b"]
        peer.asks("E", drops="b")
        peer.acks("C")
        assert peer.sees(only) == []


OLD = world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a")


class TestOrder:
    """Eventual consistency considerations: make before break."""

    def test_a_service_is_replaced_without_a_gap(self) -> None:
        peer = delta_envoy_on(OLD, "a")
        new = world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        assert peer.sees(new) == ["C 5: b=1"]
        peer.asks("E", "b")
        assert peer.sees(new) == ["E 6: b=1"]
        peer.acks("C")
        assert peer.sees(new) == []
        peer.acks("E")
        assert peer.sees(new) == ["R 7: r=2"]
        peer.acks("R")
        assert peer.sees(new) == ["C 8: -a"]

    def test_weights_do_not_wait_for_what_they_do_not_need(self) -> None:
        peer = delta_envoy_on(OLD, "a")
        new = world("C a=1", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:a")
        assert peer.sees(new) == ["C 5: b=1", "R 6: r=2"]

    def test_a_route_stays_while_its_listener_does(self) -> None:
        peer = delta_envoy_on(OLD, "a")
        assert peer.sees(world("C a=1", "E a=1")) == ["L 5: -l"]
        peer.acks("L")
        assert peer.sees(world("C a=1", "E a=1")) == ["R 6: -r"]

    def test_a_stream_of_one_type_waits_for_nobody(self) -> None:
        peer = DeltaPeer()
        peer.asks("R", "r")
        assert peer.settles(OLD) == ["R 1: r=1"]
        assert peer.settles(world()) == ["R 2: -r"]


class TestRejection:
    """ACK/NACK: a NACK is an event, and what was rejected is not sent again."""

    def test_a_nack_says_what_was_new_and_new_content_is_tried(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.settles(TWO)
        bad = world("C a=1", "C b=2")
        peer.sees(bad)
        assert peer.nacks("C", "no such filter") == [
            Nacked(TYPES["C"], bad.versions[TYPES["C"]], "2", "no such filter", (Version("b", "2"),))
        ]
        assert peer.sees(bad) == []
        assert peer.waiting("C") == {"b"}
        assert peer.settles(TWO) == []  # it has these
        assert peer.settles(world("C a=1", "C b=3")) == ["C 3: b=3"]

    def test_the_good_part_flows_and_the_bad_one_is_found(self) -> None:
        peer = DeltaPeer()
        names = [f"e{n}" for n in range(8)]
        peer.asks("E", *names)
        snapshot = world(*(f"E {name}=1" for name in names))
        tries, came = 0, peer.sees(snapshot)
        while came:
            tries += 1
            peer.nacks("E") if "e5=1" in came[0] else peer.acks("E")
            came = peer.sees(snapshot)
        assert peer.waiting("E") == {"e5"}
        assert tries <= 8

    def test_after_a_rejection_in_part_the_rest_is_brought_to_a_known_state(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.settles(TWO)
        peer.sees(world("C a=9", "C b=2"))
        peer.nacks("C")  # b=2 is there now, perhaps
        assert peer.settles(TWO) == ["C 3: a=1 b=1"]

    def test_a_removal_beside_something_bad_is_repeated_until_it_is_accepted(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.settles(TWO)
        gone = world("C b=9")
        assert peer.sees(gone) == ["C 2: b=9 -a"]
        peer.nacks("C")
        assert peer.settles(gone) == ["C 3: -a"]
        assert peer.settles(world("C a=1", "C b=9")) == ["C 4: a=1"]

    def test_a_cluster_that_changed_to_and_fro_in_a_rejected_response_gets_its_assignment_again(self) -> None:
        peer = DeltaPeer()
        peer.asks("C")
        peer.asks("E", "c")
        peer.settles(world("C c=2", "E c=1"))
        assert peer.sees(world("C a=9", "C c=1", "E c=9")) == ["C 3: a=9 c=1", "E 4: c=9"]
        peer.nacks("C")  # c is another one now, perhaps
        peer.nacks("E")
        assert peer.settles(world("C c=2", "E c=1")) == ["C 5: c=2 -a", "E 6: c=1"]

    def test_a_removal_alone_that_is_rejected_is_not_repeated(self) -> None:
        peer = DeltaPeer()
        peer.asks("L")
        peer.settles(world("L a=1", "L b=1"))
        assert peer.sees(world("L a=1")) == ["L 2: -b"]
        peer.nacks("L")
        assert peer.sees(world("L a=1")) == []
        assert peer.settles(world("L a=1", "L b=1")) == ["L 3: b=1"]


class TestReconnect:
    """Incremental xDS: initial_resource_versions."""

    def test_a_client_that_has_everything_is_sent_nothing(self) -> None:
        again = delta_envoy_on(OLD, "a").comes_back()  # to another server process: nothing is remembered
        assert again.sees(OLD) == []
        assert again.synced("R") == OLD.versions[TYPES["R"]]

    def test_only_the_difference_comes_and_what_was_deleted_is_removed(self) -> None:
        before = DeltaPeer()
        before.asks("E", "a", "b", "c")
        before.settles(world("E a=1", "E b=1", "E c=1"))
        assert before.comes_back().sees(world("E a=1", "E b=2")) == ["E 1: b=2 -c"]

    def test_a_name_it_has_no_version_of_is_answered(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a", "b", has={"a": "1"})
        assert peer.sees(TWO) == ["E 1: b=1"]

    @pytest.mark.parametrize("sharing", [Sharing(), None], ids=["the same server", "another server"])
    def test_old_clusters_stay_until_the_routes_have_moved(self, sharing: Sharing | None) -> None:
        before = delta_envoy_on(OLD, "a", sharing)
        new = world("C b=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b")
        again = before.comes_back(sharing)
        assert again.sees(new) == ["C 1: b=1"]
        again.asks("E", "b")
        again.acks("C")
        gone = ["C 4: -a"] if sharing is not None else ["C 4: -a", "E 5: -a"]  # only the same server knows whose a was
        assert again.settles(new) == ["E 2: b=1", "R 3: r=2", *gone]

    def test_clusters_that_are_gone_leave_only_when_the_routes_are_known(self) -> None:
        before = delta_envoy_on(OLD, "a")
        again = DeltaPeer()
        again.asks("C", has=before.versions["C"])
        gone = world("L l=1 > R:r", "R r=2")
        assert again.sees(gone) == ["C 1:"]  # the first request of four: it says nothing, and will be answered
        again.asks("R", "r", has=before.versions["R"])
        assert again.sees(gone) == ["R 2: r=2"]
        again.acks("C")
        assert again.sees(gone) == []
        again.acks("R")
        assert again.sees(gone) == ["C 3: -a"]

    def test_a_name_it_dropped_and_took_up_again_before_it_was_answered_is_sent(self) -> None:
        peer = DeltaPeer()
        peer.asks("E", "a", "b", has={"a": "1", "b": "1"})
        peer.asks("E", drops="a")
        peer.asks("E", "a")
        assert peer.sees(TWO) == ["E 1: a=1"]

    def test_a_client_that_left_while_it_was_rejecting_is_sent_its_names_again(self) -> None:
        sharing = Sharing()
        before = DeltaPeer(sharing)
        before.asks("C")
        before.settles(TWO)
        before.sees(world("C a=9", "C b=2"))
        before.stream.end()
        assert before.comes_back(sharing).sees(world("C a=1")) == ["C 1: a=1"]
        assert before.comes_back(Sharing()).sees(TWO) == []

    def test_what_it_may_have_of_a_rejected_response_is_removed_too(self) -> None:
        sharing = Sharing()
        before = DeltaPeer(sharing)
        before.asks("L")
        before.settles(world("L a=1"))
        assert before.sees(world("L a=9", "L b=1")) == ["L 2: a=9 b=1"]
        before.stream.end()  # b is there now, perhaps, and not among the versions that it names
        assert before.comes_back(sharing).sees(world("L a=1")) == ["L 1: a=1 -b"]

    def test_a_removal_of_what_it_may_have_is_repeated_if_the_stream_broke_meanwhile(self) -> None:
        sharing = Sharing()
        before = DeltaPeer(sharing)
        before.asks("L")
        assert before.sees(world("L a=9", "L b=1")) == ["L 1: a=9 b=1"]
        before.nacks("L")  # b is there now
        assert before.sees(world()) == ["L 2: -a -b"]
        before.stream.end()
        assert before.comes_back(sharing).sees(world()) == ["L 1: -a -b"]

    def test_an_assignment_owed_to_a_changed_cluster_and_rejected_is_owed_after_a_reconnect(self) -> None:
        sharing = Sharing()
        before = DeltaPeer(sharing)
        before.asks("C")
        before.asks("E", "a")
        before.settles(world("C a=1", "E a=1"))
        before.settles(world("C a=2"))
        assert before.sees(world("C a=1", "E a=9")) == ["C 4: a=1", "E 5: a=9"]
        before.acks("C")
        before.nacks("E")
        before.stream.end()
        again = before.comes_back(sharing)
        assert again.sees(world("C a=1", "E a=1")) == ["E 1: a=1"]

    def test_what_a_stranger_says_it_has_is_never_taken_for_content(self) -> None:
        sharing = Sharing()
        stranger = DeltaPeer(sharing)
        stranger.asks("C", has={"a": "old"})
        stranger.sees(world("C b=1"))
        stranger.acks("C")
        sotw = Peer(sharing=sharing)
        sotw.asks("C", version="?")
        assert sotw.sees(world("C a=old", "C b=1")) == ["C 1: a=old b=1"]


class TestVirtualHosts:
    """Virtual Host Discovery Service; Resource names."""

    SHOP = world("V shop/www=1 @ shop/www.example.com shop/example.com", "V shop/any=1 @ shop/*.example.org")

    def test_all_come_to_a_client_that_names_none(self) -> None:
        peer = DeltaPeer()
        peer.asks("V")
        assert peer.settles(self.SHOP) == ["V 1: shop/any=1 shop/www=1"]
        assert peer.settles(world("V shop/any=1", "V shop/www=2")) == ["V 2: shop/www=2"]

    def test_a_host_is_found_by_its_domain_and_told_under_the_name_asked_for(self) -> None:
        peer = DeltaPeer()
        peer.asks("V", "shop/example.com")
        assert peer.settles(self.SHOP) == ["V 1: shop/www=1"]
        assert set(peer._last["V"].resources[0].aliases) == {"shop/example.com", "shop/www.example.com"}
        peer.asks("V", "shop/a.example.org")
        assert peer.settles(self.SHOP) == ["V 2: shop/any=1"]
        assert set(peer._last["V"].resources[0].aliases) == {"shop/*.example.org", "shop/a.example.org"}

    def test_a_second_domain_of_a_host_that_is_there_is_answered_too(self) -> None:
        peer = DeltaPeer()
        peer.asks("V", "shop/example.com")
        peer.settles(self.SHOP)
        peer.asks("V", "shop/www.example.com")
        assert peer.settles(self.SHOP) == ["V 2: shop/www=1"]

    def test_a_host_that_nobody_knows_is_answered_without_content_and_sent_when_it_appears(self) -> None:
        peer = DeltaPeer()
        peer.asks("V", "shop/new.example.com")
        assert peer.settles(self.SHOP) == ["V 1: ?shop/new.example.com"]
        assert peer.settles(world("V shop/new=1 @ shop/new.example.com")) == ["V 2: shop/new=1"]
        assert peer.settles(self.SHOP) == ["V 3: -shop/new"]


class TestVirtualHostsTogether:
    """The virtual hosts of one route configuration move as it would itself: all, once what they need is in place."""

    HOME = ("C a=1", "E a=1", "L l=1 > R:r", "R r=1")
    BEFORE = world(*HOME, "V r/old=1 > C:a", "V r/other=1 > C:a", "V q/x=1 > C:a")
    MOVED = ("V r/new=1 > C:b", "V r/other=2 > C:a")

    def on(self, before: Snapshot) -> DeltaPeer:
        peer = delta_envoy_on(before, "a")
        peer.asks("V")
        peer.settles(before)
        return peer

    def test_a_change_of_one_virtual_host_sends_it_alone(self) -> None:
        peer = self.on(self.BEFORE)
        assert peer.settles(world(*self.HOME, "V r/old=2 > C:a", "V r/other=1 > C:a", "V q/x=1 > C:a")) == [
            "V 6: r/old=2"
        ]

    def test_a_host_leaves_one_in_the_response_that_brings_the_other(self) -> None:
        peer = self.on(self.BEFORE)
        after = world(*self.HOME, "C b=1", "E b=1", *self.MOVED, "V q/x=2 > C:a")
        assert peer.sees(after) == ["C 6: b=1", "V 7: q/x=2"]  # another configuration's does not wait
        peer.acks("C")
        peer.asks("E", "b")
        peer.acks("V")
        assert peer.waiting("V") == {"r/new", "r/other", "r/old"}
        assert peer.settles(after) == ["E 8: b=1", "V 9: r/new=1 r/other=2 -r/old"]

    def test_what_was_rejected_holds_up_nobody(self) -> None:
        peer = self.on(self.BEFORE)
        bad = world(*self.HOME, "V r/old=2 > C:a", "V r/other=1 > C:a", "V q/x=1 > C:a")
        peer.sees(bad)
        peer.nacks("V")
        assert peer.settles(world(*self.HOME, "V r/old=2 > C:a", "V r/other=2 > C:a")) == ["V 7: r/other=2 -q/x"]


def test_the_plan_and_the_bytes_are_shared_by_clients_in_the_same_state() -> None:
    sharing = Sharing()
    peers = [delta_envoy_on(OLD, "a", sharing) for _ in range(3)]
    new = world("C a=1", "E a=2", "L l=1 > R:r", "R r=1 > C:a")
    bodies = [peer.stream.offer(new)[0].body for peer in peers]
    assert bodies[0] is bodies[1] is bodies[2]
