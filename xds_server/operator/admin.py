"""The admin side over HTTP: what people, Prometheus and platforms ask the process, and the few orders they give.

An order is a POST with a JSON content type, from a program or from our own page: `same_origin` tells those from pages
elsewhere in somebody's browser, which reaches what that person reaches.

The app sees the process through `Source` alone, never the controller: values that are already there, so that a scrape
cannot make a decision late. Errors are problem details (RFC 9457), so that scripts need not parse pages.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from xds_server import __version__
from xds_server.decision.what_if import MOST_DEMAND, Loss
from xds_server.history.chronicle import Chronicle
from xds_server.model import Decision
from xds_server.operator.access import Access, Door, author_of
from xds_server.operator.broadcast import Broadcast
from xds_server.operator.events import KEPT, EventLog
from xds_server.operator.history_pages import HistoryPages
from xds_server.operator.live import live_topics, picture, stream
from xds_server.operator.openapi.document import document
from xds_server.operator.order_desk import OrderDesk
from xds_server.operator.orders_api import OrdersApi
from xds_server.operator.plans import plans_json
from xds_server.operator.problems import problem
from xds_server.operator.same_origin import TrustedHosts, cross_origin
from xds_server.operator.signal_log import SignalLog
from xds_server.operator.status_json import status_json
from xds_server.operator.views import PolicyStatus, decision_json, events_json, fleet_json, policy_json
from xds_server.operator.web_page import WebPage, wants_page
from xds_server.rollout.quarantine import Held
from xds_server.transport.clients import ClientStatus

MOST_BODY = 256 * 1024
"""A thousand reports."""

MOST_NAMED = 20

Handler = Callable[[Request], Coroutine[None, None, Response]]


class NotTakenError(Exception):
    """What was sent is not taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry tries again: resources kept back, clients that rejected something, a policy rolled back."""

    quarantined: int
    clients: int
    policy: str | None


class Source(Protocol):
    """What the admin side may see of the process."""

    def now(self) -> float:
        """Return the clock that the values below are dated by (monotonic seconds)."""

    def waiting_for(self) -> str | None:
        """Return why the process is not ready, in words; None when it is."""

    def decision(self) -> Decision | None:
        """Return the decision in force."""

    async def losses(self, demand: float) -> tuple[Loss, ...]:
        """Return what the loss of each region would do at `demand` times the present demand."""

    def policy(self) -> PolicyStatus:
        """Return the state of the policy and of its file."""

    def events(self) -> EventLog:
        """Return the recent events."""

    def history(self) -> Chronicle:
        """Return what is kept of the past."""

    def clients(self) -> tuple[ClientStatus, ...]:
        """Return who is connected."""

    async def metrics(self) -> bytes:
        """Return the metrics in Prometheus' text format."""

    def signals(self) -> SignalLog:
        """Return what each source of signals last said."""

    def quarantined(self) -> tuple[Held, ...]:
        """Return what is kept back from clients because one of them rejected it."""

    def retry(self, author: str) -> Retried:
        """Try again what Envoys rejected; return what that is. `author` is who was authenticated, or empty."""

    def order_desk(self) -> OrderDesk:
        """Return where orders are given."""

    def report(self, body: bytes, sender: str, address: str) -> int:
        """Take an agent's reports, as JSON; return how many. Raises NotTakenError.

        `sender` is who was authenticated, or empty; `address` is where the request came from.
        """


class AdminApp:
    """The handlers of one admin side. `names` are those it may be called by, besides addresses and `localhost`."""

    def __init__(self, source: Source, names: Collection[str] = (), door: Door | None = None) -> None:
        self._source = source
        self._names = names
        self._door = door or Door()
        self._page = WebPage()
        self.broadcast = Broadcast(*live_topics(source))
        self._orders = OrdersApi(source.order_desk(), _checked_body)
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
        return _json(await asyncio.to_thread(status_json, seen))

    async def _openapi(self, _: Request) -> Response:
        return _json(document(__version__))

    async def _stream(self, request: Request) -> Response:
        return stream(self.broadcast, author_of(request))

    async def _decision(self, request: Request) -> Response:
        source, service = self._source, request.query_params.get("service")
        found = decision_json(source.decision(), source.policy(), source.now(), service)
        if service is not None and not found["services"]:
            raise HTTPException(404, _no_service(service, source.decision()))
        return _json(found)

    async def _events(self, request: Request) -> Response:
        log = self._source.events()
        limit = _number(request, "limit", KEPT)
        after = _number(request, "after", -1)
        entries = log.newest(limit) if after < 0 else log.after(after, limit)
        return _json(events_json(log.started, log.last, entries))

    async def _fleet(self, _: Request) -> Response:
        source = self._source
        return _json(fleet_json(source.clients(), source.quarantined(), source.now()))

    async def _plan(self, request: Request) -> Response:
        demand = _factor(request, "demand")
        without, service = request.query_params.get("without"), request.query_params.get("service")
        found = await self._source.losses(demand)
        for what, name, names in (
            ("region with a deployment", without, {loss.without for loss in found}),
            ("service", service, {loss.service for loss in found}),
        ):
            if name is not None and name not in names:
                raise HTTPException(404, _unknown(what, name, names))
        kept = [x for x in found if without in {None, x.without} and service in {None, x.service}]
        return _json(plans_json(kept, demand, self._source.policy().digest or ""))

    async def _policy(self, _: Request) -> Response:
        return _json(policy_json(self._source.policy()))

    async def _signals(self, _: Request) -> Response:
        return _json(self._source.signals().json(self._source.now()))

    async def _report(self, request: Request) -> Response:
        _check_sender(request)
        try:
            sent = await _body(request)
            taken = self._source.report(sent, author_of(request), request.client.host if request.client else "")
        except NotTakenError as error:
            raise HTTPException(400, str(error)) from error
        return _json({"accepted": taken})

    async def _retry(self, request: Request) -> Response:
        _check_sender(request)
        await _body(request)
        return _json(asdict(self._source.retry(author_of(request))))


def _check_sender(request: Request) -> None:
    """Refuse what a page in somebody's browser can send."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send it as content-type: application/json")
    refusal = cross_origin(request.headers, request.url.scheme)
    if refusal is not None:
        raise HTTPException(403, refusal)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise HTTPException(400, f"{name} must be a whole number from 0, not {text[:40]!r}")
    return int(text)


async def _checked_body(request: Request) -> bytes:
    _check_sender(request)
    return await _body(request)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BODY:
            raise HTTPException(413, f"at most {MOST_BODY // 1024} KiB are taken at once")
    return bytes(body)


def _no_service(name: str, decision: Decision | None) -> str:
    return _unknown("service", name, [service.service for service in decision.services] if decision is not None else [])


def _unknown(what: str, name: str, names: Collection[str]) -> str:
    """Return what to say where a name is asked for that is none of those there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"there is no {what} {name[:80]!r}; there is: {', '.join(sorted(names)[:MOST_NAMED]) or 'none yet'}{more}"


def _factor(request: Request, name: str) -> float:
    text = request.query_params.get(name, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= MOST_DEMAND:
        raise HTTPException(400, f"{name} must be a number above 0, at most {MOST_DEMAND:g}, not {text[:40]!r}")
    return factor


def _page(answer: Callable[[Request], Awaitable[object]]) -> Handler:
    async def page(request: Request) -> Response:
        return _json(await answer(request))

    return page


def _json(value: object) -> Response:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body + "\n", media_type="application/json", headers={"cache-control": "no-store"})


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
