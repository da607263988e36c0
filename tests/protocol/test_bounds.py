"""What a client says of itself and asks for is bounded before anything is kept of it."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from tests.protocol.talk import TYPES, node, world
from xds_server.protocol.conversation import Limits
from xds_server.protocol.delta import DeltaStream
from xds_server.protocol.delta_wire import DeltaRequest, decode_delta_request
from xds_server.protocol.events import MOST_ERROR, MOST_NAME, MOST_TEXT, Code, ProtocolError, Version
from xds_server.protocol.holding import STAND_IN_BYTES, Shelf
from xds_server.protocol.plan import Around
from xds_server.protocol.refusals import blamed
from xds_server.protocol.sharing import KEPT_BYTES, Sharing
from xds_server.protocol.sotw import SotwStream
from xds_server.protocol.wire import Request, decode_request, identify

LONG = "x" * (MOST_TEXT + 1)
NODES = (
    base_pb2.Node(id=LONG),
    base_pb2.Node(cluster=LONG),
    base_pb2.Node(locality=base_pb2.Locality(region=LONG)),
    base_pb2.Node(locality=base_pb2.Locality(zone=LONG)),
    base_pb2.Node(user_agent_name=LONG),
    base_pb2.Node(user_agent_version=LONG),
)


@pytest.mark.parametrize("said", NODES)
def test_a_node_that_says_too_much_is_refused(said: base_pb2.Node) -> None:
    with pytest.raises(ProtocolError, match=rf"^node\.[a-z_.]+ has {len(LONG)} characters, more than") as caught:
        identify(said)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert identify(base_pb2.Node(id="x" * MOST_TEXT)).node_id == "x" * MOST_TEXT


@pytest.mark.parametrize("field", ["type_url", "version_info", "response_nonce"])
def test_a_request_that_says_too_much_is_refused(field: str) -> None:
    fields: dict[str, Any] = {field: LONG}
    with pytest.raises(ProtocolError, match=field):
        decode_request(discovery_pb2.DiscoveryRequest(**fields).SerializeToString(), with_node=False)
    if field != "version_info":
        with pytest.raises(ProtocolError, match=field):
            decode_delta_request(discovery_pb2.DeltaDiscoveryRequest(**fields).SerializeToString(), with_node=False)


def test_the_words_of_a_rejection_are_cut_and_then_blame_everything() -> None:
    request = discovery_pb2.DiscoveryRequest()
    request.error_detail.message = "a: " + "é" * 4_000
    error = decode_request(request.SerializeToString(), with_node=False).error
    assert error == "a: " + "é" * (MOST_ERROR - 3) + "…"
    several = (Version("a", "1"), Version("b", "1"))
    assert blamed(error, several) == set(several)
    assert blamed("a: bad", several) == {several[0]}


def test_names_are_counted_over_all_types() -> None:
    stream = SotwStream(Sharing(), Limits(names=3))
    stream.receive(Request(TYPES["E"], frozenset("ab"), node=node()))
    stream.receive(Request(TYPES["R"], frozenset("a")))
    stream.receive(Request(TYPES["E"], frozenset("bc")))
    with pytest.raises(ProtocolError, match="4 resource names, more than 3"):
        stream.receive(Request(TYPES["R"], frozenset("ab")))


def test_letting_go_of_what_was_never_asked_for_makes_no_room() -> None:
    stream = DeltaStream(Sharing(), Limits(names=3))
    stream.receive(DeltaRequest(TYPES["E"], frozenset("abc"), node=node()))
    stream.receive(DeltaRequest(TYPES["E"], frozenset("abd"), frozenset("c")))
    with pytest.raises(ProtocolError, match="4 resource names, more than 3"):
        stream.receive(DeltaRequest(TYPES["E"], frozenset("e"), frozenset("xyz")))


def test_a_name_has_a_length() -> None:
    long = frozenset({"x" * (MOST_NAME + 1)})
    with pytest.raises(ProtocolError, match="resource name"):
        SotwStream(Sharing()).receive(Request(TYPES["E"], long, node=node()))
    with pytest.raises(ProtocolError, match="resource name"):
        DeltaStream(Sharing()).receive(DeltaRequest(TYPES["E"], long, node=node()))
    claim = discovery_pb2.DeltaDiscoveryRequest(initial_resource_versions={"a": "x" * (MOST_NAME + 1)})
    with pytest.raises(ProtocolError, match="initial_resource_versions"):
        decode_delta_request(claim.SerializeToString(), with_node=False)


def test_equal_names_are_one_set_as_long_as_somebody_asks_for_them() -> None:
    sharing = Sharing()
    first = sharing.names(frozenset({"a", "b"}))
    assert sharing.names(frozenset({"b", "a"})) is first
    assert sharing.names(frozenset({"a"})) is not first


def test_names_that_do_not_exist_do_not_stay_when_who_asked_for_them_has_left() -> None:
    sharing, snapshot = Sharing(), world("C a=1", "E a=1")
    tracemalloc.start()
    try:
        for number in range(60):
            stream = SotwStream(sharing)
            names = frozenset(f"{number}-{index}".ljust(75, "x") for index in range(4_000))
            stream.receive(Request(TYPES["E"], names, node=node()))
            stream.offer(snapshot)
            stream.end()
        del stream, names
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1.25 * KEPT_BYTES


def test_what_stands_for_a_claim_weighs_something() -> None:
    claim = frozenset((str(number), "1") for number in range(100))
    around = Around(Shelf(TYPES["E"]))
    assert Sharing().recalled(around, claim, doubted=False).size == 100 * STAND_IN_BYTES
