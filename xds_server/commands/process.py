"""What commands ask of a running process, over its admin address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from types import MappingProxyType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import click

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
        raise click.ClickException(_problem(url, error)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise click.ClickException(f"{url}: {error}") from error
    return answer


def _problem(url: str, error: HTTPError) -> str:
    """Return what the process said is wrong (problem details), or the start of what else it said."""
    text = error.read(64 * 1024).decode(errors="replace").strip()
    if error.headers.get_content_type() == "application/problem+json":
        try:
            return str(json.loads(text)["detail"])
        except (ValueError, KeyError, TypeError):
            pass
    return f"{url}: {error.code} {text[:500]}"
