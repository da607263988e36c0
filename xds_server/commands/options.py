"""Flags that several commands have: addresses to listen on or connect to, the process to ask, own resources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from xds_server.commands.credentials import credential_options

F = TypeVar("F", bound=Callable[..., object])


class HostPort(NamedTuple):
    """A listen or connect address as given: host (no brackets) and port."""

    host: str
    port: int


class HostPortType(click.ParamType[HostPort]):
    """`HOST:PORT`, with brackets around an IPv6 address."""

    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> HostPort:
        """Return the parts; a click error that shows the form if the text is not one."""
        if isinstance(value, HostPort):
            return value
        host, colon, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT; write for example 127.0.0.1:18000 or [::1]:18000", param, ctx)
        return HostPort(host, int(port))


def admin_option(command: F) -> F:
    """Add where the process is, and who asks."""
    return click.option(
        "--admin",
        metavar="HOST:PORT",
        default="127.0.0.1:19000",
        show_default=True,
        envvar="XDS_SERVER_ADMIN",
        show_envvar=True,
        help="The admin address of a running process, or its URL.",
    )(credential_options(command))


resources_option = click.option(
    "--resources",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    envvar="XDS_SERVER_RESOURCES",
    show_envvar=True,
    help="A folder of YAML files with resources of your own, served beside what follows from the policy.",
)
