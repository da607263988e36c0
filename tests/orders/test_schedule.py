"""Which drills of a schedule are due."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support import decisions
from xds_server.orders.schedule import due
from xds_server.policy.parse import parse

POLICY = """
version: 1
regions: {us-east-1: {}}
services: {s: {deployments: {us-east-1: {endpoints: ["10.0.0.1:80"], capacity: 1}}}}
drills:
  schedule:
    tuesdays: {region: us-east-1, at: "tue 10:00", for: 5m}
    nights: {region: us-east-1, at: "daily 00:00"}
"""


def at(day: int, hour: int, minute: int, second: int = 0) -> float:
    """Return a moment of November 2026, whose third is a Tuesday."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC).timestamp()


def names(after: float, until: float) -> list[str]:
    return [drill.name for drill in due(parse(POLICY, "p").policy, after, until)]


def test_a_drill_is_due_once_in_its_minute() -> None:
    assert names(at(3, 9, 59, 58), at(3, 10, 0, 3)) == ["tuesdays"]
    assert names(at(3, 10, 0, 3), at(3, 10, 0, 8)) == []
    assert names(at(4, 9, 59, 58), at(4, 10, 0, 3)) == []


def test_midnight_is_the_start_of_a_day() -> None:
    assert names(at(5, 23, 59, 58), at(6, 0, 0, 1)) == ["nights"]


def test_a_long_sleep_is_not_made_up_for() -> None:
    assert names(at(3, 9, 0), at(3, 12, 0)) == []
    assert names(at(3, 9, 30), at(3, 10, 20)) == ["tuesdays"]


def test_a_policy_without_drills_has_none() -> None:
    assert not list(due(decisions.policy(), 0.0, 1e6))
