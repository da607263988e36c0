"""Every operation of the HTTP API, as a table: what it takes, what it answers, what may be wrong. Pure.

What every operation may answer is not in the table: 401 and 403 follow from the role it needs, 421 from the name it is
called by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.decision.what_if import MOST_DEMAND
from xds_server.operator.openapi.forms import Json, number, text, whole

JSON, TEXT, STREAM = "application/json", "text/plain", "text/event-stream"

_TIME = text("RFC 3339, or back from now: -15m (s, m, h, d, w).")
_COUNT = whole(minimum=0, maximum=999_999_999_999_999)
_SERVICE, _REGION = text("Only this service."), text("Only this region.")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answers` are schemas by status; an empty name is text."""

    summary: str
    answers: Mapping[int, str]
    query: Mapping[str, Json] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    """Of the query."""
    body: str = ""
    errors: tuple[int, ...] = ()
    kind: str = JSON


def operations() -> dict[tuple[str, str], Operation]:
    """Return the table, by method and path."""
    return {**_open(), **_now(), **_past(), **_given()}


def _open() -> dict[tuple[str, str], Operation]:
    return {
        ("GET", "/live"): Operation("Whether the process runs", {200: ""}, kind=TEXT),
        ("GET", "/ready"): Operation("Whether it serves decisions; 503 says why not", {200: "", 503: ""}, kind=TEXT),
        ("GET", "/metrics"): Operation("Metrics in Prometheus' text format", {200: ""}, kind=TEXT),
        ("GET", "/api/v1/openapi.json"): Operation("This document", {200: "Document"}),
    }


def _now() -> dict[tuple[str, str], Operation]:
    demand = number("Times the demand there is.", exclusiveMinimum=0, maximum=MOST_DEMAND)
    without = text("Only the loss of this region.")
    return {
        ("GET", "/api/v1/stream"): Operation(
            "What is new, as server-sent events that do not end: hello, then decision, event, orders, fleet, traffic",
            {200: ""},
            errors=(503,),
            kind=STREAM,
        ),
        ("GET", "/api/v1/status"): Operation("All that one screen shows, and the alarms that hold", {200: "Status"}),
        ("GET", "/api/v1/decision"): Operation(
            "Verdicts, weights, plans and protection, each number with its reason",
            {200: "Decision"},
            {"service": _SERVICE},
            errors=(404,),
        ),
        ("GET", "/api/v1/events"): Operation(
            "What happened, oldest first; the newest without `after`",
            {200: "Events"},
            {"after": _COUNT | {"description": "Those numbered above."}, "limit": _COUNT},
            errors=(400,),
        ),
        ("GET", "/api/v1/fleet"): Operation("Connected clients, what each has and rejected", {200: "Fleet"}),
        ("GET", "/api/v1/orders"): Operation("Orders in force, and those that ended lately", {200: "Orders"}),
        ("GET", "/api/v1/plan"): Operation(
            "What the loss of each region would do now",
            {200: "Losses"},
            {"without": without, "service": _SERVICE, "demand": demand},
            errors=(400, 404),
        ),
        ("GET", "/api/v1/policy"): Operation("The policy in force, and the errors of a refused edit", {200: "Policy"}),
        ("GET", "/api/v1/signals"): Operation("What each source of signals last said", {200: "Signals"}),
    }


def _past() -> dict[tuple[str, str], Operation]:
    span = {"from": _TIME, "to": _TIME}
    filters = {"service": _SERVICE, "region": _REGION, "kind": text("Only events of this kind.")}
    page = {"limit": _COUNT, "before": _COUNT | {"description": "`next` of the page before."}}
    return {
        ("GET", "/api/v1/history"): Operation(
            "What was kept of events and decisions, the newest first",
            {200: "History"},
            span | filters | page,
            errors=(400, 503),
        ),
        ("GET", "/api/v1/history/decision"): Operation(
            "What was in force at a time",
            {200: "InForce"},
            {"service": _SERVICE, "at": _TIME},
            ("service",),
            errors=(400, 404, 503),
        ),
        ("GET", "/api/v1/history/series"): Operation(
            "Weights and verdicts over time",
            {200: "Series"},
            {"service": _SERVICE, "view": text("Only this view; else all, by their demand.")} | span,
            ("service",),
            errors=(400, 503),
        ),
        ("GET", "/api/v1/history/diff"): Operation(
            "What changed between two times", {200: "Difference"}, span, errors=(400, 503)
        ),
    }


def _given() -> dict[tuple[str, str], Operation]:
    sent = (400, 413, 415)
    return {
        ("POST", "/api/v1/orders"): Operation(
            "Give an order, or with dry_run see what it would do: 200 is a preview, or the same order being in force",
            {200: "OrderAnswer", 201: "OrderPlaced"},
            body="OrderRequest",
            errors=(*sent, 409, 422, 428, 503),
        ),
        ("POST", "/api/v1/orders/{id}/end"): Operation(
            "End an order, or with dry_run see what that would do",
            {200: "EndAnswer"},
            body="EndRequest",
            errors=(*sent, 404, 409, 428, 503),
        ),
        ("POST", "/api/v1/reports"): Operation(
            "Say how a region is, as an agent", {200: "Reported"}, body="ReportRequest", errors=sent
        ),
        ("POST", "/api/v1/retry"): Operation(
            "Try again what Envoys rejected", {200: "Retried"}, body="RetryRequest", errors=sent
        ),
    }
