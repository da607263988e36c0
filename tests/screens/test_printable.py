"""Words of others on a terminal: in tables, in JSON, in errors."""

from __future__ import annotations

import json

import pytest

from xds_server.screens.order_table import effects_table, orders_table
from xds_server.screens.printable import dumped, plain

NASTY = "a\x1b[2J\x9b2J\u2028\u202eb\nc"


def test_text_is_one_line_that_steers_nothing_and_keeps_its_width() -> None:
    assert plain(NASTY) == "a [2J 2J  b c"
    assert plain("grün") == "grün"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_the_same_for_a_program(indent: int | None) -> None:
    value = {NASTY: [NASTY, "é", "\U000e0001"]}
    text = dumped(value, indent)
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))
    assert "é" in text
    assert text.count("\n") == (0 if indent is None else 6)


def test_tables_of_orders_are_clean() -> None:
    one = {
        **dict.fromkeys(("id", "what", "phase", "author", "ends", "ended", "reason", "detail", "why"), NASTY),
        "forced": False,
        "kind": "hold",
        "moved": 0.0,
        "report": {"words": NASTY},
    }
    lines = orders_table({"orders": [one], "ended": [one]}, ended=True).split("\n")
    assert [line.isprintable() for line in lines] == [True] * 4
    told = effects_table({"plan": [], "refusals": [NASTY]})
    assert told == f"refused: {plain(NASTY)}"
