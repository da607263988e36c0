"""The admin side over HTTP: what people, Prometheus and platforms ask the process, and the few orders they give.

The app sees the process through `Source` alone, never the controller, so that a scrape cannot make a decision late.
Errors are problem details (RFC 9457), so that scripts need not parse pages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from xds_server import __version__
from xds_server.model import Decision
from xds_server.operator.access import Access, Door, author_of
from xds_server.operator.broadcast import Broadcast
from xds_server.operator.events import KEPT
from xds_server.operator.exchange import as_json, factor, number, sent, unknown
from xds_server.operator.history_pages import HistoryPages
from xds_server.operator.live import live_topics, picture, stream
from xds_server.operator.openapi.document import document
from xds_server.operator.orders_api import OrdersApi
from xds_server.operator.plans import plans_json
from xds_server.operator.problems import problem
from xds_server.operator.same_origin import TrustedHosts
from xds_server.operator.source import NotTakenError, Source
from xds_server.operator.status_json import status_json
from xds_server.operator.views import decision_json, events_json, fleet_json, policy_json
from xds_server.operator.web_page import WebPage, wants_page

Handler = Callable[[Request], Coroutine[None, None, Response]]


class AdminApp:
    """The handlers of one admin side. `names` are those it may be called by, besides addresses and `localhost`."""

    def __init__(self, source: Source, names: Collection[str] = (), door: Door | None = None) -> None:
        self._source = source
        self._names = names
        self._door = door or Door()
        self._page = WebPage()
        self.broadcast = Broadcast(*live_topics(source))
        self._orders = OrdersApi(source.order_desk())
        self._pages: dict[str, tuple[str, Handler]] = {
            "/": ("this list; the web page, in a browser", self._index),
            "/page/{name}": ("the parts of the web page", self._page.part),
            "/live": ("200 while the process runs", self._live),
            "/ready": ("200 when it serves decisions, 503 with the reason before", self._ready),
            "/metrics": ("for Prometheus", self._metrics),
            "/api/v1/status": ("everything on one screen: regions, services, clients, alarms that hold", self._status),
            "/api/v1/stream": ("what is new, as server-sent events", self._stream),
            "/api/v1/openapi.json": ("this API, as OpenAPI 3.1", self._openapi),
            "/api/v1/decision": ("weights, verdicts, plans, protection, with reasons; ?service=S", self._decision),
            "/api/v1/events": ("what happened; ?after=SEQ&limit=N pages forward", self._events),
            "/api/v1/fleet": ("connected Envoys, what each has and rejected, and what is kept back", self._fleet),
            "/api/v1/orders": ("orders in force, and those that ended lately", self._orders.list),
            "/api/v1/plan": ("what if a region were gone; ?without=REGION&service=S&demand=1.5", self._plan),
            "/api/v1/policy": ("the policy in force, and the errors of a refused edit", self._policy),
            "/api/v1/signals": ("what each source of signals last said, and how old it is", self._signals),
        }
        history = HistoryPages(source.history, time.time).pages()
        self._pages |= {path: (what, _page(handler)) for path, (what, handler) in history.items()}
        self._posts = {
            "/api/v1/orders": (
                "POST: evacuate, drill, weight, hold, capacity; with dry_run what it would do",
                self._orders.place,
            ),
            "/api/v1/orders/{id}/end": ("POST: end an order", self._orders.end),
            "/api/v1/reports": ("POST: what an agent says of a region, as JSON", self._report),
            "/api/v1/retry": ("POST: try again what Envoys rejected, as JSON: {}", self._retry),
        }

    def app(self) -> Starlette:
        """Return the ASGI application."""
        app = Starlette(
            routes=list(self._routes()),
            middleware=[Middleware(TrustedHosts, names=self._names), Middleware(Access, door=self._door)],
            exception_handlers={HTTPException: _problem, 500: _crashed},
        )
        app.router.redirect_slashes = False
        return app

    def _routes(self) -> Iterator[Route]:
        """Yield one route a path, so that a wrong method is told all the right ones."""
        for path in self._pages | self._posts:
            get, post = (handlers.get(path, ("", _nothing))[1] for handlers in (self._pages, self._posts))
            methods = ["GET"] * (path in self._pages) + ["POST"] * (path in self._posts)
            yield Route(path, _by_method(get, post), methods=methods)

    async def _index(self, request: Request) -> Response:
        if wants_page(request):
            return self._page.index()
        pages = [*self._pages.items(), *self._posts.items()]
        width = max(len(path) for path, _ in pages)
        lines = [f"{path:<{width}}  {what}" for path, (what, _) in pages]
        return PlainTextResponse("xds-server\n\n" + "\n".join(lines) + "\n", headers={"vary": "accept"})

    async def _live(self, _: Request) -> Response:
        return PlainTextResponse("live\n")

    async def _ready(self, _: Request) -> Response:
        reason = self._source.waiting_for()
        return PlainTextResponse("ready\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    async def _metrics(self, _: Request) -> Response:
        text = await self._source.metrics()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _status(self, _: Request) -> Response:
        seen = picture(self._source)
        return as_json(await asyncio.to_thread(status_json, seen))

    async def _openapi(self, _: Request) -> Response:
        return as_json(document(__version__))

    async def _stream(self, request: Request) -> Response:
        return stream(self.broadcast, author_of(request))

    async def _decision(self, request: Request) -> Response:
        source, service = self._source, request.query_params.get("service")
        found = decision_json(source.decision(), source.policy(), source.now(), service)
        if service is not None and not found["services"]:
            raise HTTPException(404, _no_service(service, source.decision()))
        return as_json(found)

    async def _events(self, request: Request) -> Response:
        log = self._source.events()
        limit, after = number(request, "limit"), number(request, "after")
        limit = KEPT if limit is None else limit
        entries = log.newest(limit) if after is None else log.after(after, limit)
        return as_json(events_json(log.started, log.last, entries))

    async def _fleet(self, _: Request) -> Response:
        source = self._source
        return as_json(fleet_json(source.clients(), source.quarantined(), source.now()))

    async def _plan(self, request: Request) -> Response:
        demand = factor(request, "demand")
        without, service = request.query_params.get("without"), request.query_params.get("service")
        found = await self._source.losses(demand)
        for what, name, names in (
            ("region with a deployment", without, {loss.without for loss in found}),
            ("service", service, {loss.service for loss in found}),
        ):
            if name is not None and name not in names:
                raise HTTPException(404, unknown(what, name, names))
        kept = [x for x in found if without in {None, x.without} and service in {None, x.service}]
        return as_json(plans_json(kept, demand, self._source.policy().digest or ""))

    async def _policy(self, _: Request) -> Response:
        return as_json(policy_json(self._source.policy()))

    async def _signals(self, _: Request) -> Response:
        return as_json(self._source.signals().json(self._source.now()))

    async def _report(self, request: Request) -> Response:
        body = await sent(request)
        try:
            taken = self._source.report(body, author_of(request), request.client.host if request.client else "")
        except NotTakenError as error:
            raise HTTPException(400, str(error)) from error
        return as_json({"accepted": taken})

    async def _retry(self, request: Request) -> Response:
        await sent(request)
        return as_json(asdict(self._source.retry(author_of(request))))


def _no_service(name: str, decision: Decision | None) -> str:
    return unknown("service", name, [service.service for service in decision.services] if decision is not None else [])


def _page(made: Callable[[Request], Awaitable[object]]) -> Handler:
    async def page(request: Request) -> Response:
        return as_json(await made(request))

    return page


def _by_method(get: Handler, post: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return await (post if request.method == "POST" else get)(request)

    return handle


async def _nothing(_: Request) -> Response:
    raise AssertionError


async def _crashed(_: Request, _error: Exception) -> Response:
    """Answer for a bug of ours, which is logged besides."""
    return problem(500, "a bug of this server; its log has the details")


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.headers)
