"""The web page: plain files of this package, read once, sent under a policy that lets nothing else in.

No build step and nothing from elsewhere: the page works on a machine without internet, and what is in the repository is
what the browser runs. The content security policy forbids inline scripts, frames, forms and other hosts, so that a word
of a client or of a policy that ended up in the page as markup would still do nothing.
"""

from __future__ import annotations

from importlib.resources import files
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES = MappingProxyType(
    {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"},
)

HEADERS = MappingProxyType(
    {
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
)


class WebPage:
    """The page and its parts, by name."""

    def __init__(self) -> None:
        found = [part for part in (files("xds_server.operator") / "page").iterdir() if part.is_file()]
        self._parts = {part.name: part.read_bytes() for part in found}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the parts."""
        return tuple(sorted(self._parts))

    def index(self) -> Response:
        """Return the page."""
        return self._part("index.html", {"vary": "accept"})

    async def part(self, request: Request) -> Response:
        """Serve one of its parts."""
        name = request.path_params["name"]
        if name not in self._parts:
            raise HTTPException(404)
        return self._part(name, {})

    def _part(self, name: str, more: dict[str, str]) -> Response:
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(self._parts[name], headers={**HEADERS, **more}, media_type=f"{kind}; charset=utf-8")


def wants_page(request: Request) -> bool:
    """Return whether a browser asks, for a person to look at."""
    return "text/html" in request.headers.get("accept", "")
