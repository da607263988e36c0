"""The command line. A command is imported when it is asked for, so that `--help` and `validate` start at once.

Exit codes: 0 done; 1 refused (a bad policy, a taken port, an unusable file), with the reason on standard error;
2 wrong usage.
"""

from __future__ import annotations

import importlib

import click

from xds_server import __version__

COMMANDS = {
    "serve": "xds_server.commands.serve",
    "validate": "xds_server.commands.policy",
    "schema": "xds_server.commands.policy",
    "bootstrap": "xds_server.commands.bootstrap",
    "status": "xds_server.commands.status",
    "explain": "xds_server.commands.status",
    "history": "xds_server.commands.history",
    "events": "xds_server.commands.history",
    "fleet": "xds_server.commands.fleet",
    "retry": "xds_server.commands.fleet",
    "plan": "xds_server.commands.plan",
    "evacuate": "xds_server.commands.orders",
    "restore": "xds_server.commands.orders",
    "drill": "xds_server.commands.orders",
    "override": "xds_server.commands.orders",
    "orders": "xds_server.commands.orders",
    "replay": "xds_server.commands.replay",
    "token": "xds_server.commands.token",
    "demo": "xds_server.demo.command",
    "demo-fault": "xds_server.demo.command",
}
"""Where each command is, in the order in which a newcomer meets them."""


class Commands(click.Group):
    """A group whose commands are imported only when asked for; the demo's need what only the demo needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xds-server")
def main() -> None:
    """Control plane for active-active, multi-region systems on Envoy.

    Reads a policy (YAML) and live health, decides how much of each region's traffic every region serves, and streams
    the decision to Envoy sidecars over xDS.
    """
