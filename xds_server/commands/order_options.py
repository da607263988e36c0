"""The flags that commands about orders share, as decorators. A command gets those that all have as one value, `how`."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from xds_server.commands.options import admin_option

F = TypeVar("F", bound=Callable[..., object])


class How(NamedTuple):
    """Which process is asked, by whom and why; and how much is asked and shown on the way.

    `force`: although the policy's rules refuse it. `dry_run`: only show what it would do. Neither is of use to an end.
    """

    admin: str
    reason: str
    author: str
    yes: bool
    as_json: bool
    force: bool = False
    dry_run: bool = False


def _somebody() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


_author = click.option(
    "--author", default=_somebody, metavar="NAME", help="Who you are.  [default: your name on this machine]"
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; does not ask.")


def order_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what every order takes."""
    options = (
        admin_option,
        click.option("--reason", required=True, help="Why: it stands in the history, and in `status`."),
        _author,
        _yes,
        click.option("--force", is_flag=True, help="Do it although the policy's rules refuse it; it is recorded."),
        click.option("--dry-run", is_flag=True, help="Show what it would do, and stop."),
        _json,
    )
    return _added(_with_how(command), options)


def end_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what everything takes that ends orders."""
    reason = click.option("--reason", default="", help="Why: it stands in the history.")
    return _added(_with_how(command), (admin_option, reason, _author, _yes, _json))


def _with_how(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        command(how=How(**{name: given.pop(name) for name in How._fields if name in given}), **given)

    return gathered


def _added(command: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


expires_option = click.option(
    "--expires", metavar="DURATION", help="When it ends by itself: 30m, 2h.  [default: orders.expires of the policy]"
)
over_option = click.option(
    "--over", metavar="DURATION", help="How long it takes, in ten steps.  [default: orders.over of the policy]"
)
service_option = click.option("--service", default="", help="Only this service.")
no_wait_option = click.option("--no-wait", is_flag=True, help="Do not follow it to its end.")
