"""What agents' reports do, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xds_server.decision.agents import ALONE, MOST_REPORTERS, AgentBook, Claim
from xds_server.decision.verdicts import Place
from xds_server.model import AgentReport

PLACE = Place("shop", "us")


def said(
    reporter: str,
    *,
    healthy: bool | None = None,
    utilisation: float | None = None,
    capacity: float | None = None,
    service: str = "shop",
    at: float = 0.0,
    view: str = "",
) -> AgentReport:
    return AgentReport(reporter, "us", service, healthy, utilisation, capacity, "disk full", 30.0, at, view)


def book(*reports: AgentReport) -> AgentBook:
    made = AgentBook()
    for report in reports:
        made.learn(report)
    return made


def test_one_reporter_degrades_and_two_are_believed() -> None:
    assert book(said("a", healthy=False)).standing(PLACE, 1.0).share == ALONE
    assert not book(said("a", healthy=False)).standing(PLACE, 1.0).hopeless
    assert book(said("a", healthy=False), said("b", healthy=False)).standing(PLACE, 1.0).hopeless


def test_what_one_sender_says_under_two_names_is_one_word() -> None:
    one, other = (replace(said(name, healthy=False), sender="alice") for name in ("a", "b"))
    assert not book(one, other).standing(PLACE, 1.0).hopeless
    assert book(one, replace(other, sender="bob")).standing(PLACE, 1.0).hopeless
    assert "a (alice): disk full" in book(one).standing(PLACE, 1.0).reason


def test_nobody_replaces_or_crowds_out_anothers_report() -> None:
    bad = replace(said("a", healthy=False), sender="alice")
    flood = [replace(said(f"f{n}", healthy=True), sender="bob") for n in range(2 * MOST_REPORTERS)]
    assert book(bad, replace(bad, sender="bob", healthy=True), *flood).standing(PLACE, 1.0).share == ALONE


def test_a_report_counts_until_its_time_to_live_ends_and_the_newest_counts() -> None:
    bad = book(said("a", healthy=False))
    assert bad.standing(PLACE, 31.0).share == 1.0
    bad.learn(said("a", healthy=True, at=2.0))
    assert bad.standing(PLACE, 3.0).share == 1.0


def test_a_report_of_the_whole_region_counts_for_each_service() -> None:
    assert book(said("a", healthy=False, service="")).standing(PLACE, 1.0).share == ALONE
    assert book(said("a", healthy=False, service="other")).standing(PLACE, 1.0).share == 1.0


@pytest.mark.parametrize(
    ("reports", "capacity"),
    [
        ([], None),
        ([said("a", capacity=800.0)], 800.0),
        ([said("a", capacity=800.0), said("b", capacity=600.0)], 600.0),
        ([said("a", capacity=5000.0)], 1000.0),
        ([said("a", utilisation=0.8)], 500.0),
        ([said("a", utilisation=0.1)], None),
    ],
)
def test_capacity_is_the_lowest_reported_and_never_above_the_policys(
    reports: list[AgentReport], capacity: float | None
) -> None:
    made = book(*reports)
    made.follow_load(PLACE, 400.0, 1.0)
    claim = made.capacity(PLACE, 1000.0, 1.0)
    assert (claim.rps if claim else None) == capacity
    assert claim is None or bool(claim.why) is (claim.rps < 1000.0)


def test_utilisation_belongs_to_the_load_of_its_time() -> None:
    made = book(said("a", utilisation=0.8))
    for now, load in ((0.0, 200.0), (8.0, 400.0), (11.0, 100.0), (20.0, 800.0)):
        made.follow_load(PLACE, load, now)
    highest = Claim(500.0, "a says 80% used, at 400 req/s")
    assert made.capacity(PLACE, 1000.0, 20.0) == highest, "of the first seconds: reports lag"
    made.learn(said("a", utilisation=0.9, at=21.0))
    assert made.capacity(PLACE, 1000.0, 21.0) is None
    made.follow_load(PLACE, 450.0, 22.0)
    assert made.capacity(PLACE, 1000.0, 22.0) == Claim(500.0, "a says 90% used, at 450 req/s")
    made.follow_load(PLACE, 450.0, 52.0)
    assert made.capacity(PLACE, 1000.0, 52.0) is None


def test_what_is_seen_from_a_view_is_of_its_link_alone() -> None:
    one = said("a", healthy=False, view="eu")
    made = book(one, said("a", healthy=True, view="ap"))
    assert made.standing(PLACE, 1.0).share == 1.0
    assert made.links(PLACE, 1.0) == (frozenset(), frozenset({"eu"}))
    made.learn(replace(one, reporter="b"))
    made.learn(replace(one, reporter="c", view="ap"))
    assert made.links(PLACE, 1.0) == (frozenset({"eu"}), frozenset({"ap"}))
    assert made.links(PLACE, 31.0) == (frozenset(), frozenset())
