"""The table of votes.py, line by line, and what must hold for any votes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from xds_server.decision.votes import NOTHING_SEEN, Fused, Word, fuse

VIEWS = ("ap", "eu", "sa", "us")
WORDS = {True: Word.UP, False: Word.DOWN}


def said(up: bool | None) -> Word | None:
    return None if up is None else WORDS[up]


def all_words(*words: Word | None) -> Iterator[tuple[Word | None, dict[str, Word]]]:
    """Every combination of four views and the monitor."""
    for monitor, *rest in itertools.product((None, *words), repeat=5):
        yield monitor, {view: word for view, word in zip(VIEWS, rest, strict=True) if word is not None}


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
        (None, {"us": False}, Fused(None, cut=frozenset({"us"}))),
        (None, {"us": False, "eu": False}, Fused(down=True)),
        (False, {"us": False}, Fused(down=True)),
    ],
)
def test_down_for_all_who_look_is_down_and_down_for_some_is_cut_from_them(
    monitor: bool | None, seen: dict[str, bool], fused: Fused
) -> None:
    assert fuse(said(monitor), {view: WORDS[up] for view, up in seen.items()}, VIEWS) == fused


def test_for_all_votes_a_view_is_never_moved_against_its_own_word() -> None:
    """3^5 of them."""
    for monitor, seen in all_words(Word.UP, Word.DOWN):
        fused = fuse(monitor, seen, VIEWS)
        for view, word in seen.items():
            moved = bool(fused.down) or view in fused.cut
            assert moved == (word is Word.DOWN), (monitor, seen, fused)


def test_for_all_votes_a_dead_region_is_left_and_a_lone_doubter_moves_nobody_else() -> None:
    for monitor, seen in all_words(Word.UP, Word.DOWN):
        votes = [*seen.values(), *([monitor] if monitor is not None else [])]
        fused = fuse(monitor, seen, VIEWS)
        if votes and Word.UP not in votes:
            alone = monitor is None and len(votes) == 1
            assert fused == (Fused(None, cut=frozenset(seen)) if alone else Fused(down=True))
        if len(votes) >= 3 and votes.count(Word.DOWN) == 1:
            assert not fused.down
            assert len(fused.cut) <= 1


def test_for_all_votes_waiting_ends_in_what_follows_with_the_stale_words_in_or_out() -> None:
    """5^5 of them: it waits only where that differs, and never where nobody says down."""
    for monitor, seen in all_words(*Word):
        patient, hurried = fuse(monitor, seen, VIEWS, patient=True), fuse(monitor, seen, VIEWS)
        assert not hurried.pending
        came_in = {view: Word.UP if word is Word.STALE else word for view, word in seen.items()}
        confirmed = fuse(Word.UP if monitor is Word.STALE else monitor, came_in, VIEWS)
        assert patient.pending == (confirmed != hurried), (monitor, seen)
        assert patient.pending or patient == hurried
        if Word.DOWN not in {monitor, *seen.values()}:
            assert not hurried.down
            assert not hurried.cut


def test_a_death_that_vantages_notice_one_after_the_other_is_never_a_cut_link() -> None:
    """Every order in which the monitor and four views begin to fail and then are sure of it."""
    for order in itertools.permutations(range(5)):
        words: list[Word] = [Word.STALE] * 5
        for step in (Word.DOUBT, Word.DOWN):
            for who in order:
                words[who] = step
                fused = fuse(words[0], dict(zip(VIEWS, words[1:], strict=True)), VIEWS, patient=True)
                assert fused.pending or not fused.cut, words
                assert fused.pending or bool(fused.down) == (Word.DOWN in words), words


def test_stale_words_do_not_delay_what_they_cannot_change() -> None:
    seen = {"us": Word.STALE, "eu": Word.UP, "ap": Word.UP, "sa": Word.UP}
    assert fuse(Word.DOWN, seen, VIEWS, patient=True) == Fused(down=False, monitor_wrong=True)
    assert fuse(Word.DOWN, dict.fromkeys(VIEWS, Word.DOUBT), VIEWS, patient=True) == Fused(down=True)
