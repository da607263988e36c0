"""What an edit changed, in the words of the policy."""

from __future__ import annotations

import pytest

from xds_server.policy.diff import changes
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy

TEXT = """
version: 1
regions:
  east: {latency: {west: 80ms}}
  west: {}
fleets: {default: {listen: "127.0.0.1:10000", access_logs: 5%}}
rollout: {timeout: 90s}
drills: {blocked: ["mon-fri 08:00-18:00"], schedule: {weekly: {region: east, at: "tue 10:00"}}}
services:
  shop:
    reserve: 20%
    demand: {east: 900}
    health: {interval: 1500ms}
    deployments:
      east: {capacity: 20k, endpoints: ["10.0.0.1:80"]}
      west: {capacity: 1000, endpoints: ["10.0.1.1:80"]}
"""

EDITS = {
    "reserve: 20%": ("reserve: 12.5%", "services.shop.reserve: 20% → 12.5%"),
    "west: 80ms": ("west: 1500ms", "regions.east.latency.west: 80ms → 1500ms"),
    "west: {}": ("west: {drain: true}", "regions.west.drain: false → true"),
    "127.0.0.1:10000": ("[::1]:10001", "fleets.default.listen: 127.0.0.1:10000 → [::1]:10001"),
    "access_logs: 5%": ("access_logs: 100%", "fleets.default.access_logs: 5% → 100%"),
    "timeout: 90s": ("timeout: 2m", "rollout.timeout: 90s → 2m"),
    "capacity: 20k": ("capacity: 1.5M", "services.shop.deployments.east.capacity: 20000 → 1500000"),
    "east: 900": ("east: 0.5", "services.shop.demand.east: 900 → 0.5"),
    "interval: 1500ms": (
        "type: tcp",
        "services.shop.health.interval: 1500ms → 1s;services.shop.health.type: http → tcp",
    ),
    "10.0.0.1:80": ("10.0.0.2:80", "services.shop.deployments.east.endpoints: [10.0.0.1:80] → [10.0.0.2:80]"),
    "08:00-18:00": ("08:00-19:00", "drills.blocked: changed"),
    "tue 10:00": ("wed 10:00", "drills.schedule.weekly.at: changed"),
    "    health:": ("    half_open: 1%\n    health:", "services.shop.half_open: 0% → 1%"),
    "    deployments:": ("    timeouts: {connect: 45s, request: 1h}\n    deployments:",
        "services.shop.timeouts.connect: none → 45s;services.shop.timeouts.request: 15s → 1h"),
}  # fmt: skip


def policy(text: str = TEXT) -> Policy:
    return parse(text, "policy.yaml").policy


@pytest.mark.parametrize("old", EDITS)
def test_an_edit_is_told_by_the_keys_and_values_that_a_policy_has(old: str) -> None:
    new, told = EDITS[old]
    assert ";".join(changes(policy(), policy(TEXT.replace(old, new)))) == told


def test_nothing_is_told_of_a_text_that_means_the_same() -> None:
    assert changes(policy(), policy(TEXT.replace("20k", "20000").replace("90s", "1.5m"))) == ()


def test_what_comes_and_goes_is_named() -> None:
    more = TEXT.replace("fleets: {", 'fleets: {web: {listen: "127.0.0.1:10009"}, ')
    assert changes(policy(), policy(more)) == ("fleets.web: added",)
    assert changes(policy(more), policy()) == ("fleets.web: removed",)
