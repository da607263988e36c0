"""Who is let in where: the table, the judgement, and both over real HTTP."""

from __future__ import annotations

import hashlib

import aiohttp
import pytest
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from tests.operator.world import Answer, Process, Site, serving
from tests.signals.world import in_loop
from xds_server.model import Event
from xds_server.operator.access import Access, Denied, Door, Guard, judge, needed
from xds_server.operator.admin import AdminApp
from xds_server.operator.tokens import Principal, Role, Tokens, parse_tokens


def lines(**roles: str) -> Tokens:
    """Return the tokens of these names, each of which is its own token."""
    text = "".join(
        f"{name} {role} sha256:{hashlib.sha256(name.encode()).hexdigest()}\n" for name, role in roles.items()
    )
    return parse_tokens(text, "tokens")


TOKENS = lines(viv="view", rob="report", oz="operate")


def test_what_is_open_is_little_and_what_nobody_thought_of_is_closed() -> None:
    open_to_all = {"/", "/live", "/ready", "/page/{name}"}
    gets = [route.path for route in AdminApp(Process()).app().routes]  # type: ignore[attr-defined]
    assert {path for path in gets if needed("GET", path) is None} == open_to_all
    for path in ("/nothing", "/page", "/live/", "//live", "/LIVE", "/api/v1/reports"):
        assert needed("GET", path) is Role.VIEW
    assert needed("POST", "/api/v1/reports") is Role.REPORT
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "X"):
        assert needed(method, "/live") is Role.OPERATE
        assert needed(method, "/api/v1/reports/") is Role.OPERATE


@pytest.mark.parametrize(
    ("guard", "headers", "certificate", "expected"),
    [
        (Guard(), [], None, None),
        (Guard(), ["Bearer nonsense"], "cert", None),
        (Guard(TOKENS), ["Bearer viv"], None, "viv"),
        (Guard(TOKENS), ["bearer  viv"], None, "viv"),
        (Guard(TOKENS), [], None, "missing"),
        (Guard(TOKENS), [], "cert", "missing"),
        (Guard(TOKENS), ["Bearer nobody"], None, "invalid"),
        (Guard(TOKENS), ["Bearer "], None, "invalid"),
        (Guard(TOKENS), ["viv"], None, "invalid"),
        (Guard(TOKENS), ["Basic viv"], None, "invalid"),
        (Guard(TOKENS), ["Bearer viv", "Bearer viv"], None, "invalid"),
        (Guard(TOKENS), ["Bearer " + "x" * 1024], None, "invalid"),
        (Guard(TOKENS), ["Bearer rob"], None, "role"),
        (Guard(None, certificates=True), [], "cert", "cert"),
        (Guard(None, certificates=True), [], None, "missing"),
        (Guard(None, certificates=True), ["Bearer viv"], "cert", "invalid"),
        (Guard(TOKENS, certificates=True), ["Bearer viv"], "cert", "viv"),
        (Guard(TOKENS, certificates=True), [], "rob", "role"),
    ],
)
def test_a_reader_needs_a_token_or_a_certificate_where_either_is_asked_for(
    guard: Guard, headers: list[str], certificate: str | None, expected: str | None
) -> None:
    found = judge(guard, Role.VIEW, headers, certificate)
    assert (found.why if isinstance(found, Denied) else found and found.name) == expected


def test_what_is_open_asks_nothing() -> None:
    assert judge(Guard(TOKENS), None, ["Bearer nobody"], None) is None


async def asked(site: Site, path: str, token: str = "", method: str = "GET") -> Answer:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    return await site.send(method, path, headers=headers, data=b"{}" if method == "POST" else None)


@in_loop
async def test_roles_open_what_they_should_and_nothing_else() -> None:
    process, door = Process(), Door(Guard(TOKENS))
    table = {
        ("GET", "/live"): {"", "viv", "rob", "oz", "nobody"},
        ("GET", "/ready"): {"", "viv", "rob", "oz", "nobody"},
        ("GET", "/"): {"", "viv", "rob", "oz", "nobody"},
        ("GET", "/metrics"): {"viv", "oz"},
        ("GET", "/api/v1/decision"): {"viv", "oz"},
        ("POST", "/api/v1/reports"): {"rob", "oz"},
        ("POST", "/api/v1/retry"): {"oz"},
    }
    async with serving(process, door=door) as site:
        for (method, path), welcome in table.items():
            for token in ("", "nobody", "viv", "rob", "oz"):
                answer = await asked(site, path, token, method)
                expected = 200 if token in welcome else 403 if token in {"viv", "rob"} else 401
                assert answer.status == expected, (method, path, token)
                assert expected == 200 or answer.kind == "application/problem+json"
    assert (process.retries, process.retried_by, len(process.reports)) == (1, "oz", 2)
    assert process.senders == ["rob", "oz"]


@pytest.mark.parametrize(
    "path",
    [
        "/page/../api/v1/fleet",
        "/page/..%2fapi/v1/fleet",
        "/page/%2e%2e/api/v1/fleet",
        "/live/../metrics",
        "/live%2f..%2fmetrics",
        "//api/v1/fleet",
        "/page/x?/../../api/v1/fleet",
    ],
)
@in_loop
async def test_no_detour_leads_around_the_door(path: str) -> None:
    async with (
        serving(Process(), door=Door(Guard(TOKENS))) as site,
        site.session.get(URL(site.base + path, encoded=True)) as response,
    ):
        assert response.status in {401, 404}
        assert response.content_type == "application/problem+json"


@in_loop
async def test_what_a_proxy_says_of_where_a_request_comes_from_cannot_steer_a_terminal() -> None:
    told: list[Event] = []
    headers = {"authorization": "Bearer nobody", "x-forwarded-for": "\x9b2J" + "x" * 500}
    async with serving(Process(), door=Door(Guard(TOKENS), told.append)) as site:
        assert (await site.send("GET", "/metrics", headers=headers)).status == 401
    assert told[0].message.isprintable()
    assert len(told[0].message) < 300


@in_loop
async def test_the_challenge_says_what_is_wrong_and_shows_no_token() -> None:
    async with serving(Process(), door=Door(Guard(TOKENS))) as site:
        found = {}
        for token in ("", "secret-word", "rob"):
            headers = {"authorization": f"Bearer {token}"} if token else {}
            async with site.session.get(f"{site.base}/nothing", headers=headers) as response:
                found[token] = response.headers["www-authenticate"]
                assert "secret-word" not in await response.text()
    assert found == {
        "": 'Bearer realm="xds-server"',
        "secret-word": 'Bearer realm="xds-server", error="invalid_token"',
        "rob": 'Bearer realm="xds-server", error="insufficient_scope"',
    }


@in_loop
async def test_attempts_are_told_at_once_and_then_together_and_all_are_counted() -> None:
    told: list[Event] = []
    counted: list[str] = []
    door = Door(Guard(TOKENS), told.append, counted.append, lambda: 5.0)
    async with serving(Process(), door=door) as site:
        for token in ("", "guess-1", "guess-2", "guess-3", "viv"):
            await asked(site, "/api/v1/retry", token, "POST")
    assert counted == ["missing", "invalid", "invalid", "invalid", "role"]
    assert [event.kind for event in told] == ["admin.denied"]
    assert "POST '/api/v1/retry' from 127.0.0.1: no such token" in told[0].message
    assert "guess" not in told[0].message


@in_loop
async def test_a_stream_ends_when_its_token_is_taken_out_of_the_file_and_not_before() -> None:
    process, door = Process(), Door(Guard(TOKENS))
    async with serving(process, door=door) as site:
        headers = {"authorization": "Bearer viv"}
        async with site.session.get(f"{site.base}/api/v1/stream", headers=headers) as response:
            assert (await response.content.readline()).startswith(b"event: hello")
            door.guard = Guard(lines(viv="view", new="view"))
            process.log.add(Event("region.up", 1.0, "still told"), 1.0)
            assert await line_with(response, b"still told")
            door.guard = Guard(lines(oz="operate"))
            process.log.add(Event("region.up", 1.0, "not told"), 1.0)
            assert not await line_with(response, b"not told")


async def line_with(response: aiohttp.ClientResponse, words: bytes) -> bytes:
    """Return the next line that has these words; empty when the stream has ended."""
    while (line := await response.content.readline()) and words not in line:
        pass
    return line


@in_loop
async def test_handlers_see_who_sends_a_request() -> None:
    seen: list[Principal | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["principal"])

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def receive() -> Message:
        raise AssertionError

    door = Door(Guard(TOKENS))
    scope: Scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"authorization", b"Bearer oz")]}
    await Access(app, door)(dict(scope), receive, send)
    door.guard = Guard()
    await Access(app, door)(dict(scope), receive, send)
    assert seen == [Principal("oz", Role.OPERATE), None]
