"""docs/policy.md: its tables are the grammar's, its examples are read as it says.

`pytest tests/policy --rewrite` writes the tables and the messages anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from xds_server.policy import nodes
from xds_server.policy.errors import MAX_PROBLEMS, PolicyError
from xds_server.policy.grammar import MAX_REGIONS, POLICY
from xds_server.policy.kinds import Key, Kind, ListOf, MapOf, Section
from xds_server.policy.parse import parse
from xds_server.policy.reference import SECTIONS, tables

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
BLOCK = re.compile(r"```(yaml|text)\n(.*?)```", re.DOTALL)
REST = 'services: {s: {deployments: {us-east-1: {endpoints: ["10.0.0.1:80"], capacity: 1}}}}\n'


def rewritten(page: str) -> str:
    for name, table in tables():
        start, end = f"<!-- table: {name} -->\n", "\n<!-- end -->"
        before, found, rest = page.partition(start)
        assert found, f"docs/policy.md has no table for {name}"
        page = before + start + table + end + rest.partition("<!-- end -->")[2]
    bad = BLOCK.findall(page.partition("## Mistakes")[2])[0][1]
    with pytest.raises(PolicyError) as caught:
        parse(bad, "policy.yaml")
    return re.sub(r"```text\n.*?```", lambda _: f"```text\n{caught.value}\n```", page, flags=re.DOTALL)


def keys(kind: Kind) -> Iterator[Key]:
    if isinstance(kind, MapOf | ListOf):
        yield from keys(kind.item)
    if isinstance(kind, Section):
        for key in kind.keys:
            yield key
            yield from keys(key.kind)


def test_tables_and_messages_are_fresh(request: pytest.FixtureRequest) -> None:
    expected = rewritten(PAGE.read_text())
    if request.config.getoption("--rewrite"):
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected


def test_every_key_of_the_grammar_has_its_table() -> None:
    listed = [id(key) for _, section in SECTIONS for key in section.keys]
    every = {id(key): key.name for key in keys(POLICY)}
    assert len(every) > 35
    assert set(listed) == set(every)
    assert len(listed) == len(set(listed)), "a key stands in two tables"


def test_examples_on_the_page_are_accepted() -> None:
    blocks = [text for language, text in BLOCK.findall(PAGE.read_text()) if language == "yaml"]
    whole, regions, *_ = blocks
    health, fleets = (next(text for text in blocks if text.startswith(key)) for key in ("defaults:", "fleets:"))
    assert parse("version: 1\nregions: {us-east-1: }\n" + health + REST, "health").policy.services["s"].health.body
    assert parse(whole, "whole").warnings == ()
    assert parse("version: 1\n" + regions + REST, "regions").policy.latency_ms["us-east-1", "us-east-1"] == 2.0
    services = REST.replace("{s:", "{search: {deployments: {us-east-1: {endpoints: [b:1], capacity: 1}}}, checkout:")
    assert parse("version: 1\nregions: {us-east-1: }\n" + fleets + services, "fleets").policy.fleets.keys() == {
        "default",
        "web",
    }


def test_limits_on_the_page_are_the_limits() -> None:
    rows = dict(re.findall(r"^\| ([a-z, ]+?) \| ([0-9,]+)", PAGE.read_text().partition("| limit |")[2], re.MULTILINE))
    assert {name: int(limit.replace(",", "")) for name, limit in rows.items()} == {
        "size": nodes.MAX_BYTES // 2**20,
        "values, each use of an alias counted in full": nodes.MAX_NODES,
        "nesting": nodes.MAX_DEPTH,
        "regions": MAX_REGIONS,
        "problems reported": MAX_PROBLEMS,
    }
