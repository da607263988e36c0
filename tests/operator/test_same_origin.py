"""Which requests a browser may send, and by which names the admin side may be called."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from tests.operator.world import Process, serving
from tests.signals.world import in_loop
from xds_server.operator.same_origin import cross_origin, origin_of, trusted_host


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:19000", "10.2.3.4:80", "[::1]:19000", "localhost", "LOCALHOST:19000", "xds.internal:1"],
)
def test_names_that_no_attacker_answers_for(host: str) -> None:
    assert trusted_host(host, {"xds.internal"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:19000",
        "xds.internal.evil.example",
        "evil.example:127.0.0.1",
        "evil.example@127.0.0.1",
        "127.0.0.1/evil",
        "127.0.0.1 evil.example",
        "[::1",
        "localhost:99999",
    ],
)
def test_any_other_name_is_not_trusted(host: str) -> None:
    assert not trusted_host(host, {"xds.internal"})


@pytest.mark.parametrize(
    ("url", "port"), [("http://a", 80), ("https://a", 443), ("http://a:80", 80), ("HTTP://A:81", 81)]
)
def test_an_origin_has_a_port_of_its_own(url: str, port: int) -> None:
    found = origin_of(url)
    assert found is not None
    assert (found.host, found.port) == ("a", port)


@pytest.mark.parametrize("text", ["null", "", "file://", "http://", "http://a/", "http://a?b", "http://u@a", "a:80"])
def test_what_is_no_origin(text: str) -> None:
    assert origin_of(text) is None


HERE = {"host": "localhost:19000"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:19000"},
        {"origin": "http://LOCALHOST:19000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_programs_and_our_own_page_may(headers: dict[str, str]) -> None:
    assert cross_origin(Headers(HERE | headers), "http") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": "http://localhost"},
        {"origin": "https://localhost:19000"},
        {"origin": "http://127.0.0.1:19000"},
        {"origin": "http://localhost:19000.evil.example"},
        {"origin": "http://localhost:19000", "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_pages_elsewhere_may_not(headers: dict[str, str]) -> None:
    assert cross_origin(Headers(HERE | headers), "http")


def test_two_origins_are_none_of_ours() -> None:
    twice = [(b"host", b"localhost:19000"), *[(b"origin", b"http://localhost:19000")] * 2]
    assert cross_origin(Headers(raw=twice), "http")


@in_loop
async def test_a_rebound_name_is_refused_on_every_path() -> None:
    async with serving(Process()) as site:
        for path in ("/", "/live", "/metrics", "/page/main.js", "/api/v1/fleet", "/api/v1/stream", "/nothing"):
            refused = await site.send("GET", path, headers={"host": "evil.example"})
            assert (refused.status, refused.kind) == (421, "application/problem+json"), path
            assert "--admin-name" in refused.json["detail"]


@in_loop
async def test_a_name_that_was_given_is_answered() -> None:
    async with serving(Process(), names=("XDS.internal",)) as site:
        assert (await site.send("GET", "/live", headers={"host": "xds.internal:19000"})).status == 200


@in_loop
async def test_no_answer_may_be_embedded_or_taken_for_something_else() -> None:
    async with serving(Process()) as site:
        for path, host in (
            ("/", ""),
            ("/live", ""),
            ("/api/v1/fleet", ""),
            ("/nothing", ""),
            ("/live", "evil.example"),
        ):
            async with site.session.get(site.base + path, headers={"host": host} if host else {}) as response:
                found = response.headers
            assert found["x-content-type-options"] == "nosniff", path
            assert found["cross-origin-resource-policy"] == "same-origin"
            assert found.getall("content-security-policy") == ["frame-ancestors 'none'"]
        async with site.session.get(f"{site.base}/page/main.js") as response:
            (policy,) = response.headers.getall("content-security-policy")
        assert policy.startswith("default-src 'none'")
