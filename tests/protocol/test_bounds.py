"""What a client says of itself and asks for is bounded before anything is kept of it."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from xds_server.protocol.delta_wire import decode_delta_request
from xds_server.protocol.events import MOST_ERROR, MOST_TEXT, Code, ProtocolError, Version
from xds_server.protocol.refusals import blamed
from xds_server.protocol.wire import decode_request, identify

LONG = "x" * (MOST_TEXT + 1)
NODES = (
    base_pb2.Node(id=LONG),
    base_pb2.Node(cluster=LONG),
    base_pb2.Node(locality=base_pb2.Locality(region=LONG)),
    base_pb2.Node(locality=base_pb2.Locality(zone=LONG)),
    base_pb2.Node(user_agent_name=LONG),
    base_pb2.Node(user_agent_version=LONG),
)


@pytest.mark.parametrize("node", NODES)
def test_a_node_that_says_too_much_is_refused(node: base_pb2.Node) -> None:
    with pytest.raises(ProtocolError, match=rf"^node\.[a-z_.]+ has {len(LONG)} characters, more than") as caught:
        identify(node)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert identify(base_pb2.Node(id="x" * MOST_TEXT)).node_id == "x" * MOST_TEXT


@pytest.mark.parametrize("field", ["type_url", "version_info", "response_nonce"])
def test_so_is_a_request(field: str) -> None:
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
