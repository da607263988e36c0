"""Sequences of requests as no client would send them: of both variants, out of order, mixed, cut and flipped."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import strategies as st

from tests.protocol.talk import TYPES, world
from xds_server.protocol.events import ProtocolError
from xds_server.protocol.sharing import Sharing
from xds_server.transport.services import METHODS, Method

SNAPSHOTS = (
    world("C a=1", "E a=1", "L l=1 > R:r", "R r=1 > C:a", "V s/v=1 @ s/example.com s/*.example.org"),
    world("C a=2", "C b=1", "E a=1", "E b=1", "L l=1 > R:r", "R r=2 > C:b", "V s/v=2 @ s/*"),
    world("C b=1", "E b=2", "L m=1 > R:r", "R r=2 > C:b", C="given"),
    world(),
)
METHOD = st.sampled_from(METHODS)

_NAMES = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "l", "r", "*", "s/v", "s/example.com", "s/x.example.org"]), st.text(max_size=8)
    ),
    max_size=4,
)
_TYPE = st.sampled_from(["", "nonsense", *TYPES.values()])
_NODE = st.sampled_from([None, base_pb2.Node(id="n", cluster="web", locality=base_pb2.Locality(region="us-east-1"))])
_NONCE = st.sampled_from(["", "", "1", "2", "3", "4", "x"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return one request, of either variant."""
    error = draw(st.sampled_from([None, None, {"message": "bad a"}, {"code": 3}]))
    common = {"node": draw(_NODE), "type_url": draw(_TYPE), "response_nonce": draw(_NONCE), "error_detail": error}
    if draw(st.booleans()):
        request = discovery_pb2.DiscoveryRequest(
            **common, resource_names=draw(_NAMES), version_info=draw(st.sampled_from(["", "1", "given"]))
        )
    else:
        request = discovery_pb2.DeltaDiscoveryRequest(
            **common,
            resource_names_subscribe=draw(_NAMES),
            resource_names_unsubscribe=draw(_NAMES),
            initial_resource_versions=draw(st.dictionaries(st.sampled_from("abl"), st.sampled_from("12x"), max_size=3)),
        )
    encoded: bytes = request.SerializeToString()
    return encoded


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a request that was damaged on its way, or not."""
    data = bytearray(draw(messages()))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[at:]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        else:
            data += data[:at]
    return bytes(data)


TALKS = st.lists(mutated(), min_size=1, max_size=12)


def converse(method: Method, talk: Iterable[bytes]) -> int:
    """Feed one stream with requests and offers by turns until it is refused; return how many responses there were."""
    stream = method.conversation(Sharing())
    sent, introduced = 0, False
    try:
        for turn, data in enumerate(talk):
            stream.receive(method.request(data, with_node=not introduced))
            introduced = True
            for response in stream.offer(SNAPSHOTS[turn % len(SNAPSHOTS)]):
                response.encode()
                sent += 1
            stream.status()
    except ProtocolError:
        pass  # the stream is closed with its message
    stream.end()
    return sent
