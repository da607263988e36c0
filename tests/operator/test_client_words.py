"""Clients' words as events: bounded for each address and kind, and short."""

from __future__ import annotations

from xds_server.model import ViewKey
from xds_server.operator.client_words import AT_ONCE, EVERY_S, MOST_ADDRESSES, MOST_NAMES, ClientWords, client_event
from xds_server.protocol.events import Event, Identified, Nacked, Version
from xds_server.transport.clients import ClientEvent, Closed, Connected

VIEW = ViewKey("web", "us-east-1")


def said(what: Event | Connected | Closed, peer: str = "ipv4:10.0.0.1:5000", node: str = "n1") -> ClientEvent:
    return ClientEvent(1, peer, Identified(node, "web", "us-east-1", "", "envoy", "1.40.0"), VIEW, what)


def test_one_address_is_told_of_now_and_then_whatever_it_calls_itself_and_others_as_ever() -> None:
    words = ClientWords()
    told = [words.event(said(Connected(), f"ipv4:10.0.0.1:{port}", f"n{port}"), 0.0) for port in range(AT_ONCE + 20)]
    assert [event is not None for event in told] == [True] * AT_ONCE + [False] * 20
    assert words.event(said(Connected(), "ipv4:10.0.0.2:1"), 0.0) is not None
    assert words.event(said(Closed("", "")), 0.0) is not None
    assert words.event(said(Connected()), EVERY_S / 2) is None
    again = words.event(said(Connected()), EVERY_S)
    assert again is not None
    assert again.message.endswith("connected (21 more like it from there since it was last said)")
    assert words.event(said(Connected()), EVERY_S) is None


def test_addresses_are_remembered_up_to_a_number() -> None:
    words = ClientWords()
    for _ in range(AT_ONCE):
        words.event(said(Connected()), 0.0)
    for number in range(MOST_ADDRESSES - 1):
        words.event(said(Connected(), f"ipv4:10.1.{number // 256}.{number % 256}:1"), 0.0)
    assert words.event(said(Connected()), 0.0) is None
    words.event(said(Connected(), "ipv4:10.2.0.1:1"), 0.0)
    for number in range(MOST_ADDRESSES):
        words.event(said(Connected(), f"ipv4:10.3.{number // 256}.{number % 256}:1"), 0.0)
    assert words.event(said(Connected()), 0.0) is not None


def test_of_many_rejected_resources_a_few_are_named() -> None:
    several = tuple(Version(f"c{number}", "1") for number in range(MOST_NAMES + 5))
    event = client_event(said(Nacked("type", "1", "1", "bad", several)), 0.0)
    assert event is not None
    assert "c9 and 5 more): bad" in event.message
