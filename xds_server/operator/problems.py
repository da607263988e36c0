"""Errors as problem details (RFC 9457), so that scripts need not parse pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """Return the response; `more` are members of the problem's own."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail} | more
    return Response(json.dumps(body) + "\n", status, headers, "application/problem+json")
