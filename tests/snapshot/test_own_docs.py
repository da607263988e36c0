"""docs/own-resources.md: its tables are those of the code, its examples are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.decisions import policy, service
from xds_server.operator.views import short_type
from xds_server.policy.reference import table
from xds_server.policy.types import Taker
from xds_server.signals.resource_folder import MAX_FILES, MAX_TOTAL_BYTES
from xds_server.snapshot.own.draft import NOUNS
from xds_server.snapshot.own.files import FILE, VIEWS, merge
from xds_server.snapshot.own.known import PREFIX

PATH = Path(__file__).parents[2] / "docs" / "own-resources.md"


def test_the_table_of_keys_is_fresh(request: pytest.FixtureRequest) -> None:
    page = PATH.read_text()
    inner = [row.replace("| `", "| `views.", 1) for row in table(VIEWS).splitlines()[2:]]
    head, line, *rows = table(FILE).splitlines()
    made = "\n".join([head, line, rows[0], *inner, *rows[1:]])
    fresh = re.sub(
        r"<!-- table -->\n.*?<!-- end -->", lambda _: f"<!-- table -->\n{made}\n<!-- end -->", page, flags=re.DOTALL
    )
    if request.config.getoption("--rewrite"):
        PATH.write_text(fresh)
    assert PATH.read_text() == fresh


def test_the_table_of_types_names_every_type_with_its_service() -> None:
    rows = dict(re.findall(r"^\| `(envoy\.[\w.]+)` \| (\w+) \|", PATH.read_text(), re.MULTILINE))
    assert rows == {url.removeprefix(PREFIX): short_type(url) for url in NOUNS}


def test_limits_on_the_page_are_the_limits() -> None:
    assert f"At most {MAX_FILES:,} files, 8 MiB each and {MAX_TOTAL_BYTES // 2**20} MiB in all" in PATH.read_text()


def test_the_example_on_the_page_is_good() -> None:
    example, _ = re.findall(r"```yaml\n(views.*?)```", PATH.read_text(), re.DOTALL)
    (resource,) = merge(policy([service()]), [("page", example.encode())]).policy.own
    assert (resource.name, resource.fleets, resource.regions) == ("application", ("default",), ("us-east-1",))


def test_the_example_for_grpc_clients_is_good() -> None:
    _, example = re.findall(r"```yaml\n(views.*?)```", PATH.read_text(), re.DOTALL)
    (resource,) = merge(policy([service()]), [("page", example.encode())]).policy.own
    assert (resource.name, resource.clients) == ("reports.demo", (Taker.GRPC,))
