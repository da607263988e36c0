"""Log lines: one an event, greppable, and never broken by what is in them."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from xds_server.model import Event
from xds_server.operator.logs import LOGGER, Style, log_event, set_up

DOWN = Event(
    "region.down",
    1.0,
    'checkout in us-east-1 is down: "refused"\nFAKE=line',
    "alarm",
    (("service", "checkout"), ("region", "us-east-1"), ("score", "0.00"), ("note", "")),
)


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_text_is_one_line_of_key_value() -> None:
    out = io.StringIO()
    log_event(set_up("info", "text", out), DOWN)
    line = out.getvalue()
    assert line.count("\n") == 1
    time, rest = line.rstrip("\n").split(" ", 1)
    assert re.fullmatch(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert rest == (
        r'level=error event=region.down message="checkout in us-east-1 is down: \"refused\"\nFAKE=line" '
        'service=checkout region=us-east-1 score=0.00 note=""'
    )


def test_json_has_the_same_pairs() -> None:
    out = io.StringIO()
    log_event(set_up("info", "json", out), DOWN)
    line = json.loads(out.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "error",
        "event": "region.down",
        "message": DOWN.message,
        "service": "checkout",
        "region": "us-east-1",
        "score": "0.00",
        "note": "",
    }


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_could_steer_a_terminal_is_escaped(style: Style) -> None:
    out = io.StringIO()
    words = "a\x9b2J\u2028\u202e b\x1b[2J é \U000e0001"
    log_event(set_up("info", style, out), Event("region.up", 1.0, words))
    line = out.getvalue().rstrip("\n")
    assert line.isprintable()
    assert "é" in line
    escaped = line.partition("message=")[2] if style == "text" else line
    found = json.loads(escaped)
    assert (found if style == "text" else found["message"]) == words


@pytest.mark.parametrize(("level", "lines"), [("info", 2), ("warning", 1), ("error", 0)])
def test_the_level_decides_what_is_logged(level: str, lines: int) -> None:
    out = io.StringIO()
    logger = set_up(level, "text", out)
    log_event(logger, Event("policy.accepted", 0.0, "in force"))
    log_event(logger, Event("policy.rejected", 0.0, "refused", "warning"))
    assert out.getvalue().count("\n") == lines


def test_libraries_are_heard_from_warning_on_and_named() -> None:
    out = io.StringIO()
    set_up("debug", "text", out)
    logging.getLogger("some.library").info("Started server process")
    logging.getLogger("some.library").warning("Exceeded concurrency limit.")
    assert out.getvalue().endswith(' level=warning logger=some.library message="Exceeded concurrency limit."\n')
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_exception_stays_on_its_line(style: str) -> None:
    out = io.StringIO()
    logger = set_up("info", "json" if style == "json" else "text", out)
    try:
        int("two\nlines")
    except ValueError:
        logger.exception("it failed")
    assert out.getvalue().count("\n") == 1
    assert "ValueError: invalid literal" in out.getvalue()


def test_a_second_set_up_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up("info", "text", first)
    log_event(set_up("info", "text", second), DOWN)
    assert first.getvalue() == ""
    assert second.getvalue()
