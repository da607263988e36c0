"""`xds-server plan`: what the loss of a region would do, from a policy file or from a running process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from xds_server.commands.options import admin_option
from xds_server.commands.process import ask
from xds_server.commands.terminal import show_json
from xds_server.controller import Controller
from xds_server.decision.what_if import MOST_DEMAND, losses
from xds_server.operator.plans import plans_json
from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.screens.plan_tables import all_table, one_table
from xds_server.snapshot.tls import with_file_names
from xds_server.step import Inputs

AFTER_GRACE_S = 3600.0

Json = dict[str, Any]


class FactorType(click.ParamType[float]):
    """A factor of the demand: `1.5`, `×1.5`, `x1.5`, `1.5x`, `150%`, or by how much it grows: `+50%`, `-20%`."""

    name = "FACTOR"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the factor; a click error that shows the form if the text is not one."""
        text = str(value).strip().lower()
        percent = text.endswith("%")
        grows = percent and text[0] in "+-"
        number = text.removesuffix("%") if percent else text.strip("×x").lstrip()
        try:
            factor = float(number) / (100 if percent else 1) + grows
        except ValueError:
            self.fail(f"{value!r} is not a factor; write for example 1.5, 150% or +50%", param, ctx)
        if not 0 < factor <= MOST_DEMAND:
            self.fail(f"{value!r} is not above 0 and at most {MOST_DEMAND:g}", param, ctx)
        return factor


@click.command(short_help="Show who takes the traffic of a lost region.")
@click.argument("policy", required=False, type=click.Path(path_type=Path, dir_okay=False))
@admin_option
@click.option("--without", "lost", metavar="REGION", multiple=True, help="The region that is gone; one at a time.")
@click.option("--all", "every", is_flag=True, help="Every region in turn; exit 1 if the loss of one does not fit.")
@click.option("--demand", type=FactorType(), default="1", help="Times the demand there is: 1.5, 150% or +50%.")
@click.option("--service", help="Only this service.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    *,
    policy: Path | None,
    admin: str,
    lost: tuple[str, ...],
    every: bool,
    demand: float,
    service: str | None,
    as_json: bool,
) -> None:
    """Show what happens without a region: who takes its traffic, what does not fit, how much latency it adds.

    From POLICY, with every region taken for healthy; without one from a running process, with what it believes and
    measures now. Two plans are shown: the reflex, which Envoys carry and execute by themselves, and the N-1 plan, which
    follows when the loss is confirmed.

    With --all it is a proof for a CI job: one row for every region and service; exits 1 if the loss of any does not
    fit.
    """
    given = click.get_current_context().get_parameter_source("admin")
    if policy is not None and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give a POLICY file, or --admin for a running process, not both")
    if every == bool(lost):
        raise click.UsageError("give --without REGION, or --all")
    if len(lost) > 1:
        raise click.UsageError("give --without once: a plan is for the loss of one region, beside those that are down")
    without = lost[0] if lost else None
    answer = _from_file(policy, demand) if policy is not None else _from_process(admin, demand)
    found = _chosen(answer, without, service)
    if as_json:
        show_json(found)
    else:
        click.echo(all_table(found) if every else one_table(found))
    if every and not all(loss["fits"] for loss in found["losses"]):
        sys.exit(1)


def _from_file(path: Path, demand: float) -> Json:
    try:
        policy = with_file_names(parse(path.read_bytes(), str(path)).policy)
    except PolicyError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read: {error.strerror}") from error
    return _answer(policy, demand)


def _answer(policy: Policy, demand: float) -> Json:
    """Decide as a process would that has no evidence yet and waits no longer: every region counts as healthy."""
    controller = Controller()
    controller.step(Inputs(policy=policy), 0.0)
    controller.step(Inputs(), AFTER_GRACE_S)
    found = [loss for case in controller.cases() for loss in losses(case, demand)]
    return plans_json(found, demand, policy.digest)


def _from_process(url: str, demand: float) -> Json:
    return ask(url, "/api/v1/plan", {"demand": demand})


def _chosen(answer: Json, without: str | None, service: str | None) -> Json:
    """Keep what was asked for. A name that is nowhere is an error that lists the names there are."""
    kept = answer["losses"]
    for key, wanted in (("service", service), ("without", without)):
        names = sorted({loss[key] for loss in kept})
        if wanted is not None and wanted not in names:
            what = "service" if key == "service" else "region with a deployment"
            raise click.ClickException(f"there is no {what} {wanted!r}; there is: {', '.join(names) or 'none'}")
        kept = [loss for loss in kept if wanted in {None, loss[key]}]
    return answer | {"losses": sorted(kept, key=lambda loss: (loss["without"], loss["service"]))}
