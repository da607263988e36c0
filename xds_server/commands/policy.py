"""`xds-server validate` and `xds-server schema`: what may be written in a policy, and whether a policy keeps to it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from xds_server.commands.options import resources_option


@click.command(short_help="Check policies; print every error at once.")
@click.argument("policies", metavar="POLICY...", nargs=-1, required=True, type=click.Path(path_type=Path))
@resources_option
def validate(policies: tuple[Path, ...], resources: Path | None) -> None:
    """Check each POLICY; print every error at once as FILE:LINE:COLUMN: path: what is wrong, and the fix.

    Warnings are printed too, and do not fail. Exits 0 if there are no errors, else 1.
    """
    from xds_server.signals.policy_reader import Accepted, read_now  # noqa: PLC0415

    failed = False
    for path in policies:
        reading = read_now(path, resources)
        if not isinstance(reading, Accepted):
            failed = True
            click.echo("\n".join(reading.errors), err=True)
            continue
        for warning in reading.warnings:
            click.echo(f"warning: {warning}", err=True)
        policy = reading.policy
        counts = f"{len(policy.services)} services, {len(policy.regions)} regions, {len(policy.fleets)} fleets"
        click.echo(f"{path}: ok ({counts}{f', {len(policy.own)} own resources' if resources is not None else ''})")
    if failed:
        sys.exit(1)


@click.command(short_help="Print the JSON Schema of the policy.")
def schema() -> None:
    """Print the JSON Schema of the policy, for editors and CI."""
    from xds_server.policy.schema import schema_text  # noqa: PLC0415

    click.echo(schema_text(), nl=False)
