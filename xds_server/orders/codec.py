"""Orders as JSON values and back. `offset` is seconds since 1970 less the controller's clock: times are kept as the
former, because the clock dies with the process.

Restored orders go on where they were. What had been measured of them is kept as far as it had been written down, and
the report says that there is a gap.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from xds_server.orders.types import Ended, Kind, Order, Orders, Phase, Report, Standing
from xds_server.policy.types import OnHarm

Json = dict[str, Any]


class BadOrdersError(ValueError):
    """The text is not what this version writes; the message says where."""


def to_json(orders: Orders, offset: float) -> Json:
    """Return all orders as JSON values."""
    return {
        "version": orders.version,
        "standing": [_standing_json(one, offset) for one in orders.standing],
        "ended": [
            {"standing": _standing_json(one.standing, offset), "at": one.at + offset, "why": one.why}
            for one in orders.ended
        ],
    }


def from_json(data: Mapping[str, Any], offset: float) -> Orders:
    """Return the orders that `to_json` wrote, on this process's clock. Raises BadOrdersError."""
    try:
        return Orders(
            version=int(data["version"]),
            standing=tuple(_standing(one, offset) for one in data["standing"]),
            ended=tuple(
                Ended(_standing(one["standing"], offset), float(one["at"]) - offset, str(one["why"]))
                for one in data["ended"]
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadOrdersError(f"{type(error).__name__}: {error}") from error


def _standing_json(one: Standing, offset: float) -> Json:
    moved = replace(one.order, at=one.order.at + offset, ends=one.order.ends + offset)
    return {
        "order": asdict(moved),
        "phase": one.phase,
        "step_at": one.step_at + offset,
        "moved": one.moved,
        "detail": one.detail,
        "report": asdict(one.report),
        "told": one.told,
        "held": one.held,
    }


def _standing(data: Mapping[str, Any], offset: float) -> Standing:
    order = dict(data["order"])
    order |= {
        "kind": Kind(order["kind"]),
        "on_harm": OnHarm(order["on_harm"]),
        "at": float(order["at"]) - offset,
        "ends": float(order["ends"]) - offset,
        "weights": tuple((str(region), float(part)) for region, part in order["weights"]),
    }
    told = bool(data.get("told", False))
    unfinished = order["kind"].leaves and not told
    return Standing(
        order=Order(**order),
        phase=Phase(data["phase"]),
        step_at=float(data["step_at"]) - offset,
        moved=float(data["moved"]),
        detail=str(data["detail"]),
        report=replace(Report(**data["report"]), gap=Report(**data["report"]).gap or unfinished),
        told=told,
        held=tuple(
            (str(service), str(view), tuple((str(region), int(weight)) for region, weight in weights))
            for service, view, weights in data.get("held", ())
        ),
    )
