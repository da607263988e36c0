"""Errors as problem details (RFC 9457), so that scripts need not parse pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from starlette.responses import Response

MARKS = MappingProxyType(
    {
        "content-security-policy": "frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
)
"""What every answer has: a page elsewhere may not embed it, and a browser may not take it for what it is not."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """Return the response; `more` are members of the problem's own."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail} | more
    return Response(json.dumps(body) + "\n", status, {**MARKS, **(headers or {})}, "application/problem+json")
