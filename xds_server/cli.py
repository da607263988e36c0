"""The command line. Each command imports what it needs when it runs, so that `--help` and `validate` start at once.

Exit codes: 0 done; 1 refused (a bad policy, a taken port, an unusable file), with the reason on standard error;
2 wrong usage.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from xds_server import __version__
from xds_server.commands.access import access_options
from xds_server.commands.client_tls import FILE, tls_options

if TYPE_CHECKING:
    from xds_server.admin_access import AccessPaths
    from xds_server.snapshot.bootstrap_tls import ClientTls

ELSEWHERE = {
    "plan": "xds_server.commands.plan",
    "status": "xds_server.commands.status",
    "explain": "xds_server.commands.status",
    "history": "xds_server.commands.history",
    "events": "xds_server.commands.history",
    "fleet": "xds_server.commands.fleet",
    "retry": "xds_server.commands.fleet",
    "evacuate": "xds_server.commands.orders",
    "restore": "xds_server.commands.orders",
    "drill": "xds_server.commands.orders",
    "override": "xds_server.commands.orders",
    "orders": "xds_server.commands.orders",
    "token": "xds_server.commands.token",
    "replay": "xds_server.commands.replay",
    "demo": "xds_server.demo.command",
    "demo-fault": "xds_server.demo.command",
}
ORDERS = ("evacuate", "restore", "drill", "override", "orders")
LOG_LEVELS = ("debug", "info", "warning", "error")


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


class Commands(click.Group):
    """A group whose larger commands are imported only when asked for; the demo's need what only the demo needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order a newcomer meets them."""
        return [
            "serve",
            "validate",
            "schema",
            "bootstrap",
            "status",
            "explain",
            "history",
            "events",
            "fleet",
            "retry",
            "plan",
            *ORDERS,
            "replay",
            "token",
            "demo",
            "demo-fault",
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name."""
        if cmd_name in ELSEWHERE:
            command = getattr(importlib.import_module(ELSEWHERE[cmd_name]), cmd_name.replace("-", "_"))
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xds-server")
def main() -> None:
    """Control plane for active-active, multi-region systems on Envoy.

    Reads a policy (YAML) and live health, decides how much of each region's traffic every region serves, and streams
    the decision to Envoy sidecars over xDS.
    """


resources_option = click.option(
    "--resources",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    envvar="XDS_SERVER_RESOURCES",
    show_envvar=True,
    help="A folder of YAML files with resources of your own, served beside what follows from the policy.",
)


@main.command(short_help="Serve xDS to Envoys from a policy, and follow the file.")
@click.argument("policy", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--xds",
    type=HostPortType(),
    default="127.0.0.1:18000",
    show_default=True,
    envvar="XDS_SERVER_XDS",
    show_envvar=True,
    help="Where Envoys connect. Port 0 picks a free one.",
)
@click.option(
    "--xds-cert",
    type=FILE,
    metavar="FILE",
    envvar="XDS_SERVER_XDS_CERT",
    show_envvar=True,
    help="Speak TLS to Envoys, with the certificate chain in FILE (PEM). Files are followed when they are rotated.",
)
@click.option(
    "--xds-key", type=FILE, metavar="FILE", envvar="XDS_SERVER_XDS_KEY", show_envvar=True, help="Its private key."
)
@click.option(
    "--xds-ca",
    type=FILE,
    metavar="FILE",
    envvar="XDS_SERVER_XDS_CA",
    show_envvar=True,
    help="Let nobody in without a client certificate that an authority in FILE has signed (mutual TLS).",
)
@click.option(
    "--admin",
    type=HostPortType(),
    default="127.0.0.1:19000",
    show_default=True,
    envvar="XDS_SERVER_ADMIN",
    show_envvar=True,
    help="Where people and Prometheus look: /ready, /metrics, /api/v1/… Port 0 picks a free one.",
)
@click.option(
    "--admin-name",
    "admin_names",
    multiple=True,
    metavar="NAME",
    envvar="XDS_SERVER_ADMIN_NAME",
    show_envvar=True,
    help="A host name by which the admin address is called, besides IP addresses and localhost; may be given several "
    "times. Others are refused, because a page elsewhere can make a name of its own lead here.",
)
@access_options
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="XDS_SERVER_STATE_DIR",
    show_envvar=True,
    help="Keeps the last decision, so that a restart moves nothing without fresh evidence. Recommended.",
)
@click.option(
    "--history-days",
    type=click.FloatRange(min=0, min_open=True, max=3650),
    metavar="DAYS",
    default=30,
    show_default=True,
    envvar="XDS_SERVER_HISTORY_DAYS",
    show_envvar=True,
    help="Keep what happened and was decided for so long in the state directory, within 256 MiB; without one, the last "
    "three hours are kept in memory.",
)
@resources_option
@click.option(
    "--record",
    type=click.IntRange(0, 1_000_000),
    metavar="MIB",
    default=64,
    show_default=True,
    envvar="XDS_SERVER_RECORD",
    show_envvar=True,
    help="Keep the last MIB mebibytes of what went into decisions in the state directory, for `xds-server replay`; "
    "0 for none.",
)
@click.option(
    "--max-connection-age",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=0,
    envvar="XDS_SERVER_MAX_CONNECTION_AGE",
    show_envvar=True,
    help="Have Envoys connect anew after so long, give or take a tenth, so that a fleet spreads over several control "
    "planes. They keep what they have.  [default: 0, never]",
)
@click.option(
    "--live-signals/--no-live-signals",
    default=True,
    show_default=True,
    envvar="XDS_SERVER_LIVE_SIGNALS",
    show_envvar=True,
    help="Let what Envoys and agents report decide as well. Without it the control plane's own probes decide alone, "
    "and the reports are shown on the admin side.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    show_default=True,
    envvar="XDS_SERVER_LOG_LEVEL",
    show_envvar=True,
    help="What to log, to standard error.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="XDS_SERVER_LOG_FORMAT",
    show_envvar=True,
    help="One line an event, as key=value or as JSON.",
)
def serve(
    *,
    policy: Path,
    xds: HostPort,
    xds_cert: Path | None,
    xds_key: Path | None,
    xds_ca: Path | None,
    admin: HostPort,
    admin_names: tuple[str, ...],
    access: AccessPaths,
    state_dir: Path | None,
    history_days: float,
    resources: Path | None,
    record: int,
    max_connection_age: float,
    live_signals: bool,
    log_level: str,
    log_format: Literal["text", "json"],
) -> None:
    """Serve ADS to Envoys from POLICY, and follow the file when it changes.

    When ready, one line of JSON on standard output names the real addresses. Stop with Ctrl-C or SIGTERM: Envoys keep
    what they have.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC reads it on import; its own lines would double ours
    from xds_server import app, startup  # noqa: PLC0415
    from xds_server.signals.tls_files import TlsPaths  # noqa: PLC0415

    age = max_connection_age or None
    if (xds_cert is None) != (xds_key is None) or (xds_ca is not None and xds_cert is None):
        raise click.UsageError("--xds-cert and --xds-key belong together, and --xds-ca needs both")
    options = startup.Options(
        policy=policy,
        xds=xds,
        admin=admin,
        admin_names=admin_names,
        access=access,
        state_dir=state_dir,
        history_days=history_days,
        log_level=log_level,
        log_format=log_format,
        record_bytes=record * 2**20,
        resources=resources,
        max_connection_age_s=age,
        live_signals=live_signals,
        tls=TlsPaths(xds_cert, xds_key, xds_ca) if xds_cert is not None else None,
    )
    try:
        app.run(options)
    except startup.StartError as error:
        raise click.ClickException(str(error)) from error


@main.command(short_help="Check policies; print every error at once.")
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


@main.command(short_help="Print the JSON Schema of the policy.")
def schema() -> None:
    """Print the JSON Schema of the policy, for editors and CI."""
    from xds_server.policy.schema import schema as policy_schema  # noqa: PLC0415

    click.echo(json.dumps(policy_schema(), indent=2))


@main.command(short_help="Print the bootstrap of an Envoy or a gRPC client.")
@click.option("--region", required=True, help="The client's region, as the policy names it: node.locality.region.")
@click.option("--id", "node_id", help="The client's own name: node.id.  [default: FLEET-REGION]")
@click.option("--cluster", default="default", show_default=True, help="The client's fleet: node.cluster.")
@click.option("--zone", default="", help="The client's zone: node.locality.zone.")
@click.option(
    "--xds", type=HostPortType(), default="127.0.0.1:18000", show_default=True, help="Where the control plane listens."
)
@click.option("--admin-address", default="127.0.0.1", show_default=True, help="Where Envoy's admin page listens.")
@click.option("--admin-port", type=click.IntRange(0, 65535), default=9901, show_default=True, help="Its port.")
@click.option("--no-load-reports", is_flag=True, help="Do not report how many requests went where, and how (LRS).")
@click.option("--no-health-checks", is_flag=True, help="Do not look at other regions when asked to (HDS).")
@click.option("--no-access-logs", is_flag=True, help="Do not send a sample of the access log (ALS).")
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option(
    "--last-good",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="STATE_DIR",
    help="Break glass: embed the last decision kept in STATE_DIR as static configuration, for an Envoy that must start "
    "while the control plane is down.",
)
@tls_options
@click.option("--delta", is_flag=True, help="Have changes sent alone (delta xDS), not the state of the world.")
@click.option("--grpc", is_flag=True, help="For gRPC clients without a proxy: the JSON that GRPC_XDS_BOOTSTRAP names.")
def bootstrap(
    *,
    region: str,
    node_id: str | None,
    cluster: str,
    zone: str,
    xds: HostPort,
    admin_address: str,
    admin_port: int,
    no_load_reports: bool,
    no_health_checks: bool,
    no_access_logs: bool,
    form: str,
    last_good: Path | None,
    tls: ClientTls | None,
    delta: bool,
    grpc: bool,
) -> None:
    """Print an Envoy bootstrap: start the sidecar with `envoy -c FILE`. Or, with --grpc, one for a gRPC client."""
    from xds_server.snapshot import bootstrap as made  # noqa: PLC0415
    from xds_server.snapshot.grpc_bootstrap import grpc_bootstrap  # noqa: PLC0415

    options = made.BootstrapOptions(
        region=region,
        node_id=node_id or f"{cluster}-{region}",
        cluster=cluster,
        xds_host=xds.host,
        xds_port=xds.port,
        admin_host=admin_address,
        admin_port=admin_port,
        zone=zone,
        delta=delta,
        load_reports=not no_load_reports,
        health_checks=not no_health_checks,
        access_logs=not no_access_logs,
        tls=tls,
    )
    if grpc:
        if last_good is not None:
            raise click.UsageError("--last-good is for Envoy: a gRPC client has no static configuration")
        click.echo(grpc_bootstrap(options), nl=False)
        return
    if last_good is None:
        message = made.bootstrap(options)
    else:
        from xds_server.break_glass import NothingKeptError, last_snapshot  # noqa: PLC0415

        try:
            message = made.static_bootstrap(options, last_snapshot(last_good, cluster, region))
        except NothingKeptError as error:
            raise click.ClickException(str(error)) from error
    click.echo(made.to_yaml(message) if form == "yaml" else made.to_json(message), nl=False)
