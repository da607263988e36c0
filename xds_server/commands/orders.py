"""`evacuate`, `restore`, `drill`, `override …` and `orders`: an operator's orders to a running process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from xds_server.commands.options import admin_option
from xds_server.commands.order_options import (
    How,
    end_options,
    expires_option,
    no_wait_option,
    order_options,
    over_option,
    service_option,
)
from xds_server.commands.ordering import end, follow, follow_back, give
from xds_server.commands.process import ask
from xds_server.commands.terminal import show_json
from xds_server.screens.order_table import orders_table

LEAVING = frozenset({"evacuate", "drill"})
"""The kinds of orders that move traffic off a region."""


@click.command(short_help="Move all traffic off a region.")
@click.argument("region")
@order_options
@expires_option
@over_option
@click.option("--now", "at_once", is_flag=True, help="In one step.")
@service_option
@click.option(
    "--on-harm",
    type=click.Choice(["stop", "roll-back"]),
    help="If the regions that receive its traffic suffer.  [default: orders.on_harm of the policy]",
)
@no_wait_option
def evacuate(
    *,
    region: str,
    over: str | None,
    at_once: bool,
    service: str,
    on_harm: str | None,
    expires: str | None,
    no_wait: bool,
    how: How,
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
    _give_and_follow(wanted, how, wait=not no_wait)


@click.command(short_help="Evacuate a region for practice, and bring it back.")
@click.argument("region")
@order_options
@click.option("--for", "lasts", metavar="DURATION", default="10m", show_default=True, help="How long it stays empty.")
@over_option
@service_option
@no_wait_option
def drill(*, region: str, lasts: str, over: str | None, service: str, no_wait: bool, how: How) -> None:
    """Evacuate REGION for practice: it ends by itself, and turns back as soon as the receivers suffer.

    The policy may block drills at times (drills.blocked), and begin some by itself (drills.schedule).

    Exits 0 when all traffic was off; 1 refused; 4 if it was turned back before.
    """
    wanted = {"kind": "drill", "region": region, "service": service, "expires": lasts, "over": over}
    _give_and_follow(wanted, how, wait=not no_wait)


@click.command(short_help="End an evacuation or a drill: bring the region back.")
@click.argument("region")
@end_options
@click.option("--service", default="", help="The evacuation of this service only.")
@no_wait_option
def restore(*, region: str, service: str, no_wait: bool, how: How) -> None:
    """End what keeps traffic off REGION. It comes back in steps, as it left.

    Exits 0 when it is back; 1 if nothing keeps traffic off the region.
    """
    found = ask(how.admin, "/api/v1/orders")
    mine = [
        one
        for one in found["orders"]
        if one["kind"] in LEAVING and one["region"] == region and service in {"", one["service"]}
    ]
    if not mine:
        raise click.ClickException(f"no order keeps traffic off {region}")
    end(mine, found["version"], how)
    if not no_wait and not how.as_json:
        follow_back(how.admin, {one["id"] for one in mine})


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
def weight(*, service: str, weights: Sequence[str], view: str, expires: str | None, how: How) -> None:
    """Fix the weights of SERVICE: each REGION gets its part of the sum of all parts, the others nothing.

    For example: override weight checkout us-east-1=80 eu-west-1=20 --reason "capacity test"
    """
    wanted = {"kind": "weight", "service": service, "view": view, "expires": expires, "weights": _parts(weights)}
    give(wanted, how)


@override.command(short_help="Freeze the weights as they are.")
@service_option
@click.option("--view", default="", help="Only traffic from this region.")
@order_options
@expires_option
def hold(*, service: str, view: str, expires: str | None, how: How) -> None:
    """Freeze the weights of a service, a view or everything: automation moves nothing. Envoy's reflex still works."""
    give({"kind": "hold", "service": service, "view": view, "expires": expires}, how)


@override.command(short_help="State what a region can serve of a service.")
@click.argument("service")
@click.argument("region")
@click.argument("rate")
@order_options
@expires_option
def capacity(*, service: str, region: str, rate: str, expires: str | None, how: How) -> None:
    """Take RATE (req/s, 20000 or 20k) for the capacity of SERVICE in REGION, whatever the policy and agents say."""
    wanted = {"kind": "capacity", "service": service, "region": region, "capacity": rate, "expires": expires}
    give(wanted, how)


@override.command(short_help="End orders.")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="All overrides; not evacuations and drills, which `restore` ends.")
@end_options
def clear(*, ids: Sequence[str], every: bool, how: How) -> None:
    """End the orders with these IDs (`xds-server orders` lists them), or all overrides."""
    if bool(ids) == every:
        raise click.UsageError("give IDs, or --all")
    found = ask(how.admin, "/api/v1/orders")
    overrides = [one for one in found["orders"] if one["kind"] not in LEAVING]
    chosen = overrides if every else [one for one in found["orders"] if one["id"] in ids]
    if missing := sorted(set(ids) - {one["id"] for one in chosen}):
        raise click.ClickException(f"there is no order {missing[0]!r} in force")
    end(chosen, found["version"], how)


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


def _give_and_follow(wanted: Mapping[str, object], how: How, *, wait: bool) -> None:
    given = give(wanted, how)
    if given is not None and wait and not how.as_json:
        follow(how.admin, given["order"]["id"])
