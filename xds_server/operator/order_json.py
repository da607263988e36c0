"""Orders as the HTTP API reads and shows them. Pure; times are shown as RFC 3339, from the clock's offset to 1970."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from xds_server.orders.preview import Effect
from xds_server.orders.types import Kind, Order, Orders, Report, Standing
from xds_server.orders.words import cost, what
from xds_server.policy import units
from xds_server.policy.types import OnHarm, OrderRules

Json = dict[str, Any]

DRILL_S = 600.0
"""A drill that does not say how long lasts so long."""

MOST_TEXT = 500
_FIELDS = frozenset(
    {
        "kind", "region", "service", "view", "reason", "author", "expires", "over", "force", "on_harm",
        "weights", "capacity", "if_version", "dry_run",
    }
)  # fmt: skip


class BadRequestError(ValueError):
    """The request is not understood; the message names the field and the fix."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An order as it was asked for, with the version its author has seen; `dry_run` only wants to know the outcome."""

    order: Order
    if_version: int | None
    dry_run: bool


def draft(body: object, rules: OrderRules, identity: str, author: str, now: float) -> Draft:
    """Read a request for an order, to be called `identity`. Raises BadRequestError.

    `author` is who was authenticated; if it is empty the request says.
    """
    fields = _fields(body, _FIELDS)
    kind = _kind(fields)
    lasts = _seconds(fields, "expires", DRILL_S if kind is Kind.DRILL else rules.expires_ms / 1000)
    order = Order(
        id=identity,
        kind=kind,
        author=author or _text(fields, "author"),
        reason=_text(fields, "reason"),
        at=now,
        ends=now + lasts,
        region=_text(fields, "region"),
        service=_text(fields, "service"),
        view=_text(fields, "view"),
        weights=_weights(fields.get("weights")),
        capacity_rps=_rate(fields.get("capacity")),
        over_s=_seconds(fields, "over", rules.over_ms / 1000) if kind.leaves else 0.0,
        on_harm=_on_harm(fields, rules) if kind.leaves else OnHarm.STOP,
        forced=_flag(fields, "force"),
    )
    return Draft(order, _version(fields), _flag(fields, "dry_run"))


class Ending(NamedTuple):
    """A request to end an order; `dry_run` only wants to know the outcome."""

    author: str
    reason: str
    if_version: int | None
    dry_run: bool


def ending(body: object, author: str) -> Ending:
    """Read a request to end an order. Raises BadRequestError."""
    fields = _fields(body, frozenset({"reason", "author", "if_version", "dry_run"}))
    who = author or _text(fields, "author")
    return Ending(who, _text(fields, "reason"), _version(fields), _flag(fields, "dry_run"))


def _fields(body: object, known: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise BadRequestError("send a JSON object")
    if unknown := sorted(body.keys() - known):
        raise BadRequestError(f"unknown field {unknown[0][:40]!r}; there are: {', '.join(sorted(known))}")
    return body


def _kind(fields: Mapping[str, Any]) -> Kind:
    given = fields.get("kind")
    if given not in [kind.value for kind in Kind]:
        raise BadRequestError(f"kind must be one of {', '.join(Kind)}")
    return Kind(given)


def _on_harm(fields: Mapping[str, Any], rules: OrderRules) -> OnHarm:
    given = fields.get("on_harm", rules.on_harm)
    if given not in [choice.value for choice in OnHarm]:
        raise BadRequestError(f"on_harm must be one of {', '.join(OnHarm)}")
    return OnHarm(given)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise BadRequestError(f"{name} must be text of at most {MOST_TEXT} characters")
    text = value.strip()
    if not text.isprintable():
        raise BadRequestError(f"{name} must be one line of printable text")
    return text


def _seconds(fields: Mapping[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a duration such as 60s or 2h")
    try:
        seconds = float(units.milliseconds(value)) / 1000
    except units.TextError as error:
        raise BadRequestError(f"{name}: {error}") from error
    if seconds < 0 or (name == "expires" and not seconds):
        raise BadRequestError(f"{name} must be more than 0s")
    return seconds


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false")
    return value


def _version(fields: Mapping[str, Any]) -> int | None:
    value = fields.get("if_version")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadRequestError("if_version must be a whole number: the version of the orders that you have seen")
    return value


def _weights(value: object) -> tuple[tuple[str, float], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(_is_part(part) for part in value.values()):
        raise BadRequestError('weights must be parts by region, such as {"us-east-1": 80, "eu-west-1": 20}')
    return tuple(sorted((str(region), float(part)) for region, part in value.items()))


def _is_part(part: object) -> bool:
    return isinstance(part, int | float) and not isinstance(part, bool) and 0 <= part <= 1e6


def _rate(value: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadRequestError("capacity must be requests per second, such as 20000 or 20k")
    try:
        rate = float(units.rate(str(value)))
    except units.TextError as error:
        raise BadRequestError(f"capacity: {error}") from error
    if not 0 <= rate <= 1e9:
        raise BadRequestError("capacity must be from 0 to 1000M req/s")
    return rate


def orders_json(orders: Orders, offset: float) -> Json:
    """Return all orders; `offset` is seconds since 1970 less the controller's clock."""
    return {
        "version": orders.version,
        "orders": [standing_json(one, offset) for one in orders.standing],
        "ended": [
            standing_json(one.standing, offset)
            | {
                "ended": timestamp(one.at + offset),
                "why": one.why,
                "report": _report_json(one.standing) if one.standing.order.kind.leaves else None,
            }
            for one in orders.ended
        ],
    }


def standing_json(one: Standing, offset: float) -> Json:
    """Return one order in force."""
    order = one.order
    return {
        "id": order.id,
        "kind": order.kind,
        "what": what(order),
        "region": order.region,
        "service": order.service,
        "view": order.view,
        "weights": dict(order.weights),
        "capacity_rps": order.capacity_rps or None,
        "author": order.author,
        "reason": order.reason,
        "since": timestamp(order.at + offset),
        "ends": timestamp(order.ends + offset),
        "over_s": order.over_s,
        "phase": one.phase,
        "moved": one.moved,
        "forced": order.forced,
        "detail": one.detail,
        "told": one.told,
        "report": _report_json(one) if order.kind.leaves else None,
    }


def _report_json(one: Standing) -> Json:
    report: Report = one.report
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(report).items()}
    return rounded | {"words": cost(one)}


def effects_json(effects: Iterable[Effect]) -> list[Json]:
    """Return what becomes of each service."""
    return [
        {
            "service": effect.service,
            "regions": list(effect.regions),
            "load_rps_before": [round(rps, 3) for rps in effect.before_rps],
            "load_rps_after": [round(rps, 3) for rps in effect.after_rps],
            "capacity_rps": [round(rps, 3) for rps in effect.capacity_rps],
            "overload": round(effect.overload, 4),
            "excess_rps": round(effect.excess_rps, 3),
            "fits": effect.fits,
            "shed_rps": round(effect.refused_rps, 3),
            "added_latency_ms": round(effect.added_ms, 3),
        }
        for effect in effects
    ]


def timestamp(wall: float) -> str:
    """Return a moment (seconds since 1970) as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
