"""The JSON Schema: fresh, valid, and of one mind with the parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from xds_server.policy import schema as schema_module
from xds_server.policy.parse import parse
from xds_server.policy.schema import schema, schema_text

ROOT = Path(__file__).parents[2]
SHIPPED = Path(schema_module.__file__).parent / "policy.schema.json"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

BAD = [
    ("colour: red", "Additional properties"),
    ("version: 2", "1 was expected"),
    ("regions: {}", "should be non-empty"),
    ("defaults: {reserve: 20}", "is not of type 'string'"),
    ("defaults: {reserve: '20'}", "does not match"),
    ("defaults: {health: {interval: 1}}", "is not of type 'string'"),
    ("defaults: {health: {intervall: 1s}}", "Additional properties"),
    ("defaults: {retries: {attempts: 11}}", "greater than the maximum"),
    ("defaults: {protocol: http3}", "is not one of"),
    ("fleets: {'a b': {}}", "does not match"),
    ("services: {s: {}}", "'deployments' is a required property"),
    ("services: {s: {deployments: {a: {capacity: 1, endpoints: []}}}}", "should be non-empty"),
    ("services: {s: {deployments: {a: {capacity: 0, endpoints: ['b:1']}}}}", "not valid under any"),
    ("services: {s: {deployments: {a: {capacity: 1, endpoints: ['b']}}}}", "does not match"),
    ("services: {s: {deployments: {a: {endpoints: ['b:1']}}}}", "'capacity' is a required property"),
]
BASE = {
    "version": 1,
    "regions": {"a": {}},
    "services": {"s": {"deployments": {"a": {"capacity": 1, "endpoints": ["b:1"]}}}},
}


def errors(policy: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema()).iter_errors(policy)]


def test_the_schema_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_shipped_file_is_fresh(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        SHIPPED.write_text(schema_text())
    assert SHIPPED.read_text() == schema_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_accepted_and_name_the_schema(path: Path) -> None:
    text = path.read_text()
    assert parse(text, str(path)).warnings == ()
    assert errors(yaml.safe_load(text)) == []
    comment, _, target = text.partition("\n")[0].partition("$schema=")
    assert comment == "# yaml-language-server: "
    assert (path.parent / target).resolve() == SHIPPED


def test_there_are_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["fleets.yaml", "policy.yaml"]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text for text, _ in BAD])
def test_a_mistake_in_a_policy_is_one_error_of_the_schema(text: str, message: str) -> None:
    assert errors(BASE) == []
    found = errors(BASE | yaml.safe_load(text))
    assert len(found) == 1
    assert message in found[0]


def test_every_key_has_words_and_optional_ones_their_default() -> None:
    assert schema()["properties"]["defaults"]["properties"]["health"]["properties"]["interval"] == {
        "description": "Time between two probes of one endpoint.",
        "type": "string",
        "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?(ms|s|m|h)$",
        "default": "1s",
    }
    assert missing_words(schema()) == []


def missing_words(shape: dict[str, Any], path: str = "") -> list[str]:
    missing = [path] if path and path[-1] != "*" and not shape.get("description") else []
    for name, inner in shape.get("properties", {}).items():
        missing += missing_words(inner, f"{path}.{name}")
    if isinstance(inner := shape.get("additionalProperties"), dict):
        missing += missing_words(inner, f"{path}.*")
    return missing
