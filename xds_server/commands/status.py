"""`xds-server status` and `xds-server explain`: what is decided now, and why."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from xds_server.commands.options import admin_option
from xds_server.commands.process import ask
from xds_server.commands.terminal import show, show_json, style
from xds_server.screens.explanation import explanation, signals_of
from xds_server.screens.history_lines import entry_lines
from xds_server.screens.status_screen import status_screen, to_show
from xds_server.screens.text import clock

HOLDING = 3
"""The exit code if an alarm holds or the process is not ready."""

MOST_ORDERED = 10
"""Lines of orders that are shown with a decision that is past."""

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
    answer, title = _now(admin, service) if at is None else _then(admin, service, at)
    decision = answer["decision"]
    views = [row["view"] for row in decision["views"]]
    if view is not None and view not in views:
        raise click.ClickException(f"there is no view {view!r}; there is: {', '.join(views)}")
    if as_json:
        show_json(answer)
        return
    colours = style()
    show([title, "", *explanation(decision, answer["signals"], answer["orders"], view, colours)])
    if answer["ordered"]:
        show(["", "ordered until then", *entry_lines(answer["ordered"], colours)])


def _now(admin: str, service: str) -> tuple[Json, str]:
    signals = signals_of(ask(admin, "/api/v1/signals"), service)
    orders = ask(admin, "/api/v1/orders")["orders"]
    answer = {"decision": _decision(admin, service), "signals": signals, "orders": orders, "ordered": []}
    return answer, f"{service}, now"


def _then(admin: str, service: str, at: str) -> tuple[Json, str]:
    """Return what was in force; of signals and orders history has what was told of orders."""
    answer = ask(admin, "/api/v1/history/decision", {"service": service, "at": at})
    told = ask(admin, "/api/v1/history", {"kind": "order", "to": at, "limit": 1_000})["entries"]
    concerning = [entry for entry in told if entry["service"] in {"", service}][:MOST_ORDERED]
    title = f"{service}, as decided at {clock(answer['time'])} under policy {answer['policy']}"
    return answer | {"signals": [], "orders": [], "ordered": concerning[::-1]}, title


def _decision(admin: str, service: str) -> Json:
    """Return what is decided for a service now."""
    found: Json = ask(admin, "/api/v1/decision", {"service": service})["services"][0]
    return found
