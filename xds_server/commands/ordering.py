"""How an order is given, ended and followed from a terminal.

Every order is shown before it is given: the plan, and what the policy's rules say. It is given with the version of the
orders that was shown, so that nothing another operator did meanwhile is overwritten unseen.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from xds_server.commands.order_options import How
from xds_server.commands.process import ask, order
from xds_server.commands.terminal import show_json
from xds_server.screens.order_table import effects_table, orders_table
from xds_server.screens.printable import plain

STOPPED = 4
"""The exit code if an evacuation stopped or was rolled back before all traffic was off."""

LOOK_EVERY_S = 0.5

Json = dict[str, Any]


def give(wanted: Mapping[str, object], how: How) -> Json | None:
    """Show the plan, ask, and give the order; return the answer, None if it was only shown."""
    body = {key: value for key, value in wanted.items() if value is not None and value != ""}
    body |= {"reason": how.reason, "author": how.author, "force": how.force}
    shown = order(how.admin, "/api/v1/orders", body | {"dry_run": True})
    refused = bool(shown["refusals"]) and not how.force
    if not how.as_json:
        click.echo(effects_table(shown))
    elif how.dry_run:
        show_json(shown)
    if how.dry_run:
        if refused:
            sys.exit(1)
        return None
    if refused:
        words = "".join(f"\n  {plain(why)}" for why in shown["refusals"]) if how.as_json else " above"
        raise click.ClickException(f"refused by the policy's rules{words}; --force does it all the same")
    if not how.yes and not how.as_json:
        click.confirm("Do it?", abort=True)
    given = order(how.admin, "/api/v1/orders", body | {"if_version": shown["version"]})
    if how.as_json:
        show_json(given)
    else:
        click.echo(_given(given["order"]))
    return given


def _given(given: Json) -> str:
    return plain(f"{given['id']}: {given['what']}, by {given['author']}, ends {given['ends']}")


def end(chosen: Sequence[Json], version: int, how: How) -> None:
    """Show these orders, ask, and end them. `version` is that of the orders they were chosen from."""
    if not how.as_json:
        click.echo(orders_table({"orders": chosen, "ended": []}, ended=False))
        if not how.yes:
            click.confirm("End this?" if len(chosen) == 1 else "End these?", abort=True)
    for one in chosen:
        body = {"author": how.author, "reason": how.reason, "if_version": version}
        answer = order(how.admin, f"/api/v1/orders/{one['id']}/end", body)
        version = answer["version"]
        click.echo(json.dumps(answer) if how.as_json else plain(f"{one['id']}: ending"))


def follow(admin: str, identity: str) -> None:
    """Print how an evacuation goes on until all traffic is off and what it cost is known."""
    told, was_off = "", False
    while True:
        found = ask(admin, "/api/v1/orders")
        one = next((one for one in found["orders"] if one["id"] == identity), None)
        if one is None:
            over = next((one for one in found["ended"] if one["id"] == identity), None)
            if over is None or not was_off:
                why = over["why"] if over else "it is not in force any more"
                raise click.ClickException(plain(f"{identity} is over: {why}"))
            click.echo(plain(over["report"]["words"]))
            return
        told = _progress(one, told)
        was_off |= one["phase"] == "moved"
        if one["phase"] in {"stopped", "returning"} or (was_off and one["told"]):
            click.echo(plain(one["report"]["words"]))
            if not was_off:
                sys.exit(STOPPED)
            return
        time.sleep(LOOK_EVERY_S)


def follow_back(admin: str, identities: set[str]) -> None:
    """Print how regions come back until none of these orders is in force any more."""
    told = ""
    while True:
        found = ask(admin, "/api/v1/orders")
        left = [one for one in found["orders"] if one["id"] in identities]
        if not left:
            click.echo("back")
            return
        told = _progress(left[0], told)
        time.sleep(LOOK_EVERY_S)


def _progress(one: Json, told: str) -> str:
    detail = f"; {one['detail']}" if one["detail"] else ""
    line = f"{one['phase']}, {one['moved']:.0%} moved{detail}"
    if line != told:
        click.echo(plain(line))
    return line
