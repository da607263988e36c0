"""What all handlers of the admin side do alike: read a request, and make an answer of JSON.

What is wrong with a request is an HTTPException with words for whoever sent it. An order is a POST with a JSON content
type, from a program or from our own page: `same_origin` tells those from pages elsewhere in somebody's browser, which
reaches what that person reaches.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from xds_server.decision.what_if import MOST_DEMAND
from xds_server.operator.same_origin import cross_origin

MOST_BODY = 256 * 1024
"""A thousand reports."""

MOST_NAMED = 20


async def sent(request: Request) -> bytes:
    """Return the body of an order; refuses what a page in somebody's browser can send, and what is too large."""
    _check_sender(request)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BODY:
            raise HTTPException(413, f"at most {MOST_BODY // 1024} KiB are taken at once")
    return bytes(body)


def _check_sender(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send it as content-type: application/json")
    refusal = cross_origin(request.headers, request.url.scheme)
    if refusal is not None:
        raise HTTPException(403, refusal)


def needed(request: Request, name: str) -> str:
    """Return a parameter of the query that must be there."""
    found = request.query_params.get(name)
    if not found:
        raise HTTPException(400, f"{name} is needed")
    return found


def number(request: Request, name: str) -> int | None:
    """Return a parameter that is a whole number from 0; None without it."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise HTTPException(400, f"{name} must be a whole number from 0, not {text[:40]!r}")
    return int(text)


def factor(request: Request, name: str) -> float:
    """Return a parameter that demand is multiplied by; 1 without it."""
    text = request.query_params.get(name, "1")
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= MOST_DEMAND:
        raise HTTPException(400, f"{name} must be a number above 0, at most {MOST_DEMAND:g}, not {text[:40]!r}")
    return found


def unknown(what: str, name: str, names: Collection[str]) -> str:
    """Return what to say where a name is asked for that is none of those there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"there is no {what} {name[:80]!r}; there is: {', '.join(sorted(names)[:MOST_NAMED]) or 'none yet'}{more}"


def as_json(value: object, status: int = 200) -> Response:
    """Return a value as JSON that nobody on the way keeps."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body + "\n", status, media_type="application/json", headers={"cache-control": "no-store"})
