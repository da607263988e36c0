"""A client that rejects a great deal does not keep the server busy, and gets what is good in the end."""

from __future__ import annotations

import pytest

from tests.protocol.talk import Peer, world
from xds_server.protocol.events import Version
from xds_server.protocol.refusals import PATIENCE, PATIENCE_PER_S, REMEMBERED, Refusals

NAMES = [f"e{n:03}" for n in range(4 * PATIENCE)]
ALL = world(*(f"E {name}=1" for name in NAMES))


def rejections(peer: Peer, bad: set[str]) -> int:
    """Go on until nothing more comes."""
    count = 0
    while came := peer.sees(ALL):
        names = {word.partition("=")[0] for answer in came for word in answer.partition(": ")[2].split()}
        count += bool(names & bad)
        peer.nacks("E") if names & bad else peer.acks("E")
    return count


def test_suspects_wait_when_patience_is_at_an_end_and_are_tried_again_later() -> None:
    peer = Peer()
    peer.asks("E", *NAMES)
    assert rejections(peer, set(NAMES)) == PATIENCE
    assert peer.waiting("E") == set(NAMES)
    peer.now = 4.0
    peer.asks("T", "layer")  # whatever it says next
    assert rejections(peer, set(NAMES)) == 4 * PATIENCE_PER_S


def test_other_content_flows_meanwhile() -> None:
    peer = Peer()
    peer.asks("E", *NAMES)
    rejections(peer, set(NAMES))
    other = world(*(f"E {name}=1" for name in NAMES[1:]), f"E {NAMES[0]}=2")
    assert peer.sees(other) == [f"E {PATIENCE + 1}: {NAMES[0]}=2"]


@pytest.mark.parametrize("culprits", [1, 5])
def test_a_few_culprits_are_found_at_once(culprits: int) -> None:
    peer = Peer()
    peer.asks("E", *NAMES)
    bad = set(NAMES[:: len(NAMES) // culprits][:culprits])
    rejections(peer, bad)
    assert peer.waiting("E") == bad


def test_what_is_still_to_be_had_is_not_forgotten() -> None:
    wanted = ALL.resources[next(iter(ALL.resources))]
    old = tuple(Version(f"old{n}", "1") for n in range(2 * REMEMBERED))
    still = tuple(Version(name, "1") for name in NAMES)
    kept = Refusals((*still, *old)).still_in(wanted)
    assert kept.bad == (*still, *old[REMEMBERED:])
