"""The admin side over real HTTP."""

from __future__ import annotations

import asyncio
import signal
import socket

import aiohttp
import pytest

from tests.operator.world import HELD, Process, client, decision, serving
from tests.signals.world import in_loop
from xds_server.model import Event
from xds_server.operator.admin import AdminApp
from xds_server.operator.admin_server import AdminServer, CannotListenError
from xds_server.operator.exchange import MOST_BODY
from xds_server.operator.views import PolicyStatus
from xds_server.operator.web_page import WebPage


def said(number: int) -> Event:
    return Event("region.down", float(number), f"event {number}", "alarm", (("region", "sa-east-1"),))


@in_loop
async def test_every_page_the_index_names_answers_and_nothing_else_does() -> None:
    process = Process(decided=decision(), connected=(client("web-1"),))
    async with serving(process) as site:
        index = await site.get("/")
        listed = [line.split(maxsplit=1) for line in index.text.splitlines() if line.startswith("/")]
        paths = [route.path for route in AdminApp(process).app().routes]  # type: ignore[attr-defined]
        assert list(dict.fromkeys(path for path, _ in listed)) == paths
        posts = {path for path, what in listed if what.startswith("POST:")}
        endless = {"/api/v1/stream"}
        pages = [path for path, _ in listed if path not in posts | endless and "{" not in path]
        needing_more = {"/api/v1/history/decision": 400, "/api/v1/history/series": 400}
        statuses = {page: (await site.get(page)).status for page in pages}
        assert statuses == dict.fromkeys(pages, 200) | needing_more
        only_posts = {path.replace("{id}", "e-1") for path in posts - set(pages) - {"/api/v1/orders"}}
        assert {path: (await site.get(path)).status for path in only_posts} == dict.fromkeys(only_posts, 405)
        missing = await site.get("/api/v1/nothing")
    assert (missing.status, missing.kind) == (404, "application/problem+json")
    assert missing.json == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "Not Found"}


@in_loop
async def test_ready_says_what_it_waits_for() -> None:
    process = Process(reason="no policy was read yet")
    async with serving(process) as site:
        waiting = await site.get("/ready")
        assert (waiting.status, waiting.text) == (503, "no policy was read yet\n")
        assert (await site.get("/live")).status == 200
        process.reason = None
        assert (await site.get("/ready")).status == 200


@in_loop
async def test_what_is_read_only_refuses_to_be_written() -> None:
    async with serving(Process()) as site:
        answer = await site.get("/api/v1/decision", "POST")
    assert (answer.status, answer.kind, answer.json["status"]) == (405, "application/problem+json", 405)


@in_loop
async def test_an_agent_reports_by_post() -> None:
    process = Process()
    async with serving(process) as site:
        taken = await site.post("/api/v1/reports", b'{"a": 1}', "application/json; charset=utf-8")
        assert (taken.status, taken.json) == (200, {"accepted": 1})
        assert process.reports == [b'{"a": 1}']
        assert process.senders == ["127.0.0.1"]
        process.objection = "reports[0].region: not a region"
        refused = await site.post("/api/v1/reports", b"{}")
        assert (refused.status, refused.kind) == (400, "application/problem+json")
        assert refused.json["detail"] == process.objection


@in_loop
async def test_a_report_that_is_too_large_or_comes_from_a_web_page_is_refused() -> None:
    process = Process()
    async with serving(process) as site:
        assert (await site.post("/api/v1/reports", b" " * (MOST_BODY + 1))).status == 413
        assert (await site.post("/api/v1/reports", b"{}", "text/plain")).status == 415
        assert (await site.post("/api/v1/reports", b" " * MOST_BODY)).status == 200
    assert len(process.reports) == 1


@in_loop
async def test_a_retry_is_ordered_by_post_and_not_by_a_web_page_elsewhere() -> None:
    process = Process(held=(HELD,))
    json_type = {"content-type": "application/json"}
    async with serving(process) as site:
        assert (await site.get("/api/v1/retry")).status == 405
        assert (await site.post("/api/v1/retry", b"{}", "text/plain")).status == 415
        for origin in ("https://elsewhere.example", "http://localhost", "null"):
            refused = await site.send("POST", "/api/v1/retry", data=b"{}", headers={**json_type, "origin": origin})
            assert (refused.status, refused.kind) == (403, "application/problem+json")
        assert process.retries == 0
        done = await site.post("/api/v1/retry", b"{}")
        assert (done.status, done.json) == (200, {"quarantined": 1, "clients": 1, "policy": "abc123"})
        ours = {**json_type, "origin": site.base, "sec-fetch-site": "same-origin"}
        assert (await site.send("POST", "/api/v1/retry", data=b"{}", headers=ours)).status == 200
        assert process.retries == 2


@in_loop
async def test_the_fleet_shows_what_is_rejected_and_kept_back() -> None:
    async with serving(Process(connected=(client("a"),), held=(HELD,))) as site:
        shown = (await site.get("/api/v1/fleet")).json
    clusters, routes = (shown["clients"][0]["types"][name] for name in ("CDS", "RDS"))
    assert (clusters["synced"], clusters["rejected"]) == (True, [])
    assert (routes["synced"], routes["rejected_count"]) == (False, 1)
    assert routes["rejected"] == [{"name": "outbound", "version": "v2", "error": "bad route"}]
    view = {"fleet": "default", "region": "us-east-1", "kind": "envoy"}
    resource = {"type": "RDS", "name": "outbound", "version": "v2"}
    assert shown["quarantine"] == [{**view, **resource, "client": "a", "error": "bad route"}]


@in_loop
async def test_decision_before_and_after_the_first() -> None:
    process = Process(status=PolicyStatus("p.yaml", None, ("p.yaml:1:1: regions: missing",)))
    async with serving(process) as site:
        before = (await site.get("/api/v1/decision")).json
        process.decided = decision()
        after = (await site.get("/api/v1/decision")).json
    rejected = {"errors": ["p.yaml:1:1: regions: missing"]}
    assert before == {
        "policy": {"digest": None, "source": "p.yaml", "trial": None, "rejected": rejected},
        "regions": [],
        "fleets": [],
        "services": [],
    }
    assert [service["service"] for service in after["services"]] == ["checkout", "search"]


@in_loop
async def test_one_service_can_be_asked_for() -> None:
    async with serving(Process(decided=decision())) as site:
        one = await site.get("/api/v1/decision?service=search")
        none = await site.get("/api/v1/decision?service=nothing")
    assert [service["service"] for service in one.json["services"]] == ["search"]
    assert (none.status, none.kind) == (404, "application/problem+json")


@in_loop
async def test_a_browser_gets_the_page_and_its_parts_under_a_strict_policy() -> None:
    names = WebPage().names
    async with serving(Process()) as site:
        shown = await site.send("GET", "/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (shown.status, shown.kind) == (200, "text/html")
        assert {(await site.get(f"/page/{name}")).status for name in names} == {200}
        async with site.session.get(site.base + "/page/index.html") as response:
            headers = response.headers
        assert (await site.get("/page/nothing.js")).status == 404
        assert (await site.get("/page/..%2fadmin.py")).status == 404
    assert headers["content-type"].startswith("text/html")
    assert headers["x-frame-options"] == "DENY"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert not any(word in policy["script-src"] for word in ("unsafe", "http", "data", "*"))


@in_loop
async def test_events_page_forward_and_default_to_the_newest() -> None:
    process = Process()
    for number in range(1, 6):
        process.log.add(said(number), wall=1_700_000_000.0 + number)
    async with serving(process) as site:
        page = (await site.get("/api/v1/events?after=1&limit=2")).json
        newest = (await site.get("/api/v1/events?limit=1")).json
        everything = (await site.get("/api/v1/events")).json
    assert page["last"] == 5
    assert [event["seq"] for event in page["events"]] == [2, 3]
    assert newest["events"] == [
        {
            "seq": 5,
            "time": 1_700_000_005.0,
            "kind": "region.down",
            "severity": "alarm",
            "message": "event 5",
            "fields": {"region": "sa-east-1"},
        }
    ]
    assert [event["seq"] for event in everything["events"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=1.5", "after=" + "9" * 40, "after=", "limit=٣x"])
@in_loop
async def test_a_bad_number_is_a_clear_400(query: str) -> None:
    async with serving(Process()) as site:
        answer = await site.get(f"/api/v1/events?{query}")
    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert answer.json["detail"].startswith(query.split("=", maxsplit=1)[0] + " must be a whole number")


@in_loop
async def test_the_policy_page_has_the_errors_of_a_refused_edit() -> None:
    async with serving(Process(status=PolicyStatus("p.yaml", "abc", ("p.yaml:3:1: x: y",)))) as site:
        assert (await site.get("/api/v1/policy")).json == {
            "digest": "abc",
            "source": "p.yaml",
            "trial": None,
            "rejected": {"errors": ["p.yaml:3:1: x: y"]},
        }


@in_loop
async def test_a_taken_port_is_one_line_that_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListenError) as refused:
            await AdminServer(Process(), "127.0.0.1", port).start()
    assert str(refused.value) == f"admin address 127.0.0.1:{port}: address already in use"


@in_loop
async def test_a_host_that_does_not_exist_is_one_line_too() -> None:
    with pytest.raises(CannotListenError, match=r"^admin address no-such-host\.invalid:0: name or service not known$"):
        await AdminServer(Process(), "no-such-host.invalid", 0).start()


@in_loop
async def test_ipv6_loopback_is_served() -> None:
    server = AdminServer(Process(), "::1", 0)
    address = await server.start()
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/live") as response:
        assert response.status == 200
    await server.stop()


@in_loop
async def test_signals_stay_with_the_process_and_stop_leaves_nothing_open() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server = AdminServer(Process(), "127.0.0.1", 0)
    address = await server.start()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/live") as response:  # an idle connection stays open
            assert response.status == 200
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        await server.stop()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(address.ip, address.port)
    with socket.create_server((address.ip, address.port)):
        pass  # free again


@in_loop
async def test_a_stop_before_the_start_is_nothing() -> None:
    await AdminServer(Process(), "127.0.0.1", 0).stop()
