"""What is kept of decisions and events, what is answered, and what is deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.history.world import AT_HOME, AWAY, T0, Past, in_memory, made
from tests.signals.world import in_loop
from xds_server.history import archive as module
from xds_server.history.archive import Archive, Asked, Limits
from xds_server.history.chronicle import BATCH
from xds_server.history.rows import Entry, unpacked
from xds_server.model import Event, Shed
from xds_server.store.directory import StateError

ALWAYS = Asked(0.0, 2e9, limit=1_000)


async def messages(past: Past, asked: Asked = ALWAYS) -> list[str]:
    await past.chronicle.written()
    return [each.entry.message for each in await past.archive.entries(asked)]


@in_loop
async def test_a_decision_is_kept_when_something_an_operator_asks_about_changes() -> None:
    past = in_memory()
    before = made(AT_HOME)
    past.decide(before)
    past.decide(replace(before, demand_rps=(9.0,) * 4, load_rps=(9.0,) * 4))  # moves with every report
    past.decide(made(AWAY, down="us-east-1"))
    past.decide(replace(made(AWAY, down="us-east-1"), overload=1.2))
    past.decide(made(AWAY, down="us-east-1"), made(AT_HOME, name="search"))
    past.decide(made(AWAY, down="us-east-1"))
    past.decide(made(AWAY, down="us-east-1"), policy="p2")
    refusing = replace(made(AWAY, down="us-east-1"), shed=(Shed(10, (), "full"), None, None, None))
    past.decide(refusing, policy="p2")
    past.decide(replace(refusing, shed=(), half_open=refusing.weights), policy="p2")
    assert await messages(past) == [
        "checkout: refuses nothing any more; a trickle to what is down",
        "checkout: refuses requests",
        "checkout: policy changed",
        "search is no longer in the policy",
        "search: first decision",
        "checkout: demand fits again",
        "checkout: demand exceeds capacity",
        "checkout: us-east-1 healthy → down; weights of 4 of 4 views",
        "checkout: first decision",
    ]


def moved(words: str, name: str = "checkout") -> Event:
    fields = (("service", name), ("views", "4"))
    return Event("weights.changed", 0.0, f"{name} from everywhere: {words}", "info", fields)


@in_loop
async def test_a_move_is_one_entry_with_its_event_and_what_was_decided() -> None:
    past = in_memory()
    past.decide(made(AT_HOME), made(AT_HOME, name="search"))
    past.chronicle.happened(Event("region.down", 0.0, "checkout in us-east-1 is down", "alarm"), T0 + 20.0)
    past.chronicle.happened(moved("us-east-1 70 %→0 %"), T0 + 20.0)
    past.decide(made(AWAY, down="us-east-1"), made(AT_HOME, name="search"))
    past.chronicle.happened(moved("us-east-1 0 %→50 %", "search"), T0 + 30.0)
    past.decide(made(AWAY, down="us-east-1"), made({"us-east-1": 1, "eu-west-1": 1}, name="search"))
    assert await messages(past) == [
        "search from everywhere: us-east-1 0 %→50 %",
        "checkout from everywhere: us-east-1 70 %→0 % (us-east-1 healthy → down)",
        "checkout in us-east-1 is down",
        "search: first decision",
        "checkout: first decision",
    ]
    _, entry, *_ = (each.entry for each in await past.archive.entries(ALWAYS))
    assert (entry.kind, dict(entry.fields)) == (
        "weights.changed",
        {"service": "checkout", "views": "4", "policy": "p1"},
    )
    assert set(entry.regions) == {"us-east-1", "eu-west-1"}
    assert len(await messages(past, replace(ALWAYS, kind="decision"))) == 4
    assert len(await messages(past, replace(ALWAYS, kind="weights"))) == 2
    (search, checkout) = sorted(await past.archive.in_force(past.wall), key=lambda found: -found.id)
    assert (search.service, unpacked(checkout.detail)["regions"][3]["health"]) == ("search", "down")
    points, _ = await past.archive.series("checkout", T0, past.wall, 60)
    assert [point.at - T0 for point in points] == [10.0, 20.0]


@in_loop
async def test_a_move_without_a_decision_is_kept_all_the_same() -> None:
    past = in_memory()
    past.chronicle.happened(moved("us-east-1 70 %→0 %", "other"), T0)
    past.decide(made(AT_HOME))
    past.chronicle.happened(moved("us-east-1 0 %→70 %"), T0)
    assert await messages(past) == [
        "checkout from everywhere: us-east-1 0 %→70 %",
        "other from everywhere: us-east-1 70 %→0 %",
        "checkout: first decision",
    ]


@in_loop
async def test_what_was_in_force_at_a_moment_is_one_look_up() -> None:
    past = in_memory()
    past.decide(made(AT_HOME), made(AT_HOME, name="search"))
    past.decide(made(AWAY, down="us-east-1"), policy="p1")
    await past.chronicle.written()
    assert await past.archive.in_force(T0 + 9.0) == []
    assert [found.service for found in await past.archive.in_force(T0 + 15.0)] == ["checkout", "search"]
    (found,) = await past.archive.in_force(T0 + 1e6)  # search is gone
    assert (found.service, found.policy, found.at) == ("checkout", "p1", T0 + 20.0)
    shown = unpacked(found.detail)
    assert shown["views"][0]["weights"]["eu-west-1"] == 10_000
    assert shown["regions"][3]["reason"] == "connection refused"


@in_loop
async def test_entries_are_filtered_and_paged_newest_first() -> None:
    past = in_memory()
    for number in range(5):
        service, region = ("checkout", "us-east-1") if number % 2 else ("search", "sa-east-1")
        fields = (("service", service), ("region", region))
        past.chronicle.happened(Event("region.down", 0.0, f"event {number}", "alarm", fields), T0 + number)
    past.chronicle.happened(Event("regional", 0.0, "other"), T0 + 5)
    past.chronicle.happened(Event("link.cut", 0.0, "cut", "alarm", (("region", "a"), ("view", "b"))), T0 + 6)
    assert await messages(past, replace(ALWAYS, kind="region")) == [f"event {n}" for n in (4, 3, 2, 1, 0)]
    assert await messages(past, replace(ALWAYS, kind="region.down", service="checkout")) == ["event 3", "event 1"]
    assert await messages(past, replace(ALWAYS, region="sa-east-1", until=T0 + 3)) == ["event 2", "event 0"]
    assert await messages(past, replace(ALWAYS, region="b")) == ["cut"]
    assert await messages(past, replace(ALWAYS, since=T0 + 5)) == ["cut", "other"]
    first = await past.archive.entries(replace(ALWAYS, limit=4))
    rest = await past.archive.entries(replace(ALWAYS, before=first[-1].id))
    assert [each.entry.message for each in rest] == ["event 2", "event 1", "event 0"]
    assert rest[0].entry.fields == (("service", "search"), ("region", "sa-east-1"))


@in_loop
async def test_a_series_begins_with_what_was_in_force_and_ends_with_the_policys() -> None:
    past = in_memory()
    past.decide(made(AT_HOME), made(AT_HOME, name="search"))
    past.decide(made(AWAY, down="us-east-1"), made(AT_HOME, name="search"))
    past.decide(made(AT_HOME, name="search"))
    await past.chronicle.written()
    points, thinned = await past.archive.series("checkout", T0 + 15, T0 + 100, 600)
    assert [point.at - T0 for point in points] == [10.0, 20.0, 30.0]
    assert not thinned
    assert points[-1].table is None
    assert points[1].table is not None
    assert points[1].table.verdicts == ("healthy", "healthy", "healthy", "down")


@in_loop
async def test_an_incident_of_a_second_is_on_a_plot_of_a_day() -> None:
    past = in_memory()
    for number in range(400):
        past.decide(made({"us-east-1": 5 + number % 2, "eu-west-1": 5}), after_s=200.0)
    past.decide(made(AWAY, down="us-east-1"), after_s=1.0)
    past.decide(made(AT_HOME), after_s=1.0)
    past.decide(made({"us-east-1": 1}), after_s=1.0)
    await past.chronicle.written()
    points, thinned = await past.archive.series("checkout", T0, past.wall, 60)
    assert thinned
    assert len(points) <= 62
    assert any(point.table is not None and "down" in point.table.verdicts for point in points)
    assert points[-1].at == past.wall


@in_loop
async def test_what_is_old_goes_and_what_was_in_force_at_the_oldest_moment_stays() -> None:
    past = in_memory(Limits(age_s=1000.0))
    past.decide(made(AT_HOME), made(AT_HOME, name="steady"), made(AT_HOME, name="gone"))
    past.decide(made(AWAY, down="us-east-1"), made(AT_HOME, name="steady"))
    past.decide(made(AT_HOME), made(AT_HOME, name="steady"), after_s=2000.0)
    await past.chronicle.written()
    assert not past.archive.trim(past.wall)
    assert await messages(past) == ["checkout: us-east-1 down → healthy; weights of 4 of 4 views"]
    oldest = await past.archive.in_force(past.wall - 1000.0)
    assert [found.service for found in oldest] == ["checkout", "steady"]
    assert unpacked(oldest[0].detail)["regions"][3]["health"] == "down"
    past.decide(made(AWAY), made(AT_HOME, name="steady"))
    assert len(await messages(past)) == 2


@pytest.mark.parametrize("limits", [Limits(1e9, rows=2_500), Limits(1e9, bytes=1_000_000)], ids=["rows", "bytes"])
@in_loop
async def test_too_much_goes_in_steps_from_the_oldest_on(limits: Limits, tmp_path: Path) -> None:
    past = Past(Archive(tmp_path / "history.db", limits, print))
    past.decide(made(AT_HOME))
    for number in range(6_000):
        past.chronicle.happened(Event("client.gone", 0.0, f"event {number} {'x' * 200}"), T0 + number)
    await past.chronicle.written()
    steps = 1
    while past.archive.trim(past.wall):
        steps += 1
    kept = await past.archive.entries(replace(ALWAYS, limit=10_000))
    assert 3 <= steps <= 7
    assert 1_500 <= len(kept) <= 4_000
    assert kept[0].entry.message.startswith("event 5999 ")
    assert len(await past.archive.in_force(past.wall)) == 1
    past.archive.close()
    assert (tmp_path / "history.db").stat().st_size < 1_200_000


@in_loop
async def test_history_is_written_in_pieces_and_a_question_sees_all_of_it() -> None:
    past = in_memory()
    for number in range(BATCH + 50):
        past.chronicle.happened(Event("client.gone", 0.0, f"event {number}"), T0)
    writing = asyncio.create_task(past.chronicle.run())
    while not (first := await past.archive.entries(ALWAYS)):
        pass
    assert len(first) == BATCH
    assert len(await messages(past)) == BATCH + 50
    past.chronicle.happened(Event("client.gone", 0.0, "at the end"), T0)
    writing.cancel()
    await asyncio.wait([writing])
    assert (await messages(past))[0] == "at the end"


@in_loop
async def test_a_question_does_not_wait_for_a_flood_that_goes_on() -> None:
    past = Past(in_memory().archive, awaited_s=0.0)
    past.chronicle.happened(Event("client.gone", 0.0, "noted"), T0)
    assert await messages(past) == []
    running = asyncio.create_task(past.chronicle.run())
    while not (shown := await messages(past)):
        pass
    running.cancel()
    await asyncio.wait([running])
    assert shown == ["noted"]


@in_loop
async def test_history_outlives_the_process(tmp_path: Path) -> None:
    for number in range(2):
        past = Past(Archive(tmp_path / "history.db", Limits(1e9), print))
        past.chronicle.happened(Event("server.ready", 0.0, f"start {number}"), T0 + number)
        shown = await messages(past)
        past.archive.close()
    assert shown == ["start 1", "start 0"]


@in_loop
async def test_a_flood_is_cut_and_history_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xds_server.history.chronicle.MOST_WAITING", 10)
    past = in_memory()
    for number in range(25):
        past.chronicle.happened(Event("client.gone", 0.0, f"event {number}"), T0)
    shown = await messages(past)
    assert shown[0] == "15 entries of history are missing: more happened at once than is taken"
    assert shown[1:] == [f"event {number}" for number in range(9, -1, -1)]


@in_loop
async def test_a_stop_does_not_wait_for_a_flood_of_decisions_but_has_every_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xds_server.history.chronicle.MOST_AT_THE_END", 2)
    past = in_memory()
    for number in range(5):
        if number == 4:
            past.chronicle.happened(moved("at last"), T0)
        past.decide(made({"us-east-1": 5 + number % 2, "eu-west-1": 5}))
    past.chronicle.happened(Event("server.stopping", 0.0, "stopping"), past.wall)
    running = asyncio.create_task(past.chronicle.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    shown = await messages(past)
    assert shown[0] == "3 entries of history are missing: more happened at once than is taken"
    told = ["checkout from everywhere: at last", "stopping", "checkout: weights of 4 of 4 views"]
    assert shown[1:] == [*told, "checkout: first decision"]


@in_loop
async def test_a_database_that_fails_is_reported_once_and_decisions_go_on() -> None:
    past = in_memory()
    past.archive.close()
    for _ in range(3):
        past.chronicle.happened(Event("region.up", 0.0, "lost"), T0)
        await past.chronicle.written()
    assert len(past.reported) == 1
    assert past.reported[0].startswith("history has a gap: history cannot be used: ")


@in_loop
async def test_a_question_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_S", -1.0)
    past = in_memory()
    past.archive.write(Entry(T0, "client.gone", "info", str(number)) for number in range(20_000))
    with pytest.raises(StateError, match="interrupted"):
        await past.archive.entries(replace(ALWAYS, region="nowhere"))
    past.archive.write([Entry(T0, "client.gone", "info", "last")])  # writing is never given up
    assert not past.archive.trim(T0)
