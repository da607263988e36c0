"""Flags that several commands have: addresses to listen on or connect to, the folder of own resources."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click


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


resources_option = click.option(
    "--resources",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    envvar="XDS_SERVER_RESOURCES",
    show_envvar=True,
    help="A folder of YAML files with resources of your own, served beside what follows from the policy.",
)
