"""The document and the app: the same paths and methods, and answers that are as it says, to the field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from tests.access.test_judgement import TOKENS
from tests.operator.world import HELD, Process, client, decision, serving
from tests.signals.world import in_loop
from xds_server.model import Event
from xds_server.operator.access import Door, Guard
from xds_server.operator.admin import AdminApp
from xds_server.operator.exchange import MOST_BODY
from xds_server.operator.openapi.document import document
from xds_server.operator.openapi.operations import operations

DOCUMENT = document("1")
PAGE = {("GET", "/"), ("GET", "/page/{name}")}


def test_the_document_has_every_operation_of_the_app_and_no_other() -> None:
    routes = [route for route in AdminApp(Process()).app().routes if isinstance(route, Route)]
    served = {(method, route.path) for route in routes for method in route.methods or () if method != "HEAD"}
    assert served - PAGE == set(operations())
    shown = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert shown == set(operations())


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    used = {found["$ref"] for found in walk(DOCUMENT) if "$ref" in found}
    there = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DOCUMENT["components"][kind]
    }
    assert used == there
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def closed(schema: Any) -> Any:
    """Return a schema whose objects take no field that it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    return made | ({"additionalProperties": False} if "properties" in schema and "required" in schema else {})


def problems(method: str, path: str, status: int, kind: str, body: Any) -> list[str]:
    """Return how an answer differs from what the document says."""
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    if str(status) not in responses:
        return [f"{status} is not documented"]
    response = responses[str(status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if kind not in response["content"]:
        return [f"{kind} is not documented"]
    schemas = closed({"components": DOCUMENT["components"]})
    if path == "/api/v1/signals" and status == 200:  # what a signal has depends on its source
        schemas = {"components": DOCUMENT["components"]}
    found = Draft202012Validator(schemas | response["content"][kind]["schema"]).iter_errors(body)
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


ASKED = [
    ("/live", 200),
    ("/ready", 200),
    ("/metrics", 200),
    ("/api/v1/status", 200),
    ("/api/v1/decision", 200),
    ("/api/v1/decision?service=checkout", 200),
    ("/api/v1/decision?service=none", 404),
    ("/api/v1/events", 200),
    ("/api/v1/events?limit=x", 400),
    ("/api/v1/fleet", 200),
    ("/api/v1/openapi.json", 200),
    ("/api/v1/orders", 200),
    ("/api/v1/plan?demand=2", 200),
    ("/api/v1/plan?demand=0", 400),
    ("/api/v1/plan?without=nowhere", 404),
    ("/api/v1/policy", 200),
    ("/api/v1/signals", 200),
    ("/api/v1/history", 200),
    ("/api/v1/history?from=x", 400),
    ("/api/v1/history/series?service=checkout", 200),
    ("/api/v1/history/series", 400),
    ("/api/v1/history/diff", 200),
    ("/api/v1/history/decision?service=none", 404),
]


@in_loop
async def test_answers_are_as_the_document_says() -> None:
    process = Process(decided=decision(), connected=(client("web-1"),), held=(HELD,))
    process.log.add(Event("region.down", 1.0, "down", "alarm", (("region", "sa-east-1"),)), 1.0)
    process.status = replace(process.status, rejected=("policy.yaml:1:1: wrong",))
    async with serving(process) as site:
        for path, status in ASKED:
            answer = await site.get(path)
            assert answer.status == status, (path, answer.text)
            found = answer.text if answer.json is None else answer.json
            assert problems("GET", path.partition("?")[0], status, answer.kind, found) == [], path
        assert (await site.get("/api/v1/openapi.json")).json["paths"].keys() == DOCUMENT["paths"].keys()


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("GET", "/nothing", None, "", 404),
        ("GET", "/api/v1/fleet/", None, "", 404),
        ("PUT", "/api/v1/orders", b"{}", "application/json", 405),
        ("DELETE", "/live", None, "", 405),
        ("POST", "/api/v1/orders", b"{}", "text/plain", 415),
        ("POST", "/api/v1/orders", b" " * (MOST_BODY + 1), "application/json", 413),
        ("POST", "/api/v1/reports", b"\xff", "application/json", 400),
    ],
)
@in_loop
async def test_every_error_is_a_problem(method: str, path: str, body: bytes | None, kind: str, status: int) -> None:
    process = Process(decided=decision(), objection="no" if "reports" in path else "")
    headers = {"content-type": kind} if kind else {}
    async with serving(process) as site:
        answer = await site.send(method, path, data=body, headers=headers)
    assert (answer.status, answer.kind) == (status, "application/problem+json"), answer.text
    validator = Draft202012Validator(DOCUMENT["components"]["schemas"]["Problem"])
    assert not list(validator.iter_errors(answer.json))
    assert answer.json["status"] == status


@in_loop
async def test_a_wrong_method_is_told_the_right_ones() -> None:
    async with serving(Process()) as site, site.session.put(f"{site.base}/api/v1/orders") as response:
        assert set(response.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}


@in_loop
async def test_a_bug_is_a_problem_without_its_details() -> None:
    process = Process()

    def broken() -> None:
        raise ZeroDivisionError("secret")

    process.clients = broken  # type: ignore[method-assign,assignment]
    async with serving(process) as site:
        answer = await site.get("/api/v1/fleet")
    assert (answer.status, answer.kind) == (500, "application/problem+json")
    assert "secret" not in answer.text


def test_the_document_says_which_role_each_operation_needs() -> None:
    roles = {(method, path): DOCUMENT["paths"][path][method.lower()]["description"] for method, path in operations()}
    assert roles["POST", "/api/v1/retry"] == "Needs the role `operate`."
    assert roles["POST", "/api/v1/reports"] == "Needs the role `report`."
    assert roles["GET", "/live"] == "Open to all."
    assert json.dumps(DOCUMENT)


@in_loop
async def test_who_is_not_let_in_gets_what_the_document_says() -> None:
    async with serving(Process(), door=Door(Guard(TOKENS))) as site:
        answer = await site.get("/api/v1/fleet")
        assert problems("GET", "/api/v1/fleet", answer.status, answer.kind, answer.json) == []
