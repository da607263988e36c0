"""Who may speak as whom, as a table; and the entries of a policy as they are read."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.policy.clients import Clients, pattern, shown
from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Client
from xds_server.protocol.identity import identities

REST = """
version: 1
regions: {us-east-1: {latency: {eu-west-1: 80ms}}, eu-west-1: {}}
fleets: {web: {}, batch: {}}
services: {s: {deployments: {us-east-1: {endpoints: ["10.0.0.1:80"], capacity: 1}}}}
"""


@pytest.mark.parametrize(
    ("pattern", "takes", "refuses"),
    [
        ("spiffe://demo/a/*", ["spiffe://demo/a/web"], ["spiffe://demo/a/b/c", "spiffe://demo/ab/web", "x", ""]),
        ("spiffe://demo/**/web", ["spiffe://demo/a/web", "spiffe://demo/a/b/web"], ["spiffe://demo/a/web/x"]),
        ("spiffe://demo/*/web", ["spiffe://demo/a/web"], ["spiffe://demo/evil/a/web", "Spiffe://demo/a/web"]),
        ("*.us.example", ["a.us.example", "A.US.Example"], ["us.example", "a.b.us.example", "a.us.example.evil"]),
        ("**.us.example", ["a.b.us.example"], ["spiffe://x/.us.example", "a.us-example"]),
        (
            "web.example",
            ["web.example", "WEB.example"],
            ["webXexample", "web.example:", "web.example.", "urn:web.example"],
        ),
        ("spiffe://a.example", ["spiffe://a.example"], ["a.example", "spiffe:"]),
        ("*", ["web", "127"], ["urn:x", "a.b"]),
        ("*b*c", ["bc", "abbcc"], ["abcd", "acb"]),
        ("**", ["a.example"], ["spiffe://demo/a"]),
    ],
)
def test_patterns_are_anchored_and_stay_in_their_step(pattern: str, takes: list[str], refuses: list[str]) -> None:
    clients = Clients([Client(pattern)])
    assert all(clients.may_speak([name], "id", "web", "us-east-1") for name in takes)
    assert not any(clients.may_speak([name], "id", "web", "us-east-1") for name in refuses)


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_a_pattern_takes_what_a_shell_would(text: str, name: str) -> None:
    assert pattern(text).takes(name) == fnmatchcase(name, text)


def test_a_pattern_with_many_stars_takes_no_time() -> None:
    assert not pattern("*a" * 40 + "b").takes("a" * 512)
    assert not pattern("**/x" * 40 + "b", "/").takes("/x" * 256)


def test_names_are_of_the_kind_that_they_stand_under() -> None:
    assert identities(
        {"peer_uri": [b"monitor.example", b"spiffe://d/a", b"//x", b"1a:b"], "peer_dns": [b"a.b", b"c:d"]}
    ) == (
        "spiffe://d/a",
        "a.b",
    )


def test_one_entry_must_take_the_whole_claim() -> None:
    clients = Clients(
        [
            Client("us.example", regions=("us-east-1",), fleets=("web",), nodes=("us-*", "spare")),
            Client("eu.example", regions=("eu-west-1",)),
        ]
    )
    assert clients.may_speak(["us.example"], "us-7", "web", "us-east-1")
    assert clients.may_speak(["other.example", "us.example"], "spare", "web", "us-east-1")
    assert clients.may_speak(["eu.example"], "anything/at:all", "batch", "eu-west-1")
    for claim in (("us-7", "web", "eu-west-1"), ("us-7", "batch", "us-east-1"), ("xus-7", "web", "us-east-1")):
        assert not clients.may_speak(["us.example"], *claim)
    assert not clients.may_speak([], "us-7", "web", "us-east-1")


def test_reporting_is_a_right_of_its_own() -> None:
    sidecar = Client("us.example", regions=("us-east-1",))
    monitor = Client("monitor.example", regions=("us-east-1",), agent=True)
    clients = Clients([sidecar, monitor])
    assert clients.may_report(["monitor.example"], "us-east-1")
    assert not clients.may_report(["monitor.example"], "eu-west-1")
    assert not clients.may_report(["us.example"], "us-east-1")


def test_without_entries_everybody_may() -> None:
    assert Clients().may_speak([], "id", "web", "us-east-1")
    assert Clients().may_report([], "us-east-1")


def test_names_are_shown_short() -> None:
    assert shown(()) == "a peer without a name in its certificate"
    assert shown(("a", "b")) == "the certificate of a, b"
    assert len(shown(("a" * 1_000,))) < 250


def test_clients_are_read_from_a_policy() -> None:
    text = (
        REST + "clients: [{identity: spiffe://d/*, regions: [us-east-1], nodes: [b-*, a], agent: true}, {identity: x}]"
    )
    assert parse(text, "p").policy.clients == (
        Client("spiffe://d/*", regions=("us-east-1",), nodes=("a", "b-*"), agent=True),
        Client("x"),
    )


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{regions: [us-east-1]}", "clients[0].identity: missing; write a URI or DNS name"),
        ("{identity: 'a b'}", 'clients[0].identity: "a b" is neither a URI nor a DNS name'),
        ("{identity: 'a***'}", 'clients[0].identity: "a***" has three stars'),
        ("{identity: x, regions: [us-west-1]}", "clients[0].regions[0]: there is no such name under regions"),
        ("{identity: x, fleets: [wep]}", "clients[0].fleets[0]: there is no such name under fleets; did you mean web?"),
        ("{identity: x, nodes: ['a b']}", 'clients[0].nodes[0]: "a b" is not a pattern of node ids'),
    ],
)
def test_mistakes_in_clients_are_named(entry: str, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(REST + f"clients: [{entry}]", "p")
    assert problem in str(caught.value)
