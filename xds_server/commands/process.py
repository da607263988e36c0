"""What commands ask of a running process, over its admin address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import click

TIMEOUT_S = 30.0

Json = dict[str, Any]


def ask(admin: str, path: str, query: Mapping[str, object] | None = None) -> Json:
    """Return what a page answers. `admin` is HOST:PORT or a URL. Raises click.ClickException."""
    return _send(Request(_base(admin) + path + (f"?{urlencode(query)}" if query else "")))  # noqa: S310  (see _base)


def order(admin: str, path: str) -> Json:
    """Give an order, and return what came of it. Raises click.ClickException."""
    headers = {"content-type": "application/json"}
    return _send(Request(_base(admin) + path, b"{}", headers, method="POST"))  # noqa: S310


def _base(admin: str) -> str:
    parts = urlsplit(admin if "://" in admin else f"http://{admin}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise click.ClickException(f"{admin!r} is neither HOST:PORT nor a URL; write for example 127.0.0.1:19000")
    return f"{parts.scheme}://{parts.netloc}"


def _send(request: Request) -> Json:
    """Send it without a proxy: one that the environment names for the web does not lead to an admin address."""
    url = request.full_url
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_S) as response:
            answer: Json = json.load(response)
    except HTTPError as error:
        raise click.ClickException(f"{url}: {error.code} {error.read(500).decode(errors='replace').strip()}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise click.ClickException(f"{url}: {error}") from error
    return answer
