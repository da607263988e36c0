"""Decisions of one service over time, and a history that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.support import decisions
from xds_server.history.archive import Archive, Limits
from xds_server.history.chronicle import Chronicle
from xds_server.model import Decision, Health, ServiceDecision, Verdict
from xds_server.operator.views import weights_json

T0 = 1_700_000_000.0
AT_HOME = {"us-east-1": 7, "eu-west-1": 3}
AWAY = {"eu-west-1": 1}


def made(shares: Mapping[str, int], *, name: str = "checkout", down: str = "") -> ServiceDecision:
    """A decision with these shares in every view, and one region believed down."""
    one = decisions.service_decision(decisions.service(name), shares)
    verdicts = list(one.verdicts)
    if down:
        verdicts[one.regions.index(down)] = Verdict(Health.DOWN, 0.0, "connection refused", 50.0, ramp=0.0, total=2)
    return replace(one, verdicts=tuple(verdicts))


def of(*services: ServiceDecision) -> Decision:
    return Decision(decisions.REGIONS, services)


class Past:
    """A chronicle and the clock it lives by; both clocks move together."""

    def __init__(self, archive: Archive, awaited_s: float = 60.0) -> None:
        self.wall = T0
        self.reported: list[str] = []
        self.chronicle = Chronicle(archive, weights_json, lambda: self.wall, self.reported.append, awaited_s=awaited_s)

    @property
    def archive(self) -> Archive:
        return self.chronicle.archive

    def decide(self, *services: ServiceDecision, policy: str = "p1", after_s: float = 10.0) -> None:
        self.wall += after_s
        self.chronicle.decided(of(*services), policy, self.wall - T0)


def in_memory(limits: Limits = Limits(1e9)) -> Past:  # noqa: B008  (frozen)
    return Past(Archive(None, limits, print))
