"""`xds-server bootstrap`: what an Envoy or a gRPC client starts with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xds_server.commands.client_tls import tls_options
from xds_server.commands.options import HostPort, HostPortType

if TYPE_CHECKING:
    from xds_server.snapshot.bootstrap_tls import ClientTls


@click.command(short_help="Print the bootstrap of an Envoy or a gRPC client.")
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
