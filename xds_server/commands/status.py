"""`xds-server status` and `xds-server explain`: what is decided now, and why."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from xds_server.commands.fleet import admin_option
from xds_server.commands.process import ask
from xds_server.commands.terminal import show, show_json, style
from xds_server.operator.explanation import explanation, signals_of
from xds_server.operator.status_screen import status_screen, to_show
from xds_server.operator.text import clock

HOLDING = 3
"""The exit code if an alarm holds or the process is not ready."""

Json = dict[str, Any]


@click.command(short_help="Show regions, weights, alarms and orders on one screen.")
@admin_option
@click.option("--service", help="Show the weights of this service, instead of the first ones and those in trouble.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: /api/v1/status, and in `orders` /api/v1/orders.")
def status(*, admin: str, service: str | None, as_json: bool) -> None:
    """Show one screen: regions and verdicts, alarms that hold, orders in force, demand against capacity, weights.

    Exits 0; 3 if an alarm (not only a warning) holds or the process is not ready; 1 if it cannot be asked.
    """
    found = ask(admin, "/api/v1/status")
    orders = ask(admin, "/api/v1/orders")
    if as_json:
        show_json(found | {"orders": orders})
    else:
        decisions = [_decision(admin, name) for name in to_show(found, service)]
        show(status_screen(found, orders, decisions, time.time(), style()))
    if found["waiting_for"] or any(alarm["severity"] == "alarm" for alarm in found["alarms"]):
        sys.exit(HOLDING)


@click.command(short_help="Say why each weight of a service is what it is.")
@click.argument("service")
@admin_option
@click.option("--view", help="Only the weights of this view.")
@click.option("--at", metavar="TIME", help="Then instead of now: 2026-01-31T12:00:00Z, or back from now: -15m.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(*, service: str, admin: str, view: str | None, at: str | None, as_json: bool) -> None:
    """Say why each weight of SERVICE is what it is: verdicts and their evidence, capacity, demand, ramps, orders.

    Exits 0; 1 if the process cannot be asked, knows no such service or view, or keeps nothing of that time.
    """
    if at is None:
        decision = _decision(admin, service)
        signals = signals_of(ask(admin, "/api/v1/signals"), service)
        orders = ask(admin, "/api/v1/orders")["orders"]
        answer: Json = {"decision": decision, "signals": signals, "orders": orders}
        title = f"{service}, now"
    else:
        answer = ask(admin, "/api/v1/history/decision", {"service": service, "at": at})
        decision, signals, orders = answer["decision"], [], []
        title = f"{service}, as decided at {clock(answer['time'])} under policy {answer['policy']}"
    views = [row["view"] for row in decision["views"]]
    if view is not None and view not in views:
        raise click.ClickException(f"there is no view {view!r}; there is: {', '.join(views)}")
    if as_json:
        show_json(answer)
    else:
        show([title, "", *explanation(decision, signals, orders, view, style())])


def _decision(admin: str, service: str) -> Json:
    """Return what is decided for a service now."""
    found: Json = ask(admin, "/api/v1/decision", {"service": service})["services"][0]
    return found
