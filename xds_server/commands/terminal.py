"""What commands know of the terminal they write to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

import click

from xds_server.screens.printable import dumped

Style = Callable[..., str]


def style() -> Style | None:
    """Return what colours text; None where output is not a terminal, or NO_COLOR is set (no-color.org)."""
    return click.style if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else None


def show(lines: Iterable[str]) -> None:
    """Print lines, with the colours they have."""
    click.echo("\n".join(lines), color=True)


def show_json(value: object) -> None:
    """Print a value for programs."""
    click.echo(dumped(value, indent=2))
