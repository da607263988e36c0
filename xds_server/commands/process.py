"""What commands ask of a running process, over its admin address, as whoever gives the command (credentials.py)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from types import MappingProxyType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import click

from xds_server.commands.credentials import HINT, explained, files, tls, token, warn_in_clear
from xds_server.screens.printable import plain

TIMEOUT_S = 30.0

NOTHING: Mapping[str, object] = MappingProxyType({})

Json = dict[str, Any]


def ask(admin: str, path: str, query: Mapping[str, object] | None = None) -> Json:
    """Return what a page answers. `admin` is HOST:PORT or a URL. Raises click.ClickException."""
    return _send(Request(_base(admin) + path + (f"?{urlencode(query)}" if query else "")))  # noqa: S310  (see _base)


def order(admin: str, path: str, body: Mapping[str, object] = NOTHING) -> Json:
    """Give an order, and return what came of it. Raises click.ClickException."""
    headers = {"content-type": "application/json"}
    return _send(Request(_base(admin) + path, json.dumps(dict(body)).encode(), headers, method="POST"))  # noqa: S310


def _base(admin: str) -> str:
    parts = urlsplit(admin if "://" in admin else f"{'https' if files().secure else 'http'}://{admin}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise click.ClickException(f"{admin!r} is neither HOST:PORT nor a URL; write for example 127.0.0.1:19000")
    return f"{parts.scheme}://{parts.netloc}"


class _NoRedirects(HTTPRedirectHandler):
    """Follows none: the token is for the process that was named."""

    def redirect_request(self, *_: object) -> None:
        """Return nothing, which makes it an error."""


def _send(request: Request) -> Json:
    """Send it without a proxy: one that the environment names for the web does not lead to an admin address."""
    url, given = request.full_url, files()
    handlers = [
        ProxyHandler({}),
        _NoRedirects(),
        *([HTTPSHandler(context=tls(given))] if request.type == "https" else []),
    ]
    if (shown := token(given)) is not None:
        warn_in_clear(url)
        request.add_header("authorization", f"Bearer {shown}")
    try:
        with build_opener(*handlers).open(request, timeout=TIMEOUT_S) as response:
            answer: Json = json.load(response)
    except HTTPError as error:
        raise click.ClickException(_problem(url, error)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise click.ClickException(f"{url}: {explained(error, given)}") from error
    return answer


def _problem(url: str, error: HTTPError) -> str:
    """Return what the process said is wrong (problem details); anybody else is not the process that is meant."""
    text = error.read(64 * 1024).decode(errors="replace").strip()
    detail = f"{url}: {error.code} {error.reason}: this is not an admin address of xds-server"
    if error.headers.get_content_type() == "application/problem+json":
        with contextlib.suppress(ValueError, KeyError, TypeError):
            detail = str(json.loads(text)["detail"])
    detail = plain(detail)
    return f"{detail}; {HINT}" if error.code == HTTPStatus.UNAUTHORIZED else detail
