"""The table of votes.py, line by line, and what must hold for any votes."""

from __future__ import annotations

import itertools

import pytest

from xds_server.decision.votes import NOTHING_SEEN, Fused, fuse

VIEWS = ("ap", "eu", "sa", "us")


@pytest.mark.parametrize(
    ("monitor", "seen", "fused"),
    [
        (False, dict.fromkeys(VIEWS, False), Fused(down=True)),
        (False, {}, Fused(down=True)),
        (True, {}, Fused(down=False)),
        (False, {"ap": False, "eu": False, "sa": False}, Fused(down=True)),
        (True, {"us": False, "eu": True, "ap": True}, Fused(down=False, cut=frozenset({"us"}))),
        (True, {"us": False}, Fused(down=False, cut=frozenset({"us"}))),
        (
            False,
            {"us": True, "eu": False, "ap": False, "sa": False},
            Fused(down=False, cut=frozenset({"ap", "eu", "sa"})),
        ),
        (False, dict.fromkeys(VIEWS, True), Fused(down=False, monitor_wrong=True)),
        (False, {"us": True}, Fused(down=False, monitor_wrong=True)),
        (None, {"us": True, "eu": False}, Fused(down=False, cut=frozenset({"eu"}))),
        (None, {}, NOTHING_SEEN),
    ],
)
def test_votes(monitor: bool | None, seen: dict[str, bool], fused: Fused) -> None:
    assert fuse(monitor, seen, VIEWS) == fused


def test_for_all_votes_a_view_is_never_moved_against_its_own_word() -> None:
    """Every combination of four views and the monitor: 3^5 of them."""
    for words in itertools.product((None, True, False), repeat=5):
        monitor, *rest = words
        seen = {view: word for view, word in zip(VIEWS, rest, strict=True) if word is not None}
        fused = fuse(monitor, seen, VIEWS)
        for view, word in seen.items():
            assert not (word and (fused.down or view in fused.cut)), (words, fused)
            assert word or fused.down or view in fused.cut, (words, fused)


def test_for_all_votes_a_dead_region_is_left_and_a_lone_doubter_moves_nobody_else() -> None:
    for words in itertools.product((None, True, False), repeat=5):
        monitor, *rest = words
        seen = {view: word for view, word in zip(VIEWS, rest, strict=True) if word is not None}
        votes = [*seen.values(), *([monitor] if monitor is not None else [])]
        fused = fuse(monitor, seen, VIEWS)
        if votes and not any(votes):
            assert fused.down
        if len(votes) >= 3 and votes.count(False) == 1:
            assert not fused.down
            assert len(fused.cut) <= 1
