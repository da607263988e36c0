"""The stream: encoded once, latest value only, ends cleanly; and what the admin side sends on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.access.test_judgement import lines
from tests.operator.world import HELD, Process, Site, client, decision, serving
from tests.signals.world import LIMIT_S, in_loop, until
from xds_server.model import Event, LoadReport
from xds_server.operator import broadcast
from xds_server.operator.access import Door, Guard
from xds_server.operator.broadcast import MOST_OF_ONE, MOST_VIEWERS, Broadcast, Taken, Topic
from xds_server.operator.live_views import MOST_FLOWS, live_traffic


class Number:
    """A value, and how often it was written out."""

    def __init__(self) -> None:
        self.value = 1
        self.written = 0

    def take(self) -> Taken | None:
        value = self.value
        return Taken(value, lambda: self._write(value)) if value else None

    def _write(self, value: int) -> int:
        self.written += 1
        return value


def parsed(frame: bytes) -> list[tuple[str, Any]]:
    """Return the events of one or several frames."""
    events = []
    for block in frame.decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], json.loads(fields["data"])))
    return events


async def following(live: Broadcast, frames: AsyncIterator[bytes]) -> list[tuple[str, Any]]:
    return parsed(await asyncio.wait_for(anext(frames), LIMIT_S))


@in_loop
async def test_many_viewers_cost_one_encoding_and_a_slow_one_skips() -> None:
    number = Number()
    live = Broadcast(Topic("number", number.take))
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(live.run())
        with live.viewing():
            many = [live.frames() for _ in range(20)]
            hello = [(await following(live, frames))[0][0] for frames in many]
            assert hello == ["hello"] * 20
            assert [await following(live, frames) for frames in many] == [[("number", 1)]] * 20
            assert number.written == 1
            for number.value in (2, 3):
                assert await following(live, many[0]) == [("number", number.value)]
            assert await following(live, many[1]) == [("number", 3)]
            live.close()
            assert [frame async for frame in many[0]] == []
        looking.cancel()


@in_loop
async def test_nobody_watching_costs_nothing_and_the_first_gets_nothing_old() -> None:
    number = Number()
    live = Broadcast(Topic("number", number.take))
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(live.run())
        with live.viewing():
            frames = live.frames()
            assert [(await following(live, frames))[0][0], *await following(live, frames)] == ["hello", ("number", 1)]
        number.value = 0  # nothing to be had
        with live.viewing():
            frames = live.frames()
            assert (await following(live, frames))[0][0] == "hello"
            waiting = asyncio.ensure_future(anext(frames))
            number.value = 5
            assert parsed(await asyncio.wait_for(waiting, LIMIT_S)) == [("number", 5)]
        looking.cancel()


def load(reporter: str, service: str, at: float) -> LoadReport:
    return LoadReport(reporter, "eu-west-1", service, "us-east-1", 30, 27, 3, 0, interval_s=2.0, at=at)


def test_too_many_flows_are_summed_over_services() -> None:
    reports = [load("one", f"s{n}", 0.0) for n in range(MOST_FLOWS + 1)]
    rate = 15.0 * len(reports)
    assert live_traffic(reports)["flows"] == [["", "eu-west-1", "us-east-1", rate, rate / 10, 0.0]]
    assert len(live_traffic(reports[1:])["flows"]) == MOST_FLOWS


@in_loop
async def test_a_bug_in_one_topic_ends_the_streams_instead_of_freezing_them() -> None:
    def broken() -> Taken:
        raise ZeroDivisionError

    live = Broadcast(Topic("broken", broken))
    with live.viewing():
        looking = asyncio.create_task(live.run())
        async with asyncio.timeout(LIMIT_S):
            assert [parsed(frame)[0][0] async for frame in live.frames()] == ["hello"]
    with pytest.raises(ZeroDivisionError):
        await looking


async def events_of(site: Site, wanted: int) -> list[tuple[str, Any]]:
    """Follow the stream until so many events came."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(LIMIT_S), site.session.get(site.base + "/api/v1/stream") as response:
        assert response.content_type == "text/event-stream"
        block = b""
        async for line in response.content:
            block += line
            if line == b"\n":
                found += parsed(block)
                block = b""
            if len(found) >= wanted:
                break
    return found


@in_loop
async def test_the_stream_begins_with_all_there_is() -> None:
    process = Process(decided=decision(), connected=(client("a"), client("b", "eu-west-1")), held=(HELD,))
    process.log.add(Event("region.down", 1.0, "it fell", "alarm"), wall=1_700_000_000.0)
    for reporter, at in (("one", 99.0), ("other", 95.0), ("gone", 50.0)):
        process.said.add(load(reporter, "checkout", at))
    async with serving(process) as site:
        events = dict(await events_of(site, 7))
    assert list(events) == ["hello", "decision", "alarms", "event", "orders", "fleet", "traffic"]
    live = events["decision"]
    checkout = live["services"][0]
    column = live["names"].index("sa-east-1")
    assert live["regions"][column]["health"] == checkout["places"][column]["health"] == "down"
    assert [sum(row) for row in checkout["weights"]] == [10_000] * 4
    assert live["services"][1]["places"][column] is None
    assert live["policy"]["digest"] == "abc123"
    assert [event["message"] for event in events["event"]["events"]] == ["it fell"]
    kinds = {alarm["kind"] for alarm in events["alarms"]["alarms"]}
    assert kinds == {"client.nack", "resource.quarantined", "region.down"}
    fleet = events["fleet"]
    assert (fleet["clients"], [sort["rejecting"] for sort in fleet["sorts"]]) == (2, [1, 1])
    assert [sort["region"] for sort in fleet["sorts"]] == ["eu-west-1", "us-east-1"]
    assert [known["id"] for known in fleet["troubled"]] == ["a", "b"]
    assert fleet["quarantine"][0]["error"] == "bad route"
    # Two control planes' Envoys added up, in requests per second; what is long ago is left out.
    assert events["traffic"]["flows"] == [["checkout", "eu-west-1", "us-east-1", 30.0, 3.0, 0.0]]


@in_loop
async def test_what_changes_is_sent_and_a_stop_ends_the_stream() -> None:
    process = Process(reason="no evidence yet")
    site_gone = asyncio.Event()

    async def watch(site: Site) -> list[str]:
        seen = []
        async with site.session.get(site.base + "/api/v1/stream") as response:
            async for line in response.content:
                seen.append(line.decode())
                if "no evidence yet" in seen[-1]:
                    process.reason = None
                if '"waiting_for":null' in seen[-1]:
                    site_gone.set()
        return seen

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        async with serving(process) as site:
            watching = group.create_task(watch(Site(site.base, session)))
            await site_gone.wait()
        assert await watching


@in_loop
async def test_only_so_many_may_follow_and_a_place_is_free_again() -> None:
    async with serving(Process()) as site, asyncio.timeout(LIMIT_S):
        streams = [await site.session.get(site.base + "/api/v1/stream") for _ in range(MOST_VIEWERS)]
        full = await site.get("/api/v1/stream")
        assert (full.status, full.json["detail"].split()[0]) == (503, str(MOST_VIEWERS))
        streams.pop().close()

        async def let_in() -> bool:
            async with site.session.get(site.base + "/api/v1/stream") as response:
                return response.status == 200

        while not await let_in():
            pass
        for response in streams:
            response.close()


@in_loop
async def test_one_name_leaves_places_to_others() -> None:
    def as_(name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {name}"}

    async with serving(Process(), door=Door(Guard(lines(viv="view", eve="view")))) as site, asyncio.timeout(LIMIT_S):
        path = site.base + "/api/v1/stream"
        streams = [await site.session.get(path, headers=as_("eve")) for _ in range(MOST_OF_ONE)]
        assert {one.status for one in streams} == {200}
        full = await site.send("GET", "/api/v1/stream", headers=as_("eve"))
        assert (full.status, full.json["detail"]) == (
            503,
            f"{MOST_OF_ONE} follow already as eve, as many as are let in by one name",
        )
        streams.append(await site.session.get(path, headers=as_("viv")))
        assert streams[-1].status == 200
        for response in streams:
            response.close()


@in_loop
async def test_silence_is_broken_by_a_comment() -> None:
    assert broadcast.HEARTBEAT_S == 10.0  # docs/page.md
    live = Broadcast(heartbeat_s=0.01)
    with live.viewing():
        frames = live.frames()
        assert (await following(live, frames))[0][0] == "hello"
        assert await asyncio.wait_for(anext(frames), LIMIT_S) == b": still here\n\n"
    await until(lambda: not live.viewers)
