"""Whatever the text: a policy, or a PolicyError whose problems have a place in it. And parser and schema agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import Parsed, parse
from xds_server.policy.schema import schema

EXAMPLE = (Path(__file__).parents[2] / "examples" / "fleets.yaml").read_text()
DATA = yaml.safe_load(EXAMPLE)
TOKENS = [
    *"{}[]:,&*#?|-<>=!%@\\\"'`\n\t ",
    "- ",
    ": ",
    "<<",
    "&a ",
    "*a",
    "!!int ",
    "---\n",
    "1",
    "0",
    "-1",
    "1s",
    "20%",
]
TOKENS += ["true", "null", "~", "us-east-1", "é", "\u2028", "\x85", "\x00", "\ufeff", "10.0.0.1:80", ".nan", "1e999"]
WORDS = [
    "",
    "1",
    "x",
    "-1s",
    "2s",
    "600ms",
    "50%",
    "101%",
    "0",
    "20k",
    "7 req/s",
    "us-east-1",
    "us-west-2",
    "mars",
    "a:1",
]
WORDS += ["10.0.0.1:80", "[::1]:80", "no", "/x", "tcp", "http1", "grpc", "cart", "drain", "latency", "timeout", "hosts"]
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-2, 700), st.floats(), st.sampled_from(WORDS))
VALIDATOR = jsonschema.Draft202012Validator(schema())


def outcome(text: str | bytes) -> Parsed | None:
    """Parse; a refusal must name places and print one line each."""
    try:
        return parse(text, "x")
    except PolicyError as error:
        refused = error
    assert refused.problems
    assert len(str(refused).splitlines()) == len(refused.problems)
    assert all(p.line >= 1 and p.column >= 1 and p.path and p.message for p in refused.problems)
    return None


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_a_policy_or_errors_with_places(text: str) -> None:
    outcome(text)


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_any_bytes_are_a_policy_or_errors_with_places(data: bytes) -> None:
    outcome(data)


@given(st.lists(st.sampled_from(TOKENS), max_size=40))
@settings(deadline=None)
def test_any_row_of_tokens_is_a_policy_or_errors_with_places(tokens: list[str]) -> None:
    outcome("".join(tokens))


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 30), st.lists(st.sampled_from(TOKENS), max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_good_text_with_a_piece_replaced(start: int, length: int, tokens: list[str]) -> None:
    outcome(EXAMPLE[:start] + "".join(tokens) + EXAMPLE[start + length :])


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Return a copy of a good tree in which one value, or one key, is another."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 29)) == 29:
        return draw(st.one_of(LEAVES, st.lists(LEAVES, max_size=2), st.dictionaries(st.sampled_from(WORDS), LEAVES)))
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(changed(value[index])), *value[index + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: inner for name, inner in value.items() if name != key}
    return rest | (
        {draw(st.sampled_from(WORDS)): value[key]} if draw(st.booleans()) else {key: draw(changed(value[key]))}
    )


def some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


DURATION = some("10ms", "500ms", "0.5s", "1s", "2s", "1m", "25h", "-1s", 1)
PERCENT = some("0%", "5%", "33.5%", "50%", "101%", 5)
COUNT = some(0, 1, 7, 80, "1", 1.5, 10**6)
HEALTH = section(
    type=some("http", "tcp", "grpc", "icmp"),
    path=some("/up", "up", 1),
    host=some("a.b:1", "a b"),
    port=COUNT,
    statuses=st.lists(some(200, "200-299", "204", 99), max_size=2),
    body=some("ok", "a\nb", "", 1),
    grpc_service=some("shop.v1.Checkout", "a b"),
    interval=DURATION,
    timeout=DURATION,
    unhealthy_after=COUNT,
)
SETTINGS = section(
    protocol=some("http1", "http2", "grpc", "http3"),
    health=HEALTH,
    timeouts=section(request=DURATION, per_try=DURATION, connect=DURATION, idle=DURATION),
    retries=section(attempts=COUNT, budget=PERCENT, min_concurrency=COUNT),
    reserve=PERCENT,
    ramp_up=DURATION,
    min_change=PERCENT,
    latency_tolerance=DURATION,
    hosts=st.lists(some("a.demo", "B.demo", "b.demo", "*", True), max_size=2),
    demand=section(**{"us-east-1": some(0, 5, "5k", 1.5, -1, "1 req/s")}),
)


@given(SETTINGS)
@settings(max_examples=300, deadline=None)
def test_what_the_parser_accepts_the_schema_accepts(given_settings: dict[str, Any]) -> None:
    data = DATA | {"services": DATA["services"] | {"cart": DATA["services"]["cart"] | given_settings}}
    parsed = outcome(json.dumps(data))
    if parsed is not None:
        VALIDATOR.validate(data)
        again = parse(yaml.safe_dump(data), "x").policy
        assert replace(again, digest="") == replace(parsed.policy, digest="")


@given(changed(DATA))
@settings(max_examples=200, deadline=None)
def test_a_good_tree_with_one_thing_changed(data: Any) -> None:
    if outcome(json.dumps(data)) is not None:
        VALIDATOR.validate(data)
