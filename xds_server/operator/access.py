"""Who is let in to the admin side: one table of what a request needs, and one judgement, in front of every handler.

A path that the table does not know needs at least `view`: what somebody adds tomorrow is closed until it is opened.
What is open holds nothing: the parts of the page, and what platforms probe (they cannot be given tokens easily, and
learn only whether the process runs and is ready).

Where neither tokens nor client certificates are configured everybody who reaches the address may do everything, and
the address is then a loopback one (`AdminServer` sees to that). `same_origin` is apart from all this: it protects the
person whose browser reaches the address, whoever may come in.

A request that shows a token is judged by it, also when it comes with a certificate: somebody who meant to be one
person must not be taken for another. Bearer tokens and their challenges are those of RFC 6750.

A stream that is under way is judged again whenever the tokens change, so that taking a line out of the file ends what
its holder follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xds_server.model import Event
from xds_server.operator.problems import problem
from xds_server.operator.tokens import Principal, Role, Tokens

OPEN = frozenset({"/", "/live", "/ready"})
REPORTS = "/api/v1/reports"

TOLD_EVERY_S = 10.0
"""Somebody who guesses must not fill the log."""

MOST_AUTHORIZATION = 1024
CHALLENGE = 'Bearer realm="xds-server"'


def needed(method: str, path: str) -> Role | None:
    """Return the role that a request needs; None: none at all."""
    if method in {"GET", "HEAD"}:
        return None if path in OPEN or path.startswith("/page/") else Role.VIEW
    return Role.REPORT if path == REPORTS else Role.OPERATE


@dataclass(frozen=True, slots=True)
class Guard:
    """What is configured. None: no tokens. With `certificates` a verified one names who comes."""

    tokens: Tokens | None = None
    certificates: bool = False

    @property
    def closed(self) -> bool:
        """Return whether anybody needs to say who they are."""
        return self.tokens is not None or self.certificates


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request is refused. `missing`: it says nothing of who sends it, which is not yet an attempt.

    `crowded` is a connection that was closed before any request (`doorstep`).
    """

    why: Literal["missing", "invalid", "role", "crowded"]
    words: str


def judge(
    guard: Guard, need: Role | None, authorization: list[str], certificate: str | None
) -> Principal | Denied | None:
    """Return who is let in; None: somebody, nobody needs to know who."""
    if not guard.closed or need is None:
        return None
    found = _who(guard, authorization, certificate)
    if isinstance(found, Denied) or found.role.covers(need):
        return found
    return Denied("role", f"{found.name} may {found.role}; this needs {need}")


def _who(guard: Guard, authorization: list[str], certificate: str | None) -> Principal | Denied:
    tokens = guard.tokens or Tokens()
    if authorization:
        scheme, _, token = authorization[0].partition(" ")
        if len(authorization) > 1 or scheme.lower() != "bearer" or len(authorization[0]) > MOST_AUTHORIZATION:
            return Denied("invalid", "Authorization must be, once: Bearer TOKEN")
        return tokens.holder(token.strip()) or Denied("invalid", "no such token")
    if certificate is not None and guard.certificates:
        return tokens.certified(certificate)
    ways = ["Authorization: Bearer TOKEN"] * (guard.tokens is not None) + ["a client certificate"] * guard.certificates
    return Denied("missing", f"say who you are: {' or '.join(ways)}")


class Door:
    """The guard in force, which may change, and what is told of those who are refused."""

    def __init__(
        self,
        guard: Guard = Guard(),
        tell: Callable[[Event], None] = lambda _: None,
        count: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.guard = guard
        self._tell = tell
        self._count = count
        self._now = now
        self._untold = 0
        self._last = ""
        self._timer: asyncio.TimerHandle | None = None

    def refused(self, denied: Denied, peer: str, what: str) -> None:
        """Count a refusal; tell of the first attempt at once, and of more together."""
        self._count(denied.why)
        if denied.why == "missing":
            return
        self._untold += 1
        self._last = f"{what} from {peer}: {denied.words}"
        if self._timer is None:
            self._flush()

    def _flush(self) -> None:
        self._timer = None
        if not self._untold:
            return
        many = "a request was" if self._untold == 1 else f"{self._untold} requests were"
        words = f"{many} refused on the admin address; {'the last, ' if self._untold > 1 else ''}{self._last}"
        self._tell(Event("admin.denied", self._now(), words, "warning", (("count", str(self._untold)),)))
        self._untold = 0
        self._timer = asyncio.get_running_loop().call_later(TOLD_EVERY_S, self._flush)


class Access:
    """Lets in who may, and names them to the handlers as `scope["principal"]`."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        guard = self._door.guard
        found = _judged(guard, scope)
        if isinstance(found, Denied):
            self._door.refused(found, _peer(scope), f"{scope['method'][:20]} {scope['path'][:80]!r}")
            await _refusal(found)(scope, receive, send)
            return
        scope["principal"] = found
        await self._app(scope, receive, _watched(scope, send, self._door) if found is not None else send)


def author_of(request: Request) -> str:
    """Return the name of who was let in; empty where nobody had to say."""
    principal: Principal | None = request.scope.get("principal")
    return principal.name if principal is not None else ""


def _judged(guard: Guard, scope: Scope) -> Principal | Denied | None:
    need = needed(scope["method"], scope["path"])
    return judge(guard, need, Headers(scope=scope).getlist("authorization"), scope.get("certificate"))


def _watched(scope: Scope, send: Send, door: Door) -> Send:
    """Send on for as long as the sender of the request is let in."""
    guard, over = door.guard, False

    async def sending(message: Message) -> None:
        nonlocal guard, over
        if over:
            return
        if message.get("more_body") and guard is not door.guard:
            guard = door.guard
            over = isinstance(_judged(guard, scope), Denied)
        await send({"type": "http.response.body", "body": b""} if over else message)

    return sending


def _refusal(denied: Denied) -> Response:
    if denied.why == "role":
        return problem(403, denied.words, {"www-authenticate": f'{CHALLENGE}, error="insufficient_scope"'})
    error = ', error="invalid_token"' if denied.why == "invalid" else ""
    return problem(401, denied.words, {"www-authenticate": CHALLENGE + error, "cache-control": "no-store"})


def _peer(scope: Scope) -> str:
    """Return where a request comes from: an address, or what a proxy on this machine says, which may be anything."""
    client = scope.get("client")
    words = str(client[0])[:64] if client else ""
    return words if words.isprintable() and words else "somewhere"
