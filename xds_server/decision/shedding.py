"""What is refused when demand exceeds capacity, so that the regions that receive the rest hold (policy: `overload`).

A view that sends to a region with more load than capacity sheds the part by which the hottest of its regions is over:

    share of view v = max over its regions r of (load_r − capacity_r) ÷ load_r, rounded up to whole percent

That is enough for every region whatever the others do, and as the allocation makes all regions concerned equally hot,
it is hardly more than needed. Classes are filled in the policy's order: all of the first is shed before any of the
next, and what is of no class comes last. How much of the demand a class is, is what the policy says, not measured.

*Whole percent* is also what makes it right in Envoy, which uses one random number for a route's fraction and for its
weighted clusters (snapshot/shedding.py).

*Measured demand is what was let through.* A refused request reaches no cluster and stands in no load report, so once a
view sheds, its measured demand falls by what is shed. Taken as it is, that would end the shedding, and begin it again.
So while a view sheds,

- for `SETTLE_S` after a change its demand is the one that was in force, or the measured one if that is more: reports
  are averages, and still hold what was before;
- after that it is the same for as long as what is measured is what should be let through of it, within `AS_MEANT`, and
  else the measured demand ÷ (1 − share shed): what is measured moves in steps, and each would end in another share;
- with the capacity unchanged, a share falls by half at most. If a class is larger than the policy says, more was shed
  than was meant, and what is measured looks as if nothing had to be. Halving keeps it near its level;
- never more than `MOST_PERCENT`: of a view that sheds all, nothing would be known any more.

If a class is smaller than the policy says, regions stay hot, more is measured, and more is shed: that finds its level
by itself. Small changes are not sent: a share that is enough stays as long as it is at most `SLACK_PERCENT` too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xds_server.decision.measured import Measured
from xds_server.model import ServiceDecision, Shed, ShedClass
from xds_server.policy.types import Overload, OverloadMode, TrafficClass

SETTLE_S = 90.0
"""Reports are averages over 10 s, followed with a time constant of 30 s (traffic.py): 95 % are there after this."""

AS_MEANT = 0.03

SLACK_PERCENT = 2
MOST_PERCENT = 95

_PARTS = 10_000
"""Shares of classes are exact in hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class Shedding:
    """What is shed, by view, and the demand and capacities that it was worked out from, at `since`."""

    sheds: tuple[Shed | None, ...] = ()
    demand_rps: tuple[float, ...] = ()
    capacity_rps: tuple[float, ...] = ()
    since: float = 0.0

    def settles_at(self, now: float) -> float | None:
        """Return when measured demand may be believed again; None if it may, or nothing is shed."""
        at = self.since + SETTLE_S
        return at if any(self.sheds) and at > now else None


NOTHING_SHED = Shedding()


def in_force(decided: ServiceDecision, before: Shedding, now: float) -> Shedding:
    """Return what is to be remembered of a decision that is put in force."""
    if not decided.shed:
        return NOTHING_SHED
    same = [_amount(shed) for shed in decided.shed] == [_amount(shed) for shed in before.sheds]
    return Shedding(decided.shed, decided.demand_rps, decided.capacity_rps, before.since if same else now)


def _amount(shed: Shed | None) -> tuple[int, tuple[ShedClass, ...]] | None:
    return (shed.percent, shed.classes) if shed else None


def offered(measured: Measured, regions: Sequence[str], before: Shedding, now: float) -> Measured:
    """Return what is measured with the demand of views that shed as it would be if they did not."""
    settled = before.settles_at(now) is None
    demand = dict(measured.demand_rps)
    for view, shed, was in zip(regions, before.sheds, before.demand_rps, strict=False):
        if shed is not None and view in demand:
            demand[view] = _offered(demand[view], was, 1 - shed.percent / 100, settled=settled)
    return replace(measured, demand_rps=demand) if demand != measured.demand_rps else measured


def _offered(measured: float, was: float, through: float, *, settled: bool) -> float:
    """Return what a view is offered that lets a part `through`, from what is measured and what it was thought to be."""
    if not settled:
        return max(was, measured)
    return was if abs(measured - was * through) <= AS_MEANT * was * through else measured / through


def sheds(
    overload: Overload,
    regions: Sequence[str],
    flows: Sequence[Sequence[int]],
    full: Sequence[int],
    *,
    before: Shedding = NOTHING_SHED,
    gentle: Sequence[bool] = (),
) -> tuple[Shed | None, ...]:
    """Return what each view sheds; empty if none does. `full` are capacities, in the unit of the flows.

    `gentle` are the views whose share may only fall by half.
    """
    load = [sum(column) for column in zip(*flows, strict=True)]
    over = {r: (load[r], c) for r, c in enumerate(full) if c and load[r] > c}
    if overload.mode is not OverloadMode.SHED or not (over or any(before.sheds)):
        return ()
    found = []
    for v, flow in enumerate(flows):
        was = before.sheds[v] if v < len(before.sheds) else None
        hottest = max((r for r in over if flow[r]), key=lambda r: over[r][0] / over[r][1], default=None)
        need = 0 if hottest is None else min(MOST_PERCENT, _percent(*over[hottest]))
        percent = _steady(need, was.percent if was else 0, gentle=bool(gentle) and gentle[v])
        why = _reason(regions, flow, over, hottest) if hottest is not None else "falling, to see whether it all fits"
        found.append(_shed(overload.classes, percent, why))
    return tuple(found) if any(found) else ()


def _percent(load: int, capacity: int) -> int:
    return -(-100 * (load - capacity) // load)


def _steady(need: int, was: int, *, gentle: bool) -> int:
    if was and need and need <= was <= need + SLACK_PERCENT:
        return was
    return max(need, was // 2) if gentle else need


def _reason(regions: Sequence[str], flow: Sequence[int], over: dict[int, tuple[int, int]], hottest: int) -> str:
    load, capacity = (units / 1_000_000 for units in over[hottest])
    others = sum(1 for r in over if flow[r]) - 1
    more = f", as {others} more region{'s' if others > 1 else ''} it sends to" if others else ""
    return f"{regions[hottest]} would get {load:,.0f} req/s and can serve {capacity:,.0f}{more}"


def _shed(classes: Sequence[TrafficClass], percent: int, why: str) -> Shed | None:
    if not percent:
        return None
    if not classes:
        return Shed(percent, (), why)
    left = percent * _PARTS // 100
    found = []
    for name, part in _parts(classes):
        taken = min(left, part)
        if taken:
            found.append(ShedClass(name, -(-100 * taken // part)))
        left -= taken
    return Shed(percent, tuple(found), why)


def _parts(classes: Sequence[TrafficClass]) -> list[tuple[str, int]]:
    """Return each class with its part of all requests, and the rest under no name."""
    parts = [(found.name, round(found.share * _PARTS)) for found in classes]
    rest = _PARTS - sum(part for _, part in parts)
    return [*parts, ("", rest)] if rest > 0 else parts
