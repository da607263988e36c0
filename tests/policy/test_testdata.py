"""Policies and what is said about them, in testdata/: a title, the text, `----`, and every message in order.

`pytest tests/policy --rewrite` writes the outcomes anew; the difference in version control is then the review.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse

TESTDATA = Path(__file__).parent / "testdata"


def outcome(text: str) -> list[str]:
    try:
        parsed = parse(text, "policy.yaml")
    except PolicyError as error:
        return str(error).split("\n")
    return [f"warning: {warning}" for warning in parsed.warnings] + ["accepted"]


def run(block: str) -> str:
    title, _, rest = block.partition("\n")
    text, _, _ = rest.partition("----\n")
    return "\n".join([f"== {title}", text + "----", *outcome(text)]) + "\n"


@pytest.mark.parametrize("path", sorted(TESTDATA.glob("*.txt")), ids=lambda path: path.stem)
def test_what_is_said_of_each_text_is_as_on_file(path: Path, request: pytest.FixtureRequest) -> None:
    before = path.read_text()
    after = "\n".join(run(block) for block in before.removeprefix("== ").split("\n== "))
    if request.config.getoption("--rewrite"):
        path.write_text(after)
    assert path.read_text() == after


def test_there_is_testdata() -> None:
    assert len(list(TESTDATA.glob("*.txt"))) >= 5
