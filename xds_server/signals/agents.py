"""Reports by agents: what a region's own monitoring, a load balancer or a person's script says of it, for a time.

One set of messages (protos/xds_server/agent/v1/agent.proto) in two forms, gRPC on the xDS port and JSON over HTTP on
the admin address, and one judge of both. A request is taken whole or not at all, with every reason: half a report that
was taken looks like one that was. Names must be the policy's; numbers are bounded, so that no report can mean infinity.

A reporter's name is made up by whoever sends it. So names are counted apart for each sender, by token, certificate or
address, and a report carries the authenticated name: nobody can use up another's names or speak under them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from xds_server.agent.v1 import agent_pb2
from xds_server.model import AgentReport
from xds_server.protocol.identity import host_of, identities
from xds_server.signals.places import Places
from xds_server.signals.streams import Counts

SERVICE = "xds_server.agent.v1.ReportService"
MOST_REPORTS = 1_000
MOST_BYTES = 256 * 1024
MOST_REPORTERS = 100
"""Names of one sender at a time; more are refused until some have been silent for the longest time to live."""

MOST_SENDERS = 1_000
"""Past that the one that has been silent longest is forgotten, which costs it nothing."""

DEFAULT_TTL_S, LEAST_TTL_S, MOST_TTL_S = 30.0, 1.0, 3_600.0
MOST_UTILISATION = 10.0
MOST_RPS = 1e9
MOST_NAME, MOST_DETAIL = 100, 200

_HEALTH = {
    agent_pb2.HEALTH_UNSPECIFIED: None,
    agent_pb2.HEALTHY: True,
    agent_pb2.UNHEALTHY: False,
}


Objection = Callable[[tuple[str, ...], str], str]
"""Says why a peer, by the names in its certificate, may not report on a region; empty if it may."""


class Sender(NamedTuple):
    """Who sends: the name that a token or certificate proves, empty without one, and the address it comes from."""

    name: str = ""
    address: str = ""


NOBODY = Sender()


class BadReportError(ValueError):
    """A request is not taken; `problems` are all the reasons, in words."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class AgentDesk:
    """Takes reports from agents and hands them to `emit`."""

    def __init__(
        self,
        emit: Callable[[AgentReport], None],
        places: Places,
        now: Callable[[], float],
        objection: Objection = lambda *_: "",
    ) -> None:
        self._emit = emit
        self._objection = objection
        self._places = places
        self._now = now
        self._heard: dict[Sender, dict[str, float]] = {}
        self.counts = Counts("agents")

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what the gRPC server adds."""
        methods = {"Report": grpc.unary_unary_rpc_method_handler(self._report)}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def take_json(self, body: bytes, sender: Sender = NOBODY) -> int:
        """Take a ReportRequest as JSON; return how many reports were in it. Raises BadReportError."""
        message = agent_pb2.ReportRequest()
        try:
            json_format.Parse(body, message, max_recursion_depth=8)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            self.counts.ignored += 1
            raise BadReportError((f"not a report: {error}",)) from error
        return self.take(message, sender)

    def take(self, message: agent_pb2.ReportRequest, sender: Sender = NOBODY) -> int:
        """Take a request; return how many reports were in it. Raises BadReportError."""
        now = self._now()
        names = self._names(sender, now)
        problems = tuple(self._problems(message, names))
        if problems:
            self.counts.ignored += max(1, len(message.reports))
            raise BadReportError(problems)
        names[message.reporter] = now
        self._remember(sender, names)
        self.counts.messages += 1
        for report in message.reports:
            self._emit(_report(message.reporter, report, sender.name, now))
        return len(message.reports)

    def _names(self, sender: Sender, now: float) -> dict[str, float]:
        """Return under which names a sender has reported lately, and when last."""
        names = self._heard.get(_key(sender), {})
        if len(names) >= MOST_REPORTERS:
            names = {name: at for name, at in names.items() if now - at < MOST_TTL_S}
        return names

    def _remember(self, sender: Sender, names: dict[str, float]) -> None:
        self._heard.pop(_key(sender), None)
        self._heard[_key(sender)] = names
        if len(self._heard) > MOST_SENDERS:
            del self._heard[next(iter(self._heard))]

    def _problems(self, message: agent_pb2.ReportRequest, names: Collection[str]) -> Iterator[str]:
        reporter = message.reporter
        if not reporter or len(reporter) > MOST_NAME or not reporter.isprintable():
            yield f"reporter: write who reports, at most {MOST_NAME} printable characters"
        elif reporter not in names and len(names) >= MOST_REPORTERS:
            yield f"reporter: you report under {MOST_REPORTERS} other names already"
        if not 1 <= len(message.reports) <= MOST_REPORTS:
            yield f"reports: 1 to {MOST_REPORTS} are taken at once, not {len(message.reports)}"
            return
        for index, report in enumerate(message.reports):
            for problem in self._wrong_names(report):
                yield f"reports[{index}].{problem}"
            for problem in _wrong_numbers(report):
                yield f"reports[{index}].{problem}"

    def _wrong_names(self, report: agent_pb2.Report) -> Iterator[str]:
        if not self._places.is_region(report.region):
            yield f"region: {report.region[:MOST_NAME]!r} is not a region of the policy"
        elif report.service and not self._places.is_service(report.service, report.region):
            yield f"service: {report.service[:MOST_NAME]!r} is not deployed in {report.region}"
        if report.view and not self._places.is_region(report.view):
            yield f"view: {report.view[:MOST_NAME]!r} is not a region of the policy"

    async def _report(self, data: bytes, context: Any) -> bytes:
        try:
            message = agent_pb2.ReportRequest.FromString(data)
            who = identities(context.auth_context())
            if denied := self._denial(message, who):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, denied)
            taken = self.take(message, Sender(f"certificate {who[0]}" if who else "", host_of(context.peer())))
        except (BadReportError, DecodeError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:2_000])
        answer: bytes = agent_pb2.ReportResponse(accepted=taken).SerializeToString()
        return answer

    def _denial(self, message: agent_pb2.ReportRequest, who: tuple[str, ...]) -> str:
        """Return why the peer may not report on one of these regions; names that are no regions come later."""
        regions = sorted({report.region for report in message.reports if self._places.is_region(report.region)})
        denials = (self._objection(who, region) for region in regions)
        return next(filter(None, denials), "")


def _wrong_numbers(report: agent_pb2.Report) -> Iterator[str]:
    if report.health not in _HEALTH:
        yield "health: write HEALTHY or UNHEALTHY, or leave it out"
    if report.health == agent_pb2.HEALTH_UNSPECIFIED and not (
        report.HasField("utilisation") or report.HasField("capacity_rps")
    ):
        yield "health: says nothing; report health, utilisation or capacity_rps"
    if report.HasField("utilisation") and not 0 <= report.utilisation <= MOST_UTILISATION:
        yield f"utilisation: a share from 0 to {MOST_UTILISATION:g}, where 0.7 is 70 %"
    if report.HasField("capacity_rps") and not 0 <= report.capacity_rps <= MOST_RPS:
        yield f"capacity_rps: requests per second from 0 to {MOST_RPS:g}"
    if report.HasField("ttl") and not LEAST_TTL_S <= _seconds(report) <= MOST_TTL_S:
        yield f"ttl: from {LEAST_TTL_S:g}s to {MOST_TTL_S:g}s"
    if len(report.detail) > MOST_DETAIL:
        yield f"detail: at most {MOST_DETAIL} characters"


def _seconds(report: agent_pb2.Report) -> float:
    return report.ttl.seconds + report.ttl.nanos / 1e9


def _key(sender: Sender) -> Sender:
    """Return by what a sender is known: its name if that is proven, wherever it is, else its address."""
    return Sender(sender.name) if sender.name else sender


def _report(reporter: str, report: agent_pb2.Report, sender: str, now: float) -> AgentReport:
    return AgentReport(
        reporter=reporter,
        region=report.region,
        service=report.service,
        healthy=_HEALTH[report.health],
        utilisation=report.utilisation if report.HasField("utilisation") else None,
        capacity_rps=report.capacity_rps if report.HasField("capacity_rps") else None,
        detail=report.detail,
        ttl_s=_seconds(report) if report.HasField("ttl") else DEFAULT_TTL_S,
        at=now,
        view=report.view,
        sender=sender,
    )
