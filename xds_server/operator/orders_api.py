"""The HTTP side of orders: GET and POST /api/v1/orders, POST /api/v1/orders/{id}/end."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from xds_server.operator.access import author_of
from xds_server.operator.exchange import as_json, sent
from xds_server.operator.order_desk import OrderDesk, UnansweredError
from xds_server.operator.order_json import (
    BadRequestError,
    Draft,
    draft,
    effects_json,
    ending,
    orders_json,
    standing_json,
)
from xds_server.operator.problems import problem
from xds_server.orders.preview import Effect
from xds_server.orders.types import Answer, Result

STATUS: Mapping[Result, int] = MappingProxyType(
    {
        Result.CREATED: 201,
        Result.EXISTS: 200,
        Result.ENDING: 200,
        Result.WRONG: 400,
        Result.MISSING: 404,
        Result.CONFLICT: 409,
        Result.REFUSED: 422,
        Result.VERSION_NEEDED: 428,
    }
)


class OrdersApi:
    """The handlers."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk

    async def list(self, _: Request) -> Response:
        """Return the orders in force, and those that ended lately."""
        return as_json(orders_json(self._desk.orders, self._desk.offset))

    async def place(self, request: Request) -> Response:
        """Place an order, or say what it would do."""
        body, policy = await _body(request), self._desk.policy
        if policy is None:
            raise HTTPException(503, "there is no policy in force yet")
        kind = str(body.get("kind", "")) if isinstance(body, dict) else ""
        try:
            wanted = draft(body, policy.orders, self._desk.new_id(kind), author_of(request), self._desk.now())
        except BadRequestError as error:
            raise HTTPException(400, str(error)) from error
        version = self._desk.orders.version  # of what the plan is worked out from
        effects = await self._desk.effects(wanted.order)
        return self._dry(wanted, effects, version) if wanted.dry_run else await self._real(wanted, effects)

    async def end(self, request: Request) -> Response:
        """End an order, or say what that would do."""
        identity = request.path_params["id"]
        try:
            author, reason, version, dry_run = ending(await _body(request), author_of(request))
        except BadRequestError as error:
            raise HTTPException(400, str(error)) from error
        if dry_run:
            return await self._dry_end(identity)
        if not author:
            raise HTTPException(400, "say who you are: author")
        answer = await self._answered(self._desk.end(identity, author, reason, version))
        return as_json({"version": answer.version, "id": answer.id}) if answer.done else _refused(answer)

    def _dry(self, wanted: Draft, effects: tuple[Effect, ...], version: int) -> Response:
        mistakes, refused = self._desk.judged(wanted.order, effects)
        if mistakes:
            raise HTTPException(400, "; ".join(mistakes))
        return as_json({"version": version, "plan": effects_json(effects), "refusals": list(refused)})

    async def _dry_end(self, identity: str) -> Response:
        version, effects = self._desk.orders.version, await self._desk.effects_of_end(identity)
        if effects is None:
            raise HTTPException(404, f"no order {identity[:40]!r} is in force")
        return as_json({"version": version, "plan": effects_json(effects), "refusals": []})

    async def _real(self, wanted: Draft, effects: tuple[Effect, ...]) -> Response:
        answer = await self._answered(self._desk.place(wanted))
        if not answer.done:
            return _refused(answer)
        standing = next((one for one in self._desk.orders.standing if one.order.id == answer.id), None)
        shown = standing_json(standing, self._desk.offset) if standing is not None else {"id": answer.id}
        body = {"version": answer.version, "order": shown, "plan": effects_json(effects), "broken": list(answer.words)}
        return as_json(body, STATUS[answer.result])

    async def _answered(self, asked: Awaitable[Answer]) -> Answer:
        try:
            return await asked
        except UnansweredError as error:
            raise HTTPException(503, str(error)) from error


async def _body(request: Request) -> object:
    try:
        return json.loads(await sent(request))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error


def _refused(answer: Answer) -> Response:
    words = list(answer.words)
    refused = words if answer.result is Result.REFUSED else []
    return problem(STATUS[answer.result], "; ".join(words), version=answer.version, refusals=refused)
