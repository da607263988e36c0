"""`xds-server fleet` and `xds-server retry`: what every client of a running process runs, and what it rejected."""

from __future__ import annotations

import shutil
import sys

import click

from xds_server.commands.options import admin_option
from xds_server.commands.process import ask, order
from xds_server.commands.terminal import show, show_json, style
from xds_server.screens.fleet_table import fleet_table, has_rejections

REJECTED = 3
"""The exit code if something is rejected or kept back."""

NARROWEST = 80


@click.command(short_help="List the connected clients and what each runs.")
@admin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as /api/v1/fleet has it.")
def fleet(*, admin: str, as_json: bool) -> None:
    """List the connected clients: who, since when, what each runs, what it rejected, and what is kept back.

    A version is followed by ~ while newer content is on its way or waits for something, and by ! if the client rejected
    some; a client with * is in the cohort of a policy on trial.

    Exits 0; 3 if a client rejected something or something is kept back; 1 if the process cannot be asked.
    """
    found = ask(admin, "/api/v1/fleet")
    if as_json:
        show_json(found)
    else:
        width = max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
        show(fleet_table(found, width, style()))
    if has_rejections(found):
        sys.exit(REJECTED)


@click.command(short_help="Try again what Envoys rejected.")
@admin_option
def retry(*, admin: str) -> None:
    """Have everything that Envoys rejected tried once more: when a port is free now, or a file is where it should be.

    What is kept back goes out again, clients get again what they rejected, and a policy that was rolled back is put on
    trial again. What is rejected again is kept back again.
    """
    done = order(admin, "/api/v1/retry")
    policy = f", policy {done['policy']} on trial again" if done["policy"] else ""
    click.echo(f"tried again: {done['quarantined']} resources kept back, {done['clients']} clients{policy}")
