"""How a command says who gives it, to a process whose admin address wants to know: one set of options for all of them.

They are read from click's context when a request is sent, so that no command hands on what it has no other use for. A
token comes from a file or from the environment, never from an argument: those stand in `ps` and in a shell's history.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import urlsplit

import click

TOKEN = "XDS_SERVER_TOKEN"  # noqa: S105  (the name of a variable)
HINT = f"give --admin-token-file FILE, or set {TOKEN} or {TOKEN}_FILE"

_KEY = "xds_server.credentials"
_WARNED = "xds_server.credentials.warned"

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Files:
    """What the options named."""

    token: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def secure(self) -> bool:
        """Return whether an address without a scheme means https."""
        return self.ca is not None or self.certificate is not None


def _noted(name: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    def note(context: click.Context, _: click.Parameter, value: Path | None) -> None:
        context.meta.setdefault(_KEY, {})[name] = value

    return note


def _file(flag: str, name: str, variable: str, text: str) -> Callable[[F], F]:
    return click.option(
        flag,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        envvar=variable,
        show_envvar=True,
        expose_value=False,
        callback=_noted(name),
        help=text,
    )


def credential_options(command: F) -> F:
    """Add the options to a command; it does not see them."""
    for option in reversed(
        (
            _file("--admin-token-file", "token", f"{TOKEN}_FILE", f"Holds your token; or set {TOKEN}."),
            _file("--admin-ca", "ca", "XDS_SERVER_ADMIN_CA", "Who signed the process' certificate; makes it https."),
            _file("--admin-cert", "certificate", "XDS_SERVER_CLIENT_CERT", "Your certificate; makes it https."),
            _file("--admin-key", "key", "XDS_SERVER_CLIENT_KEY", "Its key.  [default: in the file of --admin-cert]"),
        )
    ):
        command = option(command)
    return command


def files() -> Files:
    """Return what the command that runs was given."""
    context = click.get_current_context(silent=True)
    given: dict[str, Any] = context.meta.get(_KEY, {}) if context is not None else {}
    return Files(**given)


def token(given: Files) -> str | None:
    """Return the token to show, if there is one: the first word of the file. Raises click.ClickException."""
    if given.token is None:
        return _usable(os.environ.get(TOKEN, "").strip(), TOKEN) or None
    try:
        words = given.token.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise click.ClickException(f"{given.token}: cannot be read: {why}") from error
    if not words:
        raise click.ClickException(f"{given.token}: holds no token")
    return _usable(words[0], str(given.token))


def _usable(found: str, source: str) -> str:
    if not found.isascii() or not found.isprintable() or " " in found:
        raise click.ClickException(f"{source}: holds what is no token")
    return found


def warn_in_clear(url: str) -> None:
    """Say, once a command, that a token goes over the network where others may read it."""
    host, meta = urlsplit(url).hostname or "", click.get_current_context().meta
    if urlsplit(url).scheme == "https" or is_this_machine(host) or meta.get(_WARNED):
        return
    meta[_WARNED] = True
    click.echo(f"warning: the token goes to {host} in clear, over http; use https:// or --admin-ca FILE", err=True)


def is_this_machine(host: str) -> bool:
    """Return whether what is sent there stays on this machine.

    So does what is sent to 0.0.0.0: XDS_SERVER_ADMIN may say where `serve` listens, in a container for example.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def tls(given: Files) -> ssl.SSLContext:
    """Return how to speak https. Raises click.ClickException."""
    try:
        context = ssl.create_default_context(cafile=given.ca)
    except (OSError, ssl.SSLError) as error:
        raise click.ClickException(f"{given.ca}: holds no certificates: {_why(error)}") from error
    if given.certificate is not None:
        try:
            context.load_cert_chain(given.certificate, given.key, password=lambda: b"")
        except (OSError, ssl.SSLError, ValueError) as error:
            both = f"{given.certificate}" + (f" and {given.key}" if given.key is not None else "")
            raise click.ClickException(f"{both}: no certificate with its key, unencrypted: {_why(error)}") from error
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not in PEM form").lower().replace("_", " ")
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def explained(error: Exception, given: Files) -> str:
    """Return why no connection came about, with what to do about it if we know."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        fix = f"{given.ca} does not vouch for it" if given.ca else "give --admin-ca FILE"
        return f"the process' certificate is not trusted ({cause.verify_message}): {fix}"
    if isinstance(cause, ssl.SSLError):
        words = _why(cause)
        return f"TLS failed: {words}" + ("; it may speak http" if "version number" in words or "layer" in words else "")
    if isinstance(cause, HTTPException):
        return "what answers does not speak HTTP; the admin address is the one that `serve --admin` names"
    if isinstance(cause, ConnectionRefusedError):
        return "nobody listens there; start `xds-server serve`, or name its admin address with --admin"
    return _why(cause)
