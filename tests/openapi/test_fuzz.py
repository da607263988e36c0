"""Requests made from the document by schemathesis, to a real process: no 500, and every answer is as it says.

Seeded and bounded: the same requests every time. The stream is left out, because it does not end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from tests.access.world import Answer, Server, served
from tests.openapi.test_document import DOCUMENT, problems
from xds_server.operator.openapi.operations import operations
from xds_server.operator.tokens import Role, line_of

TOKEN = "t-fuzz"
EXAMPLES = 12
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
FUZZED = sorted(
    (method, path, mode.value)
    for (method, path), operation in operations().items()
    for mode in (BOTH if operation.query or operation.body else BOTH[:1])
    if path != "/api/v1/stream"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("fuzz")
    tokens = directory / "tokens"
    tokens.write_text(line_of("fuzz", Role.OPERATE, TOKEN))
    with served(
        directory, "--admin-tokens", tokens, "--state-dir", directory / "state", "--log-level", "error"
    ) as found:
        yield found
        assert found.process.poll() is None
        assert "Traceback" not in found.log


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.parametrize(("method", "path", "mode"), FUZZED)
def test_answers_are_as_the_document_says(
    server: Server, schema: BaseSchema, method: str, path: str, mode: str
) -> None:
    operation = schema[path][method]

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def run(case: Any) -> None:
        authorization = {"authorization": f"Bearer {TOKEN}"}
        case.call_and_validate(base_url=f"http://{server.admin}", headers=authorization, checks=CHECKS)

    run()


EVACUATE = {"kind": "evacuate", "region": "east", "reason": "a test", "author": "anna", "over": "0s", "expires": "1h"}


def test_an_order_from_its_preview_to_its_end(server: Server) -> None:
    def post(path: str, **body: object) -> Answer:
        answer = server.ask(path, TOKEN, "POST", body=json.dumps(body))
        template = "/api/v1/orders/{id}/end" if path.endswith("/end") else path
        kind = answer.headers["content-type"]
        assert problems("POST", template, answer.status, kind, answer.json) == []
        return answer

    version = server.ask("/api/v1/orders", TOKEN).json["version"]
    seen = post("/api/v1/orders", **EVACUATE, dry_run=True)
    assert (seen.status, seen.json["plan"][0]["service"]) == (200, "shop")
    force = {"force": True} if seen.json["refusals"] else {}
    placed = post("/api/v1/orders", **EVACUATE, **force, if_version=version)
    assert (placed.status, placed.json["order"]["author"]) == (201, "fuzz")
    identity, version = placed.json["order"]["id"], placed.json["version"]
    assert post("/api/v1/orders", **(EVACUATE | {"reason": "another"}), **force).status == 428
    assert post("/api/v1/orders", **(EVACUATE | {"reason": "another"}), **force, if_version=version - 1).status == 409
    listed = server.ask("/api/v1/orders", TOKEN)
    assert problems("GET", "/api/v1/orders", 200, "application/json", listed.json) == []
    assert identity in {order["id"] for order in listed.json["orders"]}
    assert post("/api/v1/orders/e-nothing/end", reason="x", if_version=version).status == 404
    version = listed.json["version"]
    assert post(f"/api/v1/orders/{identity}/end", reason="x", if_version=version).status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"kind": {}}', "kind must be one of"),
        ('{"kind": "evacuate", "on_harm": []}', "on_harm must be one of"),
        ('{"kind": "evacuate", "reason": "\\ud800"}', "reason must be one line"),
        ('{"kind": "evacuate", "expires": "999999999h"}', ""),
        ('{"kind": "capacity", "capacity": 1e999}', "capacity"),
        ('{"kind": "weight", "weights": {"\\ud800": NaN}}', "weights must be parts"),
        ("[" * 100_000, "the body is not JSON"),
        ('{"kind": ' + "9" * 10_000 + "}", "the body is not JSON"),
    ],
)
def test_orders_that_mean_nothing_are_a_400(server: Server, body: str, words: str) -> None:
    answer = server.ask("/api/v1/orders", TOKEN, "POST", body=body)
    assert answer.status == 400, answer.text
    assert words in answer.json["detail"]
