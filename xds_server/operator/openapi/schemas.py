"""What each answer and each request looks like, by name. Pure; the answers are made in views and the *_json modules."""

from __future__ import annotations

from xds_server.model import TOTAL_WEIGHT, Health
from xds_server.operator.openapi.forms import (
    Json,
    array,
    fields,
    flag,
    maybe,
    number,
    one_of,
    ref,
    table,
    text,
    time,
    whole,
)
from xds_server.orders.types import Kind, Phase
from xds_server.policy.types import OnHarm

_SEVERITIES = ("info", "warning", "alarm")
_HEALTH = one_of(Health)
_WEIGHTS = table(whole(minimum=0, maximum=TOTAL_WEIGHT), f"By region, out of {TOTAL_WEIGHT}.")
_RATES = table(number(), "Requests per second, by region.")
_SINCE = number("Seconds since it became so.", minimum=0)
_EPOCH = number("Seconds since 1970.")
_PAIR = {"type": "array", "minItems": 2, "maxItems": 2, "description": "Before, and after."}


def schemas() -> dict[str, Json]:
    """Return all schemas."""
    return {**_problem(), **_decision(), **_status(), **_past(), **_fleet(), **_plans(), **_orders(), **_signals()}


def _problem() -> dict[str, Json]:
    needed = {
        "type": text(format="uri-reference"),
        "title": text(),
        "status": whole(minimum=400, maximum=599),
        "detail": text("What is wrong, in words, and often the fix."),
    }
    more = {
        "version": whole("The version of the orders, where an order is refused."),
        "refusals": array(text(), "The policy's rules that an order breaks; force overrides them."),
    }
    return {
        "Document": {"type": "object", "description": "OpenAPI 3.1."},
        "Problem": fields(needed, "RFC 9457: why a request was not answered.", more),
    }


def _decision() -> dict[str, Json]:
    decision = {
        "policy": ref("Policy"),
        "regions": array(ref("Region")),
        "fleets": array(ref("FleetSize")),
        "services": array(ref("Service")),
    }
    region = {"region": text(), "health": _HEALTH, "reason": text(), "since_s": _SINCE}
    loss = {"without": text(), "load_rps": _RATES, "overload": number(), "added_latency_ms": number()}
    weights = {
        "service": text(),
        "overload": number("Factor by which demand exceeds what may be used; 1 if it fits."),
        "regions": array(ref("Place")),
        "views": array(ref("View")),
    }
    return {
        "Policy": _policy(),
        "Place": _place(),
        "View": _view(),
        "Shed": _shed(),
        "NMinusOne": fields(loss),
        "Protection": _protection(),
        "FleetSize": fields({"fleet": text(), "region": text(), "envoys": whole(minimum=0)}),
        "Weights": fields(weights, "What is decided for a service, without plans and protection."),
        "Service": fields(weights | _plans_of_a_service()),
        "Region": fields(region, "A region, summed up by the worst of its services."),
        "Decision": fields(decision),
    }


def _policy() -> Json:
    policy = {
        "digest": maybe(text("Names the policy in force; null before the first.")),
        "source": text(),
        "trial": maybe(text("Names the policy on trial.")),
        "rejected": maybe(fields({"errors": array(text())}, "What is wrong with the text in the file now.")),
    }
    return fields(policy)


def _place() -> Json:
    place = {
        "region": text(),
        "health": _HEALTH,
        "held": maybe(_HEALTH | {"description": "The verdict that an unknown one goes on with."}),
        "score": number("Share of the capacity that may be used.", minimum=0, maximum=1),
        "ramp": number("Share of its traffic that a recovering region has back.", minimum=0, maximum=1),
        "reason": text(),
        "capacity_rps": number(minimum=0),
        "load_rps": number(minimum=0),
        "up": whole("Endpoints that are up.", minimum=0),
        "total": whole("Endpoints there are.", minimum=0),
        "since_s": _SINCE,
    }
    later = {"capacity_reason": text("Why the capacity is not the policy's; empty if it is.")}
    return fields(place, "One service in one region: the verdict, and what it carries.", later)


def _view() -> Json:
    view = {"view": text(), "demand_rps": number(minimum=0), "weights": _WEIGHTS, "reasons": table(text())}
    later = {
        "half_open": maybe(_WEIGHTS | {"description": "Of what may be sent twice, if it differs."}),
        "shed": maybe(ref("Shed")),
    }
    return fields(view, "Where one region's requests go, and why. What was kept long ago may lack a field.", later)


def _plans_of_a_service() -> dict[str, Json]:
    fit = fields({"overload": number(), "reason": text()})
    return {
        "reflex": table(table(_WEIGHTS), "By the region that is lost, by view: where its share goes."),
        "reflex_fit": table(fit, "By the region that is lost: whether the others hold what the reflex sends them."),
        "n_minus_1": array(ref("NMinusOne")),
        "protection": table(table(ref("Protection")), "By view, by region."),
    }


def _shed() -> Json:
    of_class = fields({"name": text("Empty: of no class."), "percent": whole()})
    refused = {"percent": whole(minimum=0, maximum=100), "classes": array(of_class), "reason": text()}
    return fields(refused, "What the Envoys of a view refuse, so that regions hold.")


def _protection() -> Json:
    counts = ("max_connections", "max_pending_requests", "max_requests")
    settings = {
        "outlier_profile": text(),
        "max_ejection_percent": whole(),
        "overprovisioning_factor": whole(),
        **{name: whole() for name in counts},
        "retry_budget_percent": number(),
        "min_retry_concurrency": whole(),
        "connect_timeout_ms": whole(),
        "reasons": table(text()),
        "per_envoy": table(fields({name: whole() for name in counts}), "By fleet: what each of its Envoys gets."),
    }
    return fields(settings)


def _status() -> dict[str, Json]:
    place = {
        "health": _HEALTH,
        "load_rps": number(minimum=0),
        "capacity_rps": number(minimum=0),
        "share": whole(f"Of all requests, out of {TOTAL_WEIGHT}.", minimum=0, maximum=TOTAL_WEIGHT),
    }
    service = {
        "service": text(),
        "demand_rps": number(minimum=0),
        "capacity_rps": number(minimum=0),
        "overload": number(),
        "regions": table(fields(place)),
    }
    alarm = {
        "severity": one_of(_SEVERITIES),
        **{name: text() for name in ("kind", "message", "region", "service")},
        "since": maybe(_EPOCH),
    }
    status = {
        "version": text(),
        "waiting_for": maybe(text("Why it is not ready.")),
        "policy": ref("Policy"),
        "clients": fields({name: whole(minimum=0) for name in ("connected", "behind", "rejecting", "on_trial")}),
        "alarms": array(ref("Alarm")),
        "regions": array(ref("Region")),
        "services": array(fields(service)),
    }
    return {
        "Alarm": fields(alarm, "Something that holds now, and that somebody should know."),
        "Status": fields(status),
    }


def _past() -> dict[str, Json]:
    event = {
        "time": _EPOCH,
        "kind": text(),
        "severity": one_of(_SEVERITIES),
        "message": text(),
        "fields": table(text()),
    }
    entry = {"id": whole(minimum=1), **event, "service": text(), "regions": array(text())}
    change = {
        "service": text(),
        "what": one_of(("changed", "added", "removed")),
        "verdicts": table(_PAIR),
        "weights": table(table(_PAIR), "By view, by region."),
        "overload": _PAIR,
    }
    diff = {
        "from": _EPOCH,
        "to": _EPOCH,
        "policy": _PAIR,
        "services": array(fields(change)),
        "more_services": whole(minimum=0),
        "edits": array(text(), "What policies changed that came into force between."),
        "happened": table(whole(minimum=1), "Events by kind."),
    }
    point = {"time": _EPOCH, "weights": _WEIGHTS, "verdicts": table(text())}
    series = {
        "service": text(),
        "view": text(),
        "from": _EPOCH,
        "to": _EPOCH,
        "thinned": flag("Whether points between were left out."),
        "points": array(fields(point)),
    }
    then = {"service": text(), "time": _EPOCH, "policy": text(), "decision": ref("Weights")}
    return {
        "Events": fields(
            {
                "started": _EPOCH,
                "last": whole("The number of the newest."),
                "events": array(fields({"seq": whole(), **event})),
            }
        ),
        "History": fields({"entries": array(fields(entry)), "next": maybe(whole("`before` for the next page."))}),
        "InForce": fields(then),
        "Series": fields(series),
        "Difference": fields(diff),
    }


def _fleet() -> dict[str, Json]:
    resource = {"name": text(), "version": text(), "error": text()}
    of_type = {
        "sent": maybe(text()),
        "acked": maybe(text()),
        "synced": flag("Whether what it has is the latest."),
        "nacked": maybe(fields({"version": text(), "error": text()})),
        "rejected": array(fields(resource)),
        "rejected_count": whole(minimum=0),
    }
    client = {
        **{name: text() for name in ("id", "fleet", "region", "kind", "agent", "version", "peer", "variant")},
        "on_trial": flag("Whether it is in the cohort of a policy on trial."),
        "connected_s": number(minimum=0),
        "types": table(ref("ClientType"), "By type: LDS, RDS, CDS, EDS, …"),
    }
    held = {name: text() for name in ("fleet", "region", "kind", "type", "name", "version", "client", "error")}
    return {
        "ClientType": fields(of_type),
        "Client": fields(client),
        "Held": fields(held, "What is kept back from a view, because a client rejected it."),
        "Fleet": fields({"clients": array(ref("Client")), "quarantine": array(ref("Held"))}),
        "RetryRequest": {"type": "object", "description": "Nothing is asked of it: {}."},
        "Retried": fields({"quarantined": whole(), "clients": whole(), "policy": maybe(text())}),
    }


def _plans() -> dict[str, Json]:
    plan = {
        "fits": flag(),
        "load_rps": _RATES,
        **{name: number() for name in ("utilisation", "excess_rps", "unserved_rps", "added_latency_ms")},
    }
    loss = {
        "service": text(),
        "without": text(),
        "fits": flag(),
        "headroom": number(),
        **dict.fromkeys(("capacity_rps", "before_rps"), _RATES),
        "reflex": ref("Plan"),
        "n_minus_1": ref("Plan"),
        "shed_rps": number("Requests per second that are refused when the loss is confirmed.", minimum=0),
        "shed": table(ref("Shed"), "Of which views; empty if nothing is refused."),
    }
    return {
        "Plan": fields(plan),
        "Losses": fields({"policy": text(), "demand": number(), "losses": array(fields(loss))}),
    }


def _orders() -> dict[str, Json]:
    numbers = {name: array(number()) for name in ("load_rps_before", "load_rps_after", "capacity_rps")}
    effect = {
        "service": text(),
        "regions": array(text()),
        **numbers,
        **{name: number() for name in ("overload", "excess_rps", "shed_rps", "added_latency_ms")},
        "fits": flag(),
    }
    spans = {name: maybe(number(minimum=0)) for name in ("off_99_s", "drained_s", "acked_s", "before_rps")}
    report = {"requests": maybe(whole()), "lost": maybe(whole()), **spans, "gap": flag(), "words": text()}
    order = {
        "id": text(),
        "kind": one_of(Kind),
        **{name: text() for name in ("what", "region", "service", "view", "author", "reason", "detail")},
        "weights": table(number()),
        "capacity_rps": maybe(number()),
        "since": time(),
        "ends": time(),
        "over_s": number(minimum=0),
        "phase": one_of(Phase),
        "moved": number("Part of the region's share that is gone so far.", minimum=0, maximum=1),
        "forced": flag(),
        "told": flag("Whether its report has been told."),
        "report": maybe(ref("OrderReport")),
    }
    effects = array(ref("Effect"), "What becomes of each service.")
    placed = {"version": whole(), "order": {"anyOf": [ref("Order"), fields({"id": text()})]}, "plan": effects}
    return {
        "OrderReport": fields(report, "What leaving a region cost. Null: not yet, or not measured."),
        "Order": fields(order),
        "EndedOrder": fields(order | {"ended": time(), "why": text()}),
        "Orders": fields({"version": whole(), "orders": array(ref("Order")), "ended": array(ref("EndedOrder"))}),
        "Effect": fields(effect),
        "OrderRequest": _order_request(),
        "OrderPreview": fields({"version": whole(), "plan": effects, "refusals": array(text())}),
        "OrderAnswer": {"anyOf": [ref("OrderPreview"), ref("OrderPlaced")]},
        "OrderPlaced": fields(placed | {"broken": array(text(), "Rules that it breaks, because it is forced.")}),
        "EndRequest": _end_request(),
        "OrderEnding": fields({"version": whole(), "id": text()}),
        "EndAnswer": {"anyOf": [ref("OrderEnding"), ref("OrderPreview")]},
    }


def _end_request() -> Json:
    optional = {
        "author": text(),
        "reason": text(),
        "if_version": maybe(whole("The version that you have seen; needed.")),
    }
    return fields({}, optional=optional) | {"additionalProperties": False}


def _order_request() -> Json:
    length = {"maxLength": 500}
    optional = {
        "region": text("For evacuate, drill, capacity.", **length),
        "service": text("Empty: all.", **length),
        "view": text("Empty: all.", **length),
        "reason": text("Needed for every order.", **length),
        "author": text("Who orders it; not needed with a token or certificate, whose name counts.", **length),
        "expires": maybe(text("30m, 2h; else what the policy says.")),
        "over": maybe(text("How long leaving takes: 60s; 0s is at once.")),
        "force": flag("Although rules of the policy refuse it."),
        "on_harm": one_of(OnHarm),
        "weights": maybe(table(number(minimum=0), "For weight: parts by region.")),
        "capacity": maybe({"anyOf": [number(minimum=0), text()], "description": "For capacity: 20000 or 20k req/s."}),
        "if_version": maybe(whole("The version of the orders that you have seen; needed to replace one.")),
        "dry_run": flag("Only say what it would do."),
    }
    return fields({"kind": one_of(Kind)}, optional=optional) | {"additionalProperties": False}


def _signals() -> dict[str, Json]:
    names = {name: text() for name in ("service", "region", "view", "source", "reporter")}
    what = "What one source last said; which numbers it has depends on the source."
    signal = fields({**names, "age_s": number(minimum=0)}, what)
    optional = {
        "service": text("Empty: all of the region.", maxLength=100),
        "view": text(maxLength=100),
        "health": one_of(("HEALTHY", "UNHEALTHY", "HEALTH_UNSPECIFIED")),
        "utilisation": number(minimum=0, maximum=10),
        "capacity_rps": number(minimum=0, maximum=1e9),
        "ttl": text("30s; from 1s to 3600s.", pattern=r"^[0-9]+(\.[0-9]+)?s$"),
        "detail": text(maxLength=200),
    }
    report = fields({"region": text(maxLength=100)}, optional=optional)
    request = fields({"reporter": text(minLength=1, maxLength=100), "reports": array(report)})
    return {
        "Signals": fields({"signals": array(signal)}),
        "ReportRequest": request,
        "Reported": fields({"accepted": whole(minimum=0)}),
    }
