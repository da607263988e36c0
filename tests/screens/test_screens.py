"""What `status` and `explain` print: the lines, their order, and what does not fit on a screen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tests.operator.world import client, decision
from xds_server.model import Decision
from xds_server.operator.alarms import Picture
from xds_server.operator.events import EventLog
from xds_server.operator.status_json import status_json
from xds_server.operator.views import PolicyStatus, decision_json
from xds_server.screens.explanation import explanation, signals_of
from xds_server.screens.status_screen import status_screen, to_show
from xds_server.screens.text import Cell, columns, percent, rate

WALL = 1_767_268_800.0
SEEN = Picture(
    decision(), PolicyStatus("p.yaml", "abc"), (client("web-1"),), (), EventLog().held, (), None, now=100.0, wall=WALL
)
NONE: dict[str, Any] = {"orders": []}
ORDER = {
    "id": "e-3f2a",
    "kind": "evacuate",
    "region": "us-east-1",
    "service": "",
    "view": "",
    "author": "ann",
    "reason": "kernel update",
    "since": "2026-01-01T11:50:00.000Z",
    "ends": "2026-01-01T12:30:00.000Z",
    "phase": "moving",
    "moved": 0.4,
    "forced": True,
    "detail": "waits for 2 clients",
}


def of(service: str) -> Any:
    (found,) = decision_json(SEEN.decision, SEEN.policy, SEEN.now, service)["services"]
    return found


def test_one_screen_has_what_is_wrong_first() -> None:
    lines = list(status_screen(status_json(SEEN), {"orders": [ORDER]}, [of("checkout")], WALL, None))
    assert "\n".join(lines[1:]) == (
        """
region          health     for  why
ap-southeast-1  healthy  1m40s
eu-west-1       healthy  1m40s
sa-east-1       down       30s  checkout: 2 of 2 endpoints down: connection refused
us-east-1       healthy  1m40s

alarms
  client.nack       web-1 rejected what was sent: see the fleet
  region.down  30s  checkout in sa-east-1: down, 2 of 2 endpoints down: connection refused

orders in force
  e-3f2a  evacuate us-east-1  moving 40 %  ends in 30m00s (12:30:00Z)  ann: kernel update, forced

service   demand  capacity  used  ap-southeast-1  eu-west-1  sa-east-1  us-east-1
checkout   400/s   4,000/s  10 %            25 %       25 %       25 %       25 %
search     400/s   4,000/s  10 %               -          -          -       25 %

checkout from     ap-southeast-1  eu-west-1  sa-east-1  us-east-1  demand
  ap-southeast-1               0       30 %          0       70 %   100/s
  eu-west-1                    0       30 %          0       70 %   100/s
  sa-east-1                    0       30 %          0       70 %   100/s
  us-east-1                    0       30 %          0       70 %   100/s
  load/capacity        100/1,000  100/1,000  100/1,000  100/1,000"""
    )
    assert lines[0].endswith("policy abc, 1 client, 1 behind, 1 rejecting")


def test_a_policy_on_trial_stands_below_the_one_in_force() -> None:
    trying = replace(client("web-1"), on_trial=True)
    policy = PolicyStatus("p.yaml", "abc", trial="def")
    for clients, words in (((trying,), "by 1 of them"), ((), "as soon as there is somebody to try it")):
        lines = list(status_screen(status_json(replace(SEEN, policy=policy, clients=clients)), NONE, [], WALL, None))
        assert ("policy abc, " in lines[0], lines[1]) == (True, f"on trial: policy def, {words}")


def test_before_the_first_decision_it_says_what_is_waited_for() -> None:
    waiting = replace(SEEN, decision=None, clients=(), waiting_for="waiting for evidence")
    lines = list(status_screen(status_json(waiting), NONE, [], WALL, None))
    assert lines[1] == "not ready: waiting for evidence"
    assert "no alarms" in lines
    assert "no orders in force" in lines


def test_of_many_services_those_in_trouble_are_shown_and_the_rest_is_counted() -> None:
    (checkout, search) = decision().services
    many = [replace(search, service=f"s{n:02}") for n in range(40)]
    hot = replace(search, service="s99", overload=1.5)
    status = status_json(replace(SEEN, decision=Decision(search.regions, (*many, checkout, hot))))
    assert to_show(status, None) == ["s99", "checkout", "s00"]
    assert to_show(status, "s07") == ["s07"]
    lines = list(status_screen(status, NONE, [], WALL, None))
    assert "  and 22 more services: --json has them all" in lines


def test_colours_are_given_and_do_not_move_columns() -> None:
    plain = list(status_screen(status_json(SEEN), {"orders": [ORDER]}, [of("checkout")], WALL, None))
    coloured = list(status_screen(status_json(SEEN), {"orders": [ORDER]}, [of("checkout")], WALL, click.style))
    assert [click.unstyle(line).rstrip() for line in coloured] == plain
    assert any("\x1b[31m" in line for line in coloured)


def test_an_explanation_goes_from_evidence_to_weights() -> None:
    service = of("checkout")
    said = {"service": "checkout", "region": "sa-east-1", "view": "", "age_s": 1.0, "detail": "connection refused"}
    signals = [
        said | {"source": "probes", "up": 0, "total": 2},
        said | {"source": "lrs", "view": "eu-west-1", "issued_rps": 10.0, "failed_rps": 2.5, "detail": ""},
        said | {"source": "als", "requests_rps": 10.0, "failed_rps": 0.0, "p99_ms": 31.5, "detail": ""},
        said
        | {"source": "agent", "reporter": "lb-1", "service": "", "healthy": False, "detail": "rack 3 is gone"}
        | {"utilisation": 0.9, "capacity_rps": 700.0},
        said | {"source": "probes", "service": "search"},
    ]
    orders = [ORDER, ORDER | {"id": "w-1", "service": "search"}]
    found = signals_of({"signals": signals}, "checkout")
    lines = list(explanation(service, found, orders, "eu-west-1", None))
    assert lines[3] == (
        "sa-east-1       down       30s  0/2    0 %  100 %   100/s  1,000/s  2 of 2 endpoints down: connection refused"
    )
    assert lines[6:12] == [
        "evidence of  from              last said",
        "sa-east-1    probes            0 of 2 up: connection refused (1s ago)",
        "sa-east-1    lrs in eu-west-1  10/s issued, 2.5/s failed (1s ago)",
        "sa-east-1    als               about 10/s by a sample, 0/s failed, p99 31.5 ms (1s ago)",
        "sa-east-1    agent lb-1        unhealthy, 90% used, capacity 700/s: rack 3 is gone (1s ago)",
        "",
    ]
    assert lines[12:] == [
        "400 req/s are asked for, 4,000 req/s may be used: it fits",
        "order e-3f2a (evacuate) of ann, until 2026-01-01T12:30:00.000Z: kernel update; waits for 2 clients",
        "",
        "from eu-west-1, 100 req/s",
        "  us-east-1       70 %  test",
        "  eu-west-1       30 %  test",
        "  ap-southeast-1     0  test",
        "  sa-east-1          0  test",
    ]


def test_an_explanation_says_whose_word_a_capacity_is() -> None:
    service = of("checkout")
    service["regions"][0]["capacity_reason"] = "lb-1 says 90% used, at 60 req/s"
    line = list(explanation(service, [], [], "us-east-1", None))[1]
    assert line.endswith("; capacity 1,000/s: lb-1 says 90% used, at 60 req/s")


def test_an_explanation_says_what_is_refused_and_what_is_tried_again() -> None:
    service = of("checkout")
    row = service["views"][3]
    row["shed"] = {
        "percent": 12,
        "classes": [{"name": "batch", "percent": 60}, {"name": "", "percent": 1}],
        "reason": "full",
    }
    row["half_open"] = row["weights"] | {"us-east-1": 6_900, "sa-east-1": 100}
    lines = list(explanation(service | {"overload": 1.2}, [], [], "us-east-1", None))
    assert any(
        line.endswith("it does not fit: regions at up to 120 %, if nothing were refused; 12 req/s are")
        for line in lines
    )
    assert lines[-2:] == [
        "  refuses 12 % (60 % of batch, 1 % of the rest): full",
        "  of what may be sent twice, a trickle to see it recover: sa-east-1 1 %",
    ]


def test_text_that_could_steer_a_terminal_is_replaced() -> None:
    (line,) = columns([[Cell("a\x1b[2Jb"), Cell("c\nd")]], None)
    assert line == "a [2Jb  c d"


def test_numbers_are_as_long_as_they_say_something() -> None:
    assert [percent(w) for w in (10_000, 7_000, 50, 1, 0)] == ["100 %", "70 %", "0.5 %", "0.01 %", "0"]
    assert [rate(r) for r in (12_345.6, 99.95, 2.5, 0.0)] == ["12,346", "100", "2.5", "0"]
