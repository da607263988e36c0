"""A process as the admin side sees it, with values made by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from tests.support import decisions
from xds_server.controller import Controller
from xds_server.decision.what_if import Loss
from xds_server.history.archive import IN_MEMORY, Archive
from xds_server.history.chronicle import Chronicle
from xds_server.model import TOTAL_WEIGHT, Decision, Health, NMinusOne, Shed, ShedClass, Verdict, ViewKey
from xds_server.operator.access import Door
from xds_server.operator.admin_server import AdminServer
from xds_server.operator.events import EventLog
from xds_server.operator.gauges import Latest, counted
from xds_server.operator.metrics import Metrics
from xds_server.operator.order_desk import OrderDesk
from xds_server.operator.signal_log import SignalLog
from xds_server.operator.source import NotTakenError, Retried
from xds_server.operator.views import PolicyStatus, weights_json
from xds_server.protocol.events import Identified, Nacked
from xds_server.protocol.typestate import Refusal, TypeStatus
from xds_server.rollout.quarantine import Held
from xds_server.snapshot.resource import Key
from xds_server.transport.clients import ClientStatus

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

BAD = Refusal("outbound", "v2", "bad route")
HELD = Held(ViewKey("default", "us-east-1"), Key(ROUTES, "outbound"), "v2", "a", "bad route")


def decision() -> Decision:
    """Two services; checkout is down in sa-east-1, which another service does not know about."""
    regions = decisions.REGIONS
    checkout = decisions.service_decision(
        decisions.service(), {"us-east-1": 7, "eu-west-1": 3}, protect=decisions.protection(reasons=(("a", "why"),))
    )
    down = Verdict(Health.DOWN, 0.0, "2 of 2 endpoints down: connection refused", since=70.0, up=0, total=2)
    verdicts = list(checkout.verdicts)
    verdicts[regions.index("sa-east-1")] = down
    plan = NMinusOne("us-east-1", (10.0, 20.0, 0.0, 0.0), overload=1.25, added_latency_ms=12.3456)
    checkout = replace(checkout, verdicts=tuple(verdicts), n_minus_1=(plan,), overload=1.0)
    at_home = {"us-east-1": decisions.made_up("search", 0)}
    search = decisions.service_decision(decisions.service("search", at_home), {"us-east-1": 1})
    return decisions.decision(checkout, search)


def strained() -> Decision:
    """The same, with a class of checkout refused and reads that try the region which is down."""
    checkout, *others = decision().services
    trickle = decisions.row({"us-east-1": 70, "eu-west-1": 29, "sa-east-1": 1})
    views = len(decisions.REGIONS)
    shed = (Shed(10, (ShedClass("batch", 50),), "full"),) * views
    return decisions.decision(replace(checkout, shed=shed, half_open=(trickle,) * views), *others)


def swung(home: int) -> Decision:
    """Return a decision in which the first view sends so much of its traffic to the first region."""
    before = decision()
    service = before.services[0]
    row = (home, TOTAL_WEIGHT - home, *(0,) * (len(service.regions) - 2))
    return replace(before, services=(replace(service, weights=(row, *service.weights[1:])), *before.services[1:]))


def client(node_id: str, region: str = "us-east-1", stream: int = 1) -> ClientStatus:
    """An Envoy that took its clusters and rejected its routes."""
    return ClientStatus(
        stream=stream,
        peer="ipv4:127.0.0.1:5000",
        node=Identified(node_id, "web", region, "", "envoy", "1.40.0"),
        view=ViewKey("default", region),
        variant="sotw",
        since=90.0,
        types=(
            TypeStatus(CLUSTER, "c1", "c1", "c1", None, frozenset(), 4),
            TypeStatus(ROUTES, "r2", "r1", "r1", Nacked(ROUTES, "r2", "n", "bad route", ()), frozenset(), 1, (BAD,)),
        ),
        latest={CLUSTER: "c1", ROUTES: "r2"},
    )


def in_memory() -> Chronicle:
    """A history that goes with the test."""
    return Chronicle(Archive(None, IN_MEMORY, print), weights_json, time.time, print, awaited_s=60.0)


@dataclass
class Process:
    """The `Source` of the tests; set what the test needs."""

    reason: str | None = None
    decided: Decision | None = None
    lost: tuple[Loss, ...] = ()
    status: PolicyStatus = PolicyStatus("policy.yaml", "abc123")  # noqa: RUF009  (frozen)
    connected: tuple[ClientStatus, ...] = ()
    log: EventLog = field(default_factory=EventLog)
    chronicle: Chronicle | None = None
    said: SignalLog = field(default_factory=SignalLog)
    objection: str = ""
    reports: list[bytes] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    held: tuple[Held, ...] = ()
    retries: int = 0
    retried_by: str = ""
    desk: OrderDesk = field(
        default_factory=lambda: OrderDesk(Controller(), lambda _: None, (lambda: 100.0, lambda: 1e9), lambda _: None)
    )

    def now(self) -> float:
        return 100.0

    def waiting_for(self) -> str | None:
        return self.reason

    def decision(self) -> Decision | None:
        return self.decided

    async def losses(self, demand: float) -> tuple[Loss, ...]:
        return tuple(replace(loss, headroom=demand) for loss in self.lost)

    def policy(self) -> PolicyStatus:
        return self.status

    def events(self) -> EventLog:
        return self.log

    def history(self) -> Chronicle:
        self.chronicle = self.chronicle or in_memory()
        return self.chronicle

    def clients(self) -> tuple[ClientStatus, ...]:
        return self.connected

    def signals(self) -> SignalLog:
        return self.said

    def report(self, body: bytes, sender: str, address: str) -> int:
        if self.objection:
            raise NotTakenError(self.objection)
        self.reports.append(body)
        self.senders.append(sender or address)
        return 1

    def quarantined(self) -> tuple[Held, ...]:
        return self.held

    def retry(self, author: str) -> Retried:
        self.retries += 1
        self.retried_by = author
        return Retried(len(self.held), 1, "abc123")

    def order_desk(self) -> OrderDesk:
        return self.desk

    async def metrics(self) -> bytes:
        latest = Latest(self.decision(), self.policy(), clients=counted(self.clients()))
        return await Metrics(lambda: latest).render()


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    kind: str
    text: str
    json: Any


class Site:
    """A running admin side and a client for it."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.session = session

    async def get(self, path: str, method: str = "GET") -> Answer:
        return await self.send(method, path)

    async def post(self, path: str, body: bytes, kind: str = "application/json") -> Answer:
        return await self.send("POST", path, data=body, headers={"content-type": kind})

    async def send(self, method: str, path: str, **more: Any) -> Answer:
        async with self.session.request(method, self.base + path, **more) as response:
            is_json = "json" in response.content_type
            text = await response.text()
            return Answer(response.status, response.content_type, text, await response.json() if is_json else None)


@asynccontextmanager
async def serving(process: Process, names: tuple[str, ...] = (), door: Door | None = None) -> AsyncIterator[Site]:
    """Serve a process' admin side on a free port."""
    server = AdminServer(process, "127.0.0.1", 0, names, door=door)
    address = await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Site(f"http://{address}", session)
    finally:
        await server.stop()
        if process.chronicle is not None:
            process.chronicle.archive.close()
