"""Whose request it is: what a web page elsewhere can make a person's browser send is told apart and refused.

Two attacks reach an address that only the person's machine reaches. A page elsewhere sends a form or a `fetch` there
(CSRF): such an order has an `Origin` that is not ours, and the content type of orders cannot be sent across origins
without a preflight, which nobody answers here. Or the page's own name is made to resolve to the address (DNS
rebinding): then `Origin` and `Host` agree, and both are the attacker's. So a request must also be addressed to a name
that no attacker controls: an IP address, `localhost`, or a name that the operator gave. Any other `Host` gets 421 on
every path, reading included.

Programs send no `Origin` and no `Sec-Fetch-Site`; both are looked at only when they are there, and a browser sets them
where a page cannot. An HTTP/1.0 request without any `Host` is no browser's and passes.

Rejected: a token in the page (it is readable to whoever passes as same-origin, so it adds nothing to the above) and
cookies (there are none, which is why there is no session to ride on).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xds_server.operator.problems import MARKS, problem

_PORTS = {"http": 80, "https": 443}
_OURS = ("same-origin", "none")


class Origin(NamedTuple):
    """What RFC 6454 compares, in lower case."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin | None:
    """Return the origin of a URL that is nothing but one; None for anything else (`null` too)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        return None
    if parts.path or parts.query or parts.fragment:
        return None
    return Origin(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def trusted_host(host: str, names: Collection[str]) -> bool:
    """Return whether a `Host` is one that no attacker's DNS can answer for. `names` are in lower case."""
    found = origin_of(f"http://{host}")
    if found is None:
        return False
    try:
        ipaddress.ip_address(found.host)
    except ValueError:
        return found.host == "localhost" or found.host in names
    return True


def cross_origin(headers: Headers, scheme: str) -> str | None:
    """Return why an order may not come from where it comes from; None if it may."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in _OURS:
        return f"an order may not come from a page elsewhere (Sec-Fetch-Site is {site[:20]!r})"
    origins = headers.getlist("origin")
    if not origins:
        return None
    ours = origin_of(f"{scheme}://{headers.get('host', '')}")
    if len(origins) > 1 or ours is None or origin_of(origins[0]) != ours:
        return f"an order may not come from a page elsewhere (Origin is {origins[0][:80]!r})"
    return None


class TrustedHosts:
    """Lets only requests through that are addressed to a trusted name, and marks every answer as not to be embedded."""

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        host = Headers(scope=scope).get("host")
        if host is None or trusted_host(host, self._names):
            await self._app(scope, receive, _marked(send))
            return
        await _misdirected(host)(scope, receive, send)


def _marked(send: Send) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in MARKS.items():
                headers.setdefault(name, value)
        await send(message)

    return marked


def _misdirected(host: str) -> Response:
    words = f"{host[:80]!r} is not a name of this server: use its IP address, or start it with --admin-name NAME"
    return problem(421, words)
