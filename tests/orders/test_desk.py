"""The desk gives an answer when the order is in force and written down; what cannot be written is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.signals.world import in_loop
from xds_server.controller import Controller
from xds_server.model import Event
from xds_server.operator.order_desk import NotSavedError, OrderDesk, UnansweredError
from xds_server.operator.order_json import BadRequestError, Draft, draft, ending, orders_json
from xds_server.orders.types import Kind, Order, PlaceOrder, Request, Result
from xds_server.policy.parse import parse
from xds_server.policy.types import OnHarm, OrderRules
from xds_server.step import Inputs

POLICY = """
version: 1
regions: {us: {latency: {eu: 80ms}}, eu: {}}
services:
  a:
    deployments:
      us: {endpoints: ["10.0.1.1:80"], capacity: 100}
      eu: {endpoints: ["10.0.2.1:80"], capacity: 100}
"""
WALL = 1_700_000_000.0


class Desk:
    """A desk in front of a real controller that steps when it is sent something. `saving` holds a write up."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.controller.step(Inputs(policy=parse(POLICY, "p").policy), 0.0)
        self.controller.step(Inputs(), 10.0)
        self.documents: list[str] = []
        self.told: list[Event] = []
        self.saving = asyncio.Event()
        self.saving.set()
        self.broken = ""
        clocks = (lambda: 10.0, lambda: WALL)
        self.desk = OrderDesk(self.controller, self._send, clocks, self.told.append, self._save)

    def _send(self, request: Request) -> None:
        outcome = self.controller.step(Inputs(orders=(request,)), 10.0)
        self.desk.decided(outcome.orders, outcome.answers)

    async def _save(self, document: str) -> None:
        await self.saving.wait()
        if self.broken:
            raise NotSavedError(self.broken)
        self.documents.append(document)


@asynccontextmanager
async def running() -> AsyncIterator[Desk]:
    world = Desk()
    task = asyncio.create_task(world.desk.run())
    try:
        yield world
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def evacuation(name: str = "e-1") -> Draft:
    order = Order(name, Kind.EVACUATE, "anna", "why", 10.0, 70.0, region="us", over_s=10.0)
    return Draft(order, None, dry_run=False)


@in_loop
async def test_an_order_is_answered_once_it_is_written_down() -> None:
    async with running() as world:
        world.saving.clear()
        asked = asyncio.create_task(world.desk.place(evacuation()))
        for _ in range(10):
            await asyncio.sleep(0)
        assert world.controller.orders.version == 1
        assert not asked.done()
        world.saving.set()
        assert (await asked).result is Result.CREATED
    kept = json.loads(world.documents[-1])
    assert kept["standing"][0]["order"]["ends"] == WALL + 60.0


@in_loop
async def test_an_order_that_cannot_be_written_down_is_no_success() -> None:
    async with running() as world:
        world.broken = "the disk is full"
        with pytest.raises(UnansweredError, match="it could not be written down"):
            await world.desk.place(evacuation())
        assert [event.kind for event in world.told] == ["orders.unsaved"]
        refused = await world.desk.end("x", "anna", "", 1)
    assert refused.result is Result.MISSING


@in_loop
async def test_a_burst_of_requests_is_few_writes() -> None:
    async with running() as world:
        world.saving.clear()
        asked = [asyncio.create_task(world.desk.place(evacuation(f"e-{n}"))) for n in range(20)]
        for _ in range(10):
            await asyncio.sleep(0)
        world.saving.set()
        answers = await asyncio.gather(*asked)
    assert [answer.result for answer in answers] == [Result.CREATED] + [Result.EXISTS] * 19
    assert len(world.documents) <= 2


@in_loop
async def test_what_an_order_would_do_is_known_before() -> None:
    async with running() as world:
        effects = await world.desk.effects(evacuation().order)
        assert [(e.service, e.after_rps, e.serving) for e in effects] == [("a", (100.0, 0.0), 1)]
        assert world.desk.judged(evacuation().order, effects) == ((), ())
        assert not world.controller.orders.standing


RULES = OrderRules()


def test_a_request_is_read_with_the_defaults_of_the_policy() -> None:
    found = draft({"kind": "evacuate", "region": "us", "reason": "r", "author": "bo"}, RULES, "e-1", "", 5.0)
    assert found.order == Order("e-1", Kind.EVACUATE, "bo", "r", 5.0, 7205.0, region="us", over_s=60.0)
    drill = draft({"kind": "drill", "region": "us", "on_harm": "roll-back"}, RULES, "d-1", "anna", 5.0)
    assert (drill.order.ends, drill.order.author, drill.order.on_harm) == (605.0, "anna", OnHarm.ROLL_BACK)


def test_who_was_authenticated_is_the_author_whatever_the_request_says() -> None:
    assert draft({"kind": "hold", "author": "bo"}, RULES, "h", "anna", 0.0).order.author == "anna"
    assert ending({"author": "bo"}, "anna") == ("anna", "", None, False)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "send a JSON object"),
        ({"kind": "leave"}, "kind must be one of"),
        ({"kind": "hold", "reson": "x"}, "unknown field 'reson'"),
        ({"kind": "hold", "expires": 60}, "expires must be a duration"),
        ({"kind": "hold", "expires": "60"}, "has no unit"),
        ({"kind": "hold", "expires": "0s"}, "more than 0s"),
        ({"kind": "hold", "if_version": True}, "whole number"),
        ({"kind": "hold", "force": "yes"}, "force must be true or false"),
        ({"kind": "hold", "reason": "a\nb"}, "one line"),
        ({"kind": "hold", "reason": "x" * 501}, "at most 500"),
        ({"kind": "weight", "weights": {"us": -1}}, "weights must be parts"),
        ({"kind": "weight", "weights": {"us": True}}, "weights must be parts"),
        ({"kind": "capacity", "capacity": "much"}, "capacity"),
        ({"kind": "capacity", "capacity": [1]}, "capacity must be"),
        ({"kind": "evacuate", "on_harm": "cry"}, "on_harm must be one of"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(body: object, words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        draft(body, RULES, "x", "anna", 0.0)


def test_orders_are_shown_with_times_of_day() -> None:
    world = Desk()
    world.controller.step(Inputs(orders=(PlaceOrder(1, evacuation().order, WALL - 10.0),)), 10.0)
    shown = orders_json(world.controller.orders, WALL - 10.0)
    assert (shown["version"], shown["orders"][0]["since"]) == (1, "2023-11-14T22:13:20.000Z")
    assert shown["orders"][0]["report"]["words"].startswith("requests lost: not measured")
