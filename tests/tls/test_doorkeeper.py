"""The doorkeeper tells of who was denied once a minute for each certificate, and counts every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from xds_server.model import Event, ViewKey
from xds_server.policy.parse import parse
from xds_server.process.doorkeeper import Doorkeeper
from xds_server.protocol.events import Code, Identified, ProtocolError
from xds_server.transport.clients import ClientStatus, Refused

POLICY = """
version: 1
regions: {us-east-1: }
fleets: {web: {}}
clients: [{identity: us.example, regions: [us-east-1]}]
services: {s: {deployments: {us-east-1: {endpoints: ["10.0.0.1:80"], capacity: 1}}}}
"""
GOOD = Identified("n1", "web", "us-east-1", "", "envoy", "1.40.0", ("us.example",))
BAD = replace(GOOD, identities=("other.example",))


class Door:
    def __init__(self) -> None:
        self.told: list[Event] = []
        self.counted: Counter[str] = Counter()
        self.clock = 0.0
        self.keeper = Doorkeeper(self.told.append, lambda service: self.counted.update([service]), lambda: self.clock)

    def deny(self, node: Identified) -> Code:
        with pytest.raises(Refused) as caught:
            self.keeper.assign(node)
        return caught.value.code


def test_who_may_is_placed_and_who_may_not_is_told_of_now_and_then() -> None:
    door = Door()
    assert door.deny(GOOD) is Code.UNAVAILABLE
    door.keeper.follow(parse(POLICY, "p").policy)
    assert door.keeper.assign(GOOD) == ViewKey("web", "us-east-1", "envoy")
    for door.clock in (0.0, 1.0, 59.0, 61.0):
        assert door.deny(BAD) is Code.PERMISSION_DENIED
    assert door.deny(replace(GOOD, identities=())) is Code.PERMISSION_DENIED
    assert [event.message.partition(" may not")[0] for event in door.told] == [
        "the certificate of other.example",
        "the certificate of other.example",
        "a peer without a name in its certificate",
    ]
    assert door.told[1].message.endswith("(2 more since it was last said)")
    assert door.counted == {"xds": 5}


def test_reports_are_judged_alike() -> None:
    door = Door()
    door.keeper.follow(parse(POLICY, "p").policy)
    assert door.keeper.view_of(GOOD) == ViewKey("web", "us-east-1", "envoy")
    assert door.keeper.view_of(replace(GOOD, region="nowhere")) is None
    with pytest.raises(ProtocolError, match=r"may not speak as node 'n1' of fleet web in region us-east-1"):
        door.keeper.view_of(BAD)
    assert door.keeper.objection(("us.example",), "us-east-1").endswith("lets it (agent: true)")
    assert door.counted == {"signals": 1, "agents": 1}


def test_who_asks_sees_the_clients_that_it_may_be() -> None:
    door = Door()
    door.keeper.follow(parse(POLICY, "p").policy)
    client = ClientStatus(1, "peer", GOOD, ViewKey("web", "us-east-1"), "sotw", 0.0, ())
    assert door.keeper.visible(("us.example",), client)
    assert not door.keeper.visible(("other.example",), client)
    assert not door.keeper.visible((), client)
