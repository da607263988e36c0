"""The flags by which a bootstrap speaks TLS, as one decorator: the command gets `tls`, a ClientTls or None."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from xds_server.snapshot.bootstrap_tls import ClientTls

FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option("--ca", type=FILE, metavar="FILE", help="Speak TLS, and trust a control plane that FILE vouches for."),
    click.option("--cert", type=FILE, metavar="FILE", help="Show this certificate chain, for mutual TLS."),
    click.option("--key", type=FILE, metavar="FILE", help="Its private key."),
    click.option(
        "--xds-name", metavar="NAME", help="Name in the control plane's certificate.  [default: host of --xds]"
    ),
    click.option(
        "--sds-dir",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Write two small files to DIR by which Envoy follows --ca, --cert and --key when they are rotated; "
        "without them it reads these once.",
    ),
)


def tls_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags to a command; it is called with `tls` in their place."""

    @functools.wraps(command)
    def with_tls(
        *,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        xds_name: str | None,
        sds_dir: Path | None,
        grpc: bool,
        **others: Any,
    ) -> None:
        if grpc and (xds_name or sds_dir):
            raise click.UsageError("--xds-name and --sds-dir are for Envoy: a gRPC client verifies the host of --xds")
        command(tls=_client_tls(ca, cert, key, xds_name or "", sds_dir), grpc=grpc, **others)

    for option in reversed(_OPTIONS):
        with_tls = option(with_tls)
    return with_tls


def _client_tls(
    ca: Path | None, cert: Path | None, key: Path | None, name: str, sds_dir: Path | None
) -> ClientTls | None:
    """Return what the bootstrap says of TLS, and write the files of `sds_dir`; None without TLS."""
    from xds_server.snapshot.bootstrap_tls import ClientTls, secret_files  # noqa: PLC0415

    if ca is None:
        if cert or key or name or sds_dir:
            raise click.UsageError("--cert, --key, --xds-name and --sds-dir need --ca: without it nobody is verified")
        return None
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key belong together")
    for path, held in ((ca, "CERTIFICATE"), (cert, "CERTIFICATE"), (key, "PRIVATE KEY")):
        _look(path, held)
    tls = ClientTls(_path(ca), _path(cert), _path(key), name, _path(sds_dir))
    if sds_dir is not None:
        for file, text in secret_files(tls).items():
            (sds_dir / file).write_text(text)
    return tls


def _look(path: Path | None, held: str) -> None:
    """Warn of a file that holds something else; one that is not here may be where the client runs."""
    with contextlib.suppress(OSError):
        if path is not None and f"{held}-----".encode() not in path.read_bytes():
            click.echo(f"warning: {path}: holds no {held.lower()} in PEM form", err=True)


def _path(given: Path | None) -> str:
    return str(given.absolute()) if given is not None else ""
