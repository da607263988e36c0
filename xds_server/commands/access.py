"""The flags of `serve` that say who may use the admin address, as one decorator: it gets `access`, an AccessPaths."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _file(flag: str, variable: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(flag, type=kind, metavar="FILE", envvar=variable, show_envvar=True, help=text)


_OPTIONS = (
    _file(
        "--admin-tokens",
        "XDS_SERVER_ADMIN_TOKENS",
        "Who may use the admin address: lines of NAME ROLE sha256:HEX, as `xds-server token` prints them. Without it "
        "everybody may who reaches it, and it must be a loopback address.",
    ),
    _file(
        "--admin-cert",
        "XDS_SERVER_ADMIN_CERT",
        "Speak https on the admin address, with the certificate chain in FILE (PEM). Files are followed when they are "
        "rotated.",
    ),
    _file("--admin-key", "XDS_SERVER_ADMIN_KEY", "Its private key."),
    _file(
        "--admin-client-ca",
        "XDS_SERVER_ADMIN_CLIENT_CA",
        "Let in who has a client certificate that an authority in FILE has signed: to operate, unless --admin-tokens "
        "says otherwise of the name in it.",
    ),
)


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags to a command; it is called with `access` in their place."""

    @functools.wraps(command)
    def with_access(
        *,
        admin_tokens: Path | None,
        admin_cert: Path | None,
        admin_key: Path | None,
        admin_client_ca: Path | None,
        **others: Any,
    ) -> None:
        from xds_server.process.admin_access import AccessPaths  # noqa: PLC0415
        from xds_server.signals.tls_files import TlsPaths  # noqa: PLC0415

        if (admin_cert is None) != (admin_key is None) or (admin_client_ca is not None and admin_cert is None):
            raise click.UsageError("--admin-cert and --admin-key belong together, and --admin-client-ca needs both")
        tls = TlsPaths(admin_cert, admin_key, admin_client_ca) if admin_cert is not None else None
        command(access=AccessPaths(admin_tokens, tls), **others)

    for option in reversed(_OPTIONS):
        with_access = option(with_access)
    return with_access
