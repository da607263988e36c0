"""`xds-server replay`: runs a record again, under the policies that were or under another one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from xds_server import __version__
from xds_server.commands.replay_words import comparison_json, comparison_lines, run_lines, runs_json
from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.record.replay import Comparison, Run, what_if
from xds_server.record.replay import replay as replay_runs
from xds_server.record.segment import Start, Step
from xds_server.record.values import UnreadableError
from xds_server.snapshot.tls import with_file_names
from xds_server.store.record_files import read


@click.command(short_help="Run a record of decisions again.")
@click.argument("log", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--policy",
    "other",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Show what this policy would have done with the same evidence.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(*, log: Path, other: Path | None, as_json: bool) -> None:
    """Run the record in LOG again: a state directory, the record's directory in it, or one segment.

    The same engine on the same inputs must decide the same, byte for byte. Prints the events and, if there is one, the
    first difference; then exits 1. With --policy nothing is checked: it prints from when to when the weights, and what
    is refused, would have been others, for each service and view.
    """
    notes: list[str] = []
    try:
        if other is None:
            runs = list(replay_runs(_entries(log, notes)))
            _show_runs(runs, as_json=as_json)
        else:
            _show_comparison(what_if(_entries(log, notes), _policy(other)), as_json=as_json)
            runs = []
    except UnreadableError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{log}: cannot be read: {error.strerror}") from error
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if any(run.difference is not None for run in runs):
        sys.exit(1)


def _entries(log: Path, notes: list[str]) -> Iterator[Start | Step]:
    """Yield what is recorded; a click error if that is nothing."""
    nothing = True
    for entry in read(log, notes):
        nothing = False
        yield entry
    if nothing:
        why = "; ".join(notes) or "`xds-server serve --state-dir DIR` keeps one in DIR/record"
        raise click.ClickException(f"{log}: no record: {why}")


def _show_runs(runs: list[Run], *, as_json: bool) -> None:
    click.echo(json.dumps(runs_json(runs), indent=2) if as_json else "\n".join(run_lines(runs)))
    if any(run.version != __version__ and run.difference is not None for run in runs):
        click.echo(f"note: this is version {__version__}; another version may decide otherwise", err=True)


def _show_comparison(found: Comparison, *, as_json: bool) -> None:
    click.echo(json.dumps(comparison_json(found), indent=2) if as_json else "\n".join(comparison_lines(found)))


def _policy(path: Path) -> Policy:
    try:
        return with_file_names(parse(path.read_bytes(), str(path)).policy)
    except PolicyError as error:
        raise click.ClickException(str(error)) from error
