"""The pages of `/api/v1/history`: reads what is asked for from the query, and answers from the chronicle.

A bad parameter is a 400 that shows the form. A question that takes too long, or a disk that fails, is a 503: history is
a help, and its absence must be told from "nothing happened".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from xds_server.history.archive import Asked
from xds_server.history.chronicle import Chronicle
from xds_server.operator.exchange import needed, number
from xds_server.operator.history_json import Json, difference_json, entries_json, in_force_json, series_json
from xds_server.screens.times import BadTimeError, moment
from xds_server.store.directory import StateError

LIMIT, MOST = 100, 1_000
POINTS = 600
COUNTED = 10_000
"""Events between two times that are counted by kind."""

HOUR_S = 3600.0
Answer = TypeVar("Answer")


class HistoryPages:
    """Answers from one chronicle. `wall` is the time of day."""

    def __init__(self, chronicle: Callable[[], Chronicle], wall: Callable[[], float]) -> None:
        self._chronicle = chronicle
        self._wall = wall

    def pages(self) -> Mapping[str, tuple[str, Callable[[Request], Awaitable[Json]]]]:
        """Return what each path is for, and its handler."""
        return {
            "/api/v1/history": ("what was kept; ?from=-15m&to=&region=&service=&kind=&limit=&before=", self._entries),
            "/api/v1/history/decision": ("what was in force; ?service=S&at=TIME", self._decision),
            "/api/v1/history/series": ("weights and verdicts over time; ?service=S&view=&from=-1h&to=", self._series),
            "/api/v1/history/diff": ("what changed between two times; ?from=-1h&to=", self._diff),
        }

    async def _entries(self, request: Request) -> Json:
        words = request.query_params
        limit = number(request, "limit") or LIMIT
        asked = Asked(
            since=self._time(request, "from", 0.0),
            until=self._time(request, "to", self._wall() + HOUR_S),
            service=words.get("service", ""),
            region=words.get("region", ""),
            kind=words.get("kind", ""),
            before=number(request, "before"),
            limit=min(limit, MOST),
        )
        chronicle = await self._current()
        return entries_json(await _asked(chronicle.archive.entries(asked)), asked.limit)

    async def _decision(self, request: Request) -> Json:
        service, at = needed(request, "service"), self._time(request, "at", self._wall())
        chronicle = await self._current()
        for found in await _asked(chronicle.archive.in_force(at, service)):
            return in_force_json(found)
        raise HTTPException(404, f"no decision for {service!r} at that time is kept")

    async def _series(self, request: Request) -> Json:
        service, view = needed(request, "service"), request.query_params.get("view", "")
        span = self._span(request)
        chronicle = await self._current()
        points, thinned = await _asked(chronicle.archive.series(service, *span, POINTS))
        return series_json(points, service, view, span, thinned=thinned)

    async def _diff(self, request: Request) -> Json:
        since, until = self._span(request)
        archive = (await self._current()).archive
        before, after = await _asked(archive.in_force(since)), await _asked(archive.in_force(until))
        happened = await _asked(archive.entries(Asked(since, until, limit=COUNTED)))
        return await asyncio.to_thread(difference_json, before, after, happened, (since, until))

    async def _current(self) -> Chronicle:
        chronicle = self._chronicle()
        await chronicle.written()
        return chronicle

    def _span(self, request: Request) -> tuple[float, float]:
        until = self._time(request, "to", self._wall())
        since = self._time(request, "from", until - HOUR_S)
        if since > until:
            raise HTTPException(400, "from is later than to")
        return since, until

    def _time(self, request: Request, name: str, default: float) -> float:
        text = request.query_params.get(name)
        if not text:
            return default
        try:
            return moment(text, self._wall())
        except BadTimeError as error:
            raise HTTPException(400, f"{name}: {error}") from error


async def _asked(answer: Awaitable[Answer]) -> Answer:
    try:
        return await answer
    except StateError as error:
        raise HTTPException(503, f"history cannot be asked: {error}") from error
