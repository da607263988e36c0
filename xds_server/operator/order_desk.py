"""Where requests for orders meet the control loop: numbers them, waits for the answers, writes them down first.

An answer is given when the order is in force *and* on disk: what was acknowledged survives a power cut. Orders are
written in the background, the latest state of all of them at once; a burst of requests is one write. If they cannot
be written, the request fails and says so, although the order is in force until a restart.

Drills of the policy's schedule are ordered here as well, by `schedule NAME`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from xds_server.decision.what_if import Case
from xds_server.model import Event
from xds_server.operator.order_json import Draft
from xds_server.orders.codec import to_json
from xds_server.orders.preview import Effect, preview, preview_end
from xds_server.orders.safety import refusals, wrong
from xds_server.orders.schedule import due
from xds_server.orders.types import Answer, EndOrder, Kind, Order, Orders, PlaceOrder, Request
from xds_server.policy.types import Policy

ANSWER_WITHIN_S = 10.0
SCHEDULE_EVERY_S = 5.0
AGAIN_S = 5.0
"""Until orders that could not be written down are tried again."""


class UnansweredError(Exception):
    """A request was not answered, or its order could not be written down; the message says which."""


class NotSavedError(Exception):
    """Orders could not be written down; the message says why."""


class Decider(Protocol):
    """What the desk sees of the controller."""

    @property
    def policy(self) -> Policy | None:
        """Return the policy in force."""

    @property
    def orders(self) -> Orders:
        """Return all orders."""

    def cases(self) -> tuple[Case, ...]:
        """Return what the decisions in force rest on."""


class OrderDesk:
    """Takes requests for orders. `send` gives one to the control loop; `save` keeps a document or raises NotSavedError.

    `clocks` are the controller's and the time of day, both in seconds.
    """

    def __init__(
        self,
        decider: Decider,
        send: Callable[[Request], None],
        clocks: tuple[Callable[[], float], Callable[[], float]],
        tell: Callable[[Event], None],
        save: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.save = save
        self._decider = decider
        self._send = send
        self._now, self._wall = clocks
        self._tell = tell
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._answered: list[Answer] = []
        self._unsaved: Orders | None = None
        self._work = asyncio.Event()

    # What the HTTP side asks.

    @property
    def orders(self) -> Orders:
        """Return all orders."""
        return self._decider.orders

    @property
    def policy(self) -> Policy | None:
        """Return the policy in force."""
        return self._decider.policy

    @property
    def offset(self) -> float:
        """Return seconds since 1970 less the controller's clock."""
        return self._wall() - self._now()

    def now(self) -> float:
        """Return the controller's clock."""
        return self._now()

    @staticmethod
    def new_id(kind: str) -> str:
        """Return a name for an order: its kind's first letter, and chance."""
        return f"{kind[:1]}-{secrets.token_hex(3)}"

    async def effects(self, order: Order) -> tuple[Effect, ...]:
        """Return what an order would do; worked out in a thread, so that decisions are not late."""
        policy, cases, standing = self._decider.policy, self._decider.cases(), self._decider.orders.standing
        if policy is None or any(wrong(order, policy)):
            return ()
        return await asyncio.to_thread(lambda: preview(cases, policy, standing, order))

    async def effects_of_end(self, identity: str) -> tuple[Effect, ...] | None:
        """Return what the end of an order would do; None if no such order is in force."""
        policy, cases, standing = self._decider.policy, self._decider.cases(), self._decider.orders.standing
        if policy is None or identity not in {one.order.id for one in standing}:
            return None
        return await asyncio.to_thread(lambda: preview_end(cases, policy, standing, identity))

    def judged(self, order: Order, effects: tuple[Effect, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the mistakes of an order, and what the policy's rules refuse of it."""
        policy = self._decider.policy
        if policy is None:
            return ("there is no policy yet",), ()
        others = [one for one in self.orders.standing if one.order.place != order.place]
        mistakes = tuple(wrong(order, policy))
        return mistakes, () if mistakes else tuple(refusals(order, policy, others, effects, self._wall()))

    async def place(self, wanted: Draft) -> Answer:
        """Have an order placed. Raises UnansweredError."""
        return await self._ask(lambda number: PlaceOrder(number, wanted.order, self.offset, wanted.if_version))

    async def end(self, identity: str, author: str, reason: str, if_version: int | None) -> Answer:
        """Have an order ended. Raises UnansweredError."""
        return await self._ask(lambda number: EndOrder(number, identity, author, reason, if_version))

    async def _ask(self, make: Callable[[int], Request]) -> Answer:
        self._numbers += 1
        number = self._numbers
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send(make(number))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await future
        except TimeoutError as error:
            raise UnansweredError(f"no answer within {ANSWER_WITHIN_S:g} s; look at the orders in force") from error
        finally:
            self._waiting.pop(number, None)

    # What was decided.

    def decided(self, orders: Orders | None, answers: tuple[Answer, ...]) -> None:
        """Take what a step said of orders."""
        self._unsaved = orders or self._unsaved
        self._answered.extend(answers)
        if orders is not None or answers:
            self._work.set()

    async def run(self) -> None:
        """Write orders down and give answers, and order what the schedule says, for as long as the task lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write(), name="orders")
            group.create_task(self._follow_schedule(), name="drills")

    async def _write(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._unsaved is None else AGAIN_S):
                    await self._work.wait()
            self._work.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write down what is not yet, then answer."""
        orders, self._unsaved = self._unsaved, None
        answers, self._answered = self._answered, []
        problem = await self._saved(orders) if orders is not None and self.save is not None else None
        if problem is not None and self._unsaved is None:
            self._unsaved = orders
        for answer in answers:
            future = self._waiting.get(answer.number)
            if future is None or future.done():
                continue
            if problem is not None and answer.done:
                words = f"it is in force, but it could not be written down, and a restart will forget it: {problem}"
                future.set_exception(UnansweredError(words))
            else:
                future.set_result(answer)

    async def _saved(self, orders: Orders) -> str | None:
        """Write orders down; return what went wrong."""
        assert self.save is not None
        document = json.dumps(to_json(orders, self.offset), ensure_ascii=False, separators=(",", ":"))
        try:
            await self.save(document)
        except NotSavedError as error:
            self._tell(Event("orders.unsaved", self._now(), f"orders cannot be written down: {error}", "alarm"))
            return str(error)
        return None

    async def _follow_schedule(self) -> None:
        looked = self._wall()
        while True:
            await asyncio.sleep(SCHEDULE_EVERY_S)
            policy, until = self._decider.policy, self._wall()
            for drill in due(policy, looked, until) if policy is not None else ():
                order = Order(
                    id=self.new_id(Kind.DRILL),
                    kind=Kind.DRILL,
                    author=f"schedule {drill.name}",
                    reason="scheduled in the policy",
                    at=self._now(),
                    ends=self._now() + drill.for_ms / 1000,
                    region=drill.region,
                    service=drill.service,
                    over_s=policy.orders.over_ms / 1000 if policy is not None else 0.0,
                )
                await self._begin(order)
            looked = max(looked, until)

    async def _begin(self, order: Order) -> None:
        with contextlib.suppress(UnansweredError):
            answer = await self.place(Draft(order, None, dry_run=False))
            if not answer.done:
                words = f"the drill of {order.region} by {order.author} did not begin: {'; '.join(answer.words)}"
                fields = (("region", order.region), ("author", order.author))
                self._tell(Event("drill.refused", self._now(), words, "warning", fields))
