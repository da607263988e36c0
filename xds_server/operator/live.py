"""`GET /api/v1/stream`: what pages follow, and the response that sends it to one of them."""

from __future__ import annotations

import time

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from xds_server.operator.alarms import Picture, alarm_json, alarms
from xds_server.operator.broadcast import MOST_OF_ONE, MOST_VIEWERS, Broadcast, Taken, Topic
from xds_server.operator.live_views import live_decision, live_events, live_fleet, live_traffic
from xds_server.operator.order_json import orders_json
from xds_server.operator.source import Source

TRAFFIC_EVERY_S = 2.0


def picture(source: Source) -> Picture:
    """Return all that is in force at this moment."""
    return Picture(
        decision=source.decision(),
        policy=source.policy(),
        clients=source.clients(),
        quarantined=source.quarantined(),
        held=source.events().held.now(),
        orders=source.order_desk().orders.standing,
        waiting_for=source.waiting_for(),
        now=source.now(),
        wall=time.time(),
    )


def live_topics(source: Source) -> tuple[Topic, ...]:
    """Return what is followed; each topic takes immutable values, to be written out in a thread."""

    def decision() -> Taken:
        decided, policy, waiting = source.decision(), source.policy(), source.waiting_for()
        now, wall = source.now(), time.time()
        return Taken((decided, policy, waiting), lambda: live_decision(decided, policy, waiting, now, wall))

    def alarm() -> Taken:
        found = [one._replace(since=None if one.since is None else round(one.since)) for one in alarms(picture(source))]
        return Taken(found, lambda: {"alarms": [alarm_json(one) for one in found]})

    def event() -> Taken:
        value = live_events(source.events())
        return Taken(value["last"], lambda: value)

    def fleet() -> Taken:
        clients, held, now = source.clients(), source.quarantined(), source.now()
        return Taken((clients, held), lambda: live_fleet(clients, held, now))

    def orders() -> Taken:
        desk = source.order_desk()
        value, offset = desk.orders, desk.offset
        return Taken(value, lambda: orders_json(value, offset))

    def traffic() -> Taken:
        reports = source.signals().loads(source.now())
        return Taken(reports, lambda: live_traffic(reports))

    return (
        Topic("decision", decision),
        Topic("alarms", alarm, every_s=0.5),
        Topic("event", event),
        Topic("orders", orders),
        Topic("fleet", fleet, every_s=1.0),
        Topic("traffic", traffic, every_s=TRAFFIC_EVERY_S),
    )


def stream(broadcast: Broadcast, who: str) -> Response:
    """Return a stream to a viewer of this name, if it has one. Raises a 503 when as many follow as are let in."""
    if broadcast.viewers >= MOST_VIEWERS:
        raise HTTPException(503, f"{MOST_VIEWERS} viewers follow already, as many as are let in")
    if broadcast.viewers_of(who) >= MOST_OF_ONE:
        raise HTTPException(503, f"{MOST_OF_ONE} follow already as {who}, as many as are let in by one name")
    return _Live(broadcast, who)


class _Live(StreamingResponse):
    """Counts as a viewer for as long as it is sent."""

    def __init__(self, broadcast: Broadcast, who: str) -> None:
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        super().__init__(broadcast.frames(), media_type="text/event-stream", headers=headers)
        self._broadcast = broadcast
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until either side ends it."""
        with self._broadcast.viewing(self._who):
            await super().__call__(scope, receive, send)
