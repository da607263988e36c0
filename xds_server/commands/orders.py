"""`evacuate`, `restore`, `drill`, `override …` and `orders`: an operator's orders to a running process.

Every order is shown before it is given: the plan, and what the policy's rules say. It is given with the version of the
orders that was shown, so that nothing another operator did meanwhile is overwritten unseen.
"""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from xds_server.commands.options import admin_option
from xds_server.commands.process import ask, order
from xds_server.commands.terminal import show_json
from xds_server.operator.order_table import effects_table, orders_table
from xds_server.operator.printable import plain

STOPPED = 4
"""The exit code if an evacuation stopped or was rolled back before all traffic was off."""

LOOK_EVERY_S = 0.5

Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., object])


def _somebody() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def order_options(command: F) -> F:
    """Add what every order takes."""
    for option in reversed(
        (
            admin_option,
            click.option("--reason", required=True, help="Why: it stands in the history, and in `status`."),
            click.option(
                "--author", default=_somebody, metavar="NAME", help="Who you are.  [default: your name on this machine]"
            ),
            click.option("--yes", is_flag=True, help="Do not ask."),
            click.option("--force", is_flag=True, help="Do it although the policy's rules refuse it; it is recorded."),
            click.option("--dry-run", is_flag=True, help="Show what it would do, and stop."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON; does not ask."),
        )
    ):
        command = option(command)
    return command


expires_option = click.option(
    "--expires", metavar="DURATION", help="When it ends by itself: 30m, 2h.  [default: orders.expires of the policy]"
)


@click.command(short_help="Move all traffic off a region.")
@click.argument("region")
@order_options
@expires_option
@click.option(
    "--over", metavar="DURATION", help="How long it takes, in ten steps.  [default: orders.over of the policy]"
)
@click.option("--now", "at_once", is_flag=True, help="In one step.")
@click.option("--service", default="", help="Only this service.")
@click.option(
    "--on-harm",
    type=click.Choice(["stop", "roll-back"]),
    help="If the regions that receive its traffic suffer.  [default: orders.on_harm of the policy]",
)
@click.option("--no-wait", is_flag=True, help="Do not follow it to its end.")
def evacuate(
    *,
    region: str,
    over: str | None,
    at_once: bool,
    service: str,
    on_harm: str | None,
    expires: str | None,
    no_wait: bool,
    **common: Any,
) -> None:
    """Move all traffic off REGION, in steps: each waits until every Envoy has acknowledged the one before.

    Shows first who takes the traffic, whether it fits and the latency it adds, and asks. Follows it until all traffic
    is off and says what it cost. The reflex keeps requests from failing meanwhile. `restore` brings the region back; so
    does the expiry.

    Exits 0 when all traffic is off; 1 refused; 4 if it stopped or was rolled back, because the receivers suffered.
    """
    if at_once and over is not None:
        raise click.UsageError("--now and --over exclude each other")
    wanted = {"kind": "evacuate", "region": region, "service": service, "expires": expires, "on_harm": on_harm}
    wanted["over"] = "0s" if at_once else over
    given = _give(wanted, **common)
    if given is not None and not no_wait and not common["as_json"]:
        _follow(common["admin"], given["order"]["id"])


@click.command(short_help="Evacuate a region for practice, and bring it back.")
@click.argument("region")
@order_options
@click.option("--for", "lasts", metavar="DURATION", default="10m", show_default=True, help="How long it stays empty.")
@click.option(
    "--over", metavar="DURATION", help="How long it takes, in ten steps.  [default: orders.over of the policy]"
)
@click.option("--service", default="", help="Only this service.")
@click.option("--no-wait", is_flag=True, help="Do not follow it to its end.")
def drill(*, region: str, lasts: str, over: str | None, service: str, no_wait: bool, **common: Any) -> None:
    """Evacuate REGION for practice: it ends by itself, and turns back as soon as the receivers suffer.

    The policy may block drills at times (drills.blocked), and begin some by itself (drills.schedule).

    Exits 0 when all traffic was off; 1 refused; 4 if it was turned back before.
    """
    wanted = {"kind": "drill", "region": region, "service": service, "expires": lasts, "over": over}
    given = _give(wanted, **common)
    if given is not None and not no_wait and not common["as_json"]:
        _follow(common["admin"], given["order"]["id"])


@click.command(short_help="End an evacuation or a drill: bring the region back.")
@click.argument("region")
@admin_option
@click.option("--reason", default="", help="Why: it stands in the history.")
@click.option("--author", default=_somebody, metavar="NAME", help="Who you are.")
@click.option("--service", default="", help="The evacuation of this service only.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; does not ask.")
@click.option("--no-wait", is_flag=True, help="Do not follow it to its end.")
def restore(
    *, region: str, admin: str, reason: str, author: str, service: str, yes: bool, as_json: bool, no_wait: bool
) -> None:
    """End what keeps traffic off REGION. It comes back in steps, as it left.

    Exits 0 when it is back; 1 if nothing keeps traffic off the region.
    """
    found = ask(admin, "/api/v1/orders")
    mine = [
        one
        for one in found["orders"]
        if one["kind"] in {"evacuate", "drill"} and one["region"] == region and service in {"", one["service"]}
    ]
    if not mine:
        raise click.ClickException(f"no order keeps traffic off {region}")
    _end(admin, mine, found["version"], author=author, reason=reason, yes=yes, as_json=as_json)
    if not no_wait and not as_json:
        _follow_back(admin, {one["id"] for one in mine})


@click.group(short_help="Fix weights, hold what is, or state a capacity.")
def override() -> None:
    """Orders that beat the computed decision: each has an author, a reason and an end.

    Operator beats drill, drill beats automation. Among orders an evacuation beats fixed weights, weights beat a hold,
    one view beats all views, one service beats all.
    """


@override.command(short_help="Fix the weights of a service.")
@click.argument("service")
@click.argument("weights", nargs=-1, required=True, metavar="REGION=PART...")
@click.option("--view", default="", help="Only for traffic from this region.")
@order_options
@expires_option
def weight(*, service: str, weights: Sequence[str], view: str, expires: str | None, **common: Any) -> None:
    """Fix the weights of SERVICE: each REGION gets its part of the sum of all parts, the others nothing.

    For example: override weight checkout us-east-1=80 eu-west-1=20 --reason "capacity test"
    """
    wanted = {"kind": "weight", "service": service, "view": view, "expires": expires, "weights": _parts(weights)}
    _give(wanted, **common)


@override.command(short_help="Freeze the weights as they are.")
@click.option("--service", default="", help="Only this service.")
@click.option("--view", default="", help="Only traffic from this region.")
@order_options
@expires_option
def hold(*, service: str, view: str, expires: str | None, **common: Any) -> None:
    """Freeze the weights of a service, a view or everything: automation moves nothing. Envoy's reflex still works."""
    _give({"kind": "hold", "service": service, "view": view, "expires": expires}, **common)


@override.command(short_help="State what a region can serve of a service.")
@click.argument("service")
@click.argument("region")
@click.argument("rate")
@order_options
@expires_option
def capacity(*, service: str, region: str, rate: str, expires: str | None, **common: Any) -> None:
    """Take RATE (req/s, 20000 or 20k) for the capacity of SERVICE in REGION, whatever the policy and agents say."""
    wanted = {"kind": "capacity", "service": service, "region": region, "capacity": rate, "expires": expires}
    _give(wanted, **common)


@override.command(short_help="End orders.")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="All overrides; not evacuations and drills, which `restore` ends.")
@admin_option
@click.option("--reason", default="", help="Why: it stands in the history.")
@click.option("--author", default=_somebody, metavar="NAME", help="Who you are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; does not ask.")
def clear(*, ids: Sequence[str], every: bool, admin: str, reason: str, author: str, yes: bool, as_json: bool) -> None:
    """End the orders with these IDs (`xds-server orders` lists them), or all overrides."""
    if bool(ids) == every:
        raise click.UsageError("give IDs, or --all")
    found = ask(admin, "/api/v1/orders")
    overrides = [one for one in found["orders"] if one["kind"] not in {"evacuate", "drill"}]
    chosen = overrides if every else [one for one in found["orders"] if one["id"] in ids]
    if missing := sorted(set(ids) - {one["id"] for one in chosen}):
        raise click.ClickException(f"there is no order {missing[0]!r} in force")
    _end(admin, chosen, found["version"], author=author, reason=reason, yes=yes, as_json=as_json)


@click.command(short_help="List the orders in force.")
@admin_option
@click.option("--all", "every", is_flag=True, help="Those that ended lately too, with their reports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as /api/v1/orders has it.")
def orders(*, admin: str, every: bool, as_json: bool) -> None:
    """List the orders in force: who ordered what, why, and when it ends."""
    found = ask(admin, "/api/v1/orders")
    if as_json:
        show_json(found)
    else:
        click.echo(orders_table(found, ended=every))


def _parts(weights: Sequence[str]) -> dict[str, float]:
    parts: dict[str, float] = {}
    for text in weights:
        region, equals, part = text.partition("=")
        try:
            parts[region] = float(part.removesuffix("%"))
        except ValueError:
            equals = ""
        if not equals or not region:
            raise click.UsageError(f"{text!r} is not REGION=PART; write for example us-east-1=80")
    return parts


def _give(
    wanted: Mapping[str, object],
    *,
    admin: str,
    reason: str,
    author: str,
    yes: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> Json | None:
    """Show the plan, ask, and give the order; return the answer, None if it was only shown."""
    body = {key: value for key, value in wanted.items() if value is not None and value != ""}
    body |= {"reason": reason, "author": author, "force": force}
    shown = order(admin, "/api/v1/orders", body | {"dry_run": True})
    if dry_run:
        if as_json:
            show_json(shown)
        else:
            click.echo(effects_table(shown))
        if shown["refusals"] and not force:
            sys.exit(1)
        return None
    if not as_json:
        click.echo(effects_table(shown))
    if shown["refusals"] and not force:
        words = "".join(f"\n  {plain(why)}" for why in shown["refusals"]) if as_json else " above"
        raise click.ClickException(f"refused by the policy's rules{words}; --force does it all the same")
    if not yes and not as_json:
        click.confirm("Do it?", abort=True)
    given = order(admin, "/api/v1/orders", body | {"if_version": shown["version"]})
    if as_json:
        show_json(given)
    else:
        click.echo(_given(given["order"]))
    return given


def _given(given: Json) -> str:
    return plain(f"{given['id']}: {given['what']}, by {given['author']}, ends {given['ends']}")


def _end(
    admin: str, chosen: Sequence[Json], version: int, *, author: str, reason: str, yes: bool, as_json: bool
) -> None:
    if not as_json:
        click.echo(orders_table({"orders": chosen, "ended": []}, ended=False))
        if not yes:
            click.confirm("End this?" if len(chosen) == 1 else "End these?", abort=True)
    for one in chosen:
        body = {"author": author, "reason": reason, "if_version": version}
        answer = order(admin, f"/api/v1/orders/{one['id']}/end", body)
        version = answer["version"]
        click.echo(json.dumps(answer) if as_json else plain(f"{one['id']}: ending"))


def _follow(admin: str, identity: str) -> None:
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


def _follow_back(admin: str, identities: set[str]) -> None:
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
