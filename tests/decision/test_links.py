"""Cut links: how long they stay cut, who says that they work, and what is kept of them over a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from xds_server.decision.health_words import Account
from xds_server.decision.links import CUT_DWELL_S, SILENT_S, Link, LinkBook, Said
from xds_server.decision.verdicts import STEP, Place
from xds_server.decision.votes import Word
from xds_server.model import CutLink, Event
from xds_server.step import Memory
from xds_server.store.codec import CorruptError, from_json, to_json

HERE = Place("shop", "eu")
NOBODY: Mapping[str, Word] = {}


class Watched:
    """The links to one place, looked at each second; `probing` are the views that probe it."""

    def __init__(self, *probing: str, ramp_up_s: float = 20.0) -> None:
        self.book = LinkBook()
        self.now = 0.0
        self.probing = probing
        self.ramp_up_s = ramp_up_s
        self.news: list[Event] = []

    def run(self, seconds: float, words: Mapping[str, Word] = NOBODY) -> Watched:
        """Let time pass in which this is said: a view that says down is cut off."""
        for _ in range(round(seconds)):
            self.now += 1.0
            cut = frozenset(view for view, word in words.items() if word is Word.DOWN)
            account = Account.of(Word.UP, words, ("us", "sa"))
            self.news += self.book.follow(HERE, Said(cut, words, self.probing, account), self.ramp_up_s, self.now)
        return self

    def restart(self) -> Watched:
        """Return a later process with what was kept, its clock at zero."""
        text = json.dumps(to_json(Memory(links=self.book.kept()), self.now))
        later = Watched(*self.probing, ramp_up_s=self.ramp_up_s)
        later.book.restore(from_json(json.loads(text), 0.0).links)
        return later

    @property
    def share(self) -> float:
        """Return what us has of its share: 1 if its link was never cut, or is whole again."""
        return 0.0 if "us" in self.book.cut(HERE) else self.book.returning(HERE).get("us", 1.0)


def cut(*probing: str) -> Watched:
    return Watched(*probing).run(1, {"us": Word.DOWN})


@pytest.mark.parametrize("word", [Word.UP, Word.STALE])
def test_a_link_that_works_is_used_again_after_a_while_and_in_steps(word: Word) -> None:
    world = cut("us").run(CUT_DWELL_S - 1, {"us": word})
    assert world.share == 0.0
    assert world.run(1, {"us": word}).share == STEP
    assert world.run(10, {"us": word}).share == pytest.approx(STEP + 10 * STEP)
    assert world.run(10, {"us": word}).share == 1.0
    assert [event.kind for event in world.news] == ["link.cut", "link.restored"]


def test_a_silent_view_that_probes_keeps_its_cut_link_cut_and_the_time_does_not_count() -> None:
    world = cut("us").run(SILENT_S - 1)
    assert (world.share, world.book.told(HERE)) == (0.0, (CutLink("us", "eu", 1.0, heard=False),))
    world.run(CUT_DWELL_S - 1, {"us": Word.UP})
    assert (world.share, world.book.told(HERE)) == (0.0, (CutLink("us", "eu", 1.0),))
    assert world.run(1, {"us": Word.UP}).share == STEP


@pytest.mark.parametrize("word", [Word.DOWN, Word.DOUBT])
def test_a_view_that_is_not_sure_or_blind_keeps_its_link_as_it_is(word: Word) -> None:
    """A view that sees nothing at all says down, and is not cut off for it (jury.py)."""
    world = cut("us")
    returning = cut("us").run(CUT_DWELL_S, {"us": Word.UP})
    for one, share in ((world, 0.0), (returning, STEP)):
        for _ in range(600):
            one.now += 1.0
            said = Said(frozenset(), {"us": word}, ("us",), Account.of(None, {}, ()))
            assert one.book.follow(HERE, said, 20.0, one.now) == []
        assert one.share == share


def test_a_share_that_returns_stands_still_while_its_view_is_silent() -> None:
    world = cut("us").run(CUT_DWELL_S + 3, {"us": Word.UP})
    assert world.run(SILENT_S - 1).share == pytest.approx(4 * STEP)
    assert world.run(2, {"us": Word.UP}).share == pytest.approx(6 * STEP)


def test_a_view_that_is_silent_for_good_tries_its_link() -> None:
    world = cut("us").run(SILENT_S)
    assert world.share == 0.0
    assert world.run(CUT_DWELL_S).share == STEP
    assert world.news[-1].message == (
        "us tries shop in eu again, with a part of its share: it has had no word on it for 309 s"
    )


def test_a_view_that_does_not_probe_has_no_other_way_than_to_try() -> None:
    world = cut().run(CUT_DWELL_S)
    assert world.share == STEP
    assert world.book.told(HERE) == ()
    assert "and tries it again in 10 s" in world.news[0].message
    assert world.run(CUT_DWELL_S + 10).share == 1.0


def test_a_restart_keeps_a_cut_link_until_its_view_speaks() -> None:
    later = cut("us").run(3600, {"us": Word.DOWN}).restart()
    assert later.book.told(HERE) == (CutLink("us", "eu", -3600.0, heard=False),)
    assert later.run(SILENT_S - 1).share == 0.0
    assert later.run(CUT_DWELL_S, {"us": Word.UP}).share == STEP


def test_silence_goes_on_over_restarts() -> None:
    """A process that restarts every two minutes must not hold a link for ever."""
    world = cut("us")
    for _ in range(2):
        world = world.run(120).restart()
    assert world.run(SILENT_S - 240).share == 0.0
    assert world.run(CUT_DWELL_S).share > 0.0


def test_a_restart_keeps_how_far_a_share_has_returned_and_how_often_the_link_was_cut() -> None:
    world = cut("us").run(CUT_DWELL_S + 3, {"us": Word.UP})
    assert world.restart().share == world.share == pytest.approx(4 * STEP)
    later = world.restart().run(1, {"us": Word.DOWN})
    assert later.run(2 * CUT_DWELL_S - 1, {"us": Word.UP}).share == 0.0, "twice as long after the second cut"
    assert later.run(1, {"us": Word.UP}).share == STEP


def test_a_link_of_a_view_that_does_not_probe_is_tried_after_a_restart_too() -> None:
    later = cut().restart()
    assert later.book.told(HERE) == (CutLink("us", "eu", 0.0),)
    assert later.run(CUT_DWELL_S - 1).share == 0.0
    assert later.run(1).share == STEP


def test_views_and_places_that_are_gone_from_the_policy_are_forgotten() -> None:
    book = LinkBook()
    link = Link(0.0, 0.0)
    book.restore({HERE: {"us": link, "mars": link}, Place("gone", "eu"): {"us": link}})
    book.forget_except({HERE}, {"us", "sa"})
    assert book.kept() == {HERE: {"us": link}}


GOOD = to_json(Memory(links={HERE: {"us": Link(0.0, 0.0, probed=True)}}), 5.0)["links"][0]


@pytest.mark.parametrize(
    "bad", [{"falls": 0}, {"ramp": 1.5}, {"cut_ago_s": float("nan")}, {"silent_s": -1.0}, {"lost_ago_s": "x"}]
)
def test_links_that_no_process_wrote_are_refused(bad: dict[str, object]) -> None:
    kept = to_json(Memory(), 5.0)
    assert from_json({**kept, "links": [GOOD]}, 9.0).links[HERE]["us"].cut_at == 4.0
    with pytest.raises(CorruptError):
        from_json({**kept, "links": [{**GOOD, **bad}]}, 9.0)
    older = {key: value for key, value in kept.items() if key != "links"}
    assert from_json(older, 9.0).links == {}


def test_who_reaches_a_place_is_told_for_everybody() -> None:
    words = {"us": Word.DOWN, "ap": Word.UP, "eu": Word.UP, "sa": Word.DOWN, "af": Word.STALE, "me": Word.DOUBT}
    account = Account.of(Word.UP, words, [*words, "ca", "mx"])
    assert account.besides("us") == (
        "ap, eu and our own probes reach it, af did when last heard, sa does not either, me is not sure, "
        "ca and mx have not said"
    )
    assert Account.of(None, {}, ["us"]).besides("us") == "our own probes have not said"
