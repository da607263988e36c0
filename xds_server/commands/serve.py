"""`xds-server serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from xds_server.commands.access import access_options
from xds_server.commands.client_tls import FILE
from xds_server.commands.options import HostPort, HostPortType, resources_option

if TYPE_CHECKING:
    from xds_server.process.admin_access import AccessPaths

LOG_LEVELS = ("debug", "info", "warning", "error")


@click.command(short_help="Serve xDS to Envoys from a policy, and follow the file.")
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
    from xds_server.process import app, startup  # noqa: PLC0415
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
