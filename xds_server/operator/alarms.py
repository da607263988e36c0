"""Which alarms hold now: what an operator has to do something about, or to wait for. Pure.

An alarm holds while its cause does, so it is worked out from what is in force now: verdicts, demand against capacity,
the policy file, orders, what clients rejected. Pairing events that open with events that close was rejected for those:
after a restart, or a policy that drops a service, a closing event never comes, and an alarm that lies once is not read
again. Only what stands nowhere else is kept from events (held_events.py): since when a policy file is refused.

Severities are those of the events of the same kinds: a warning wants a look, an alarm wants a hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from xds_server.model import CutLink, Decision, Health, Severity
from xds_server.operator.held_events import HeldEvents
from xds_server.operator.views import PolicyStatus
from xds_server.orders.types import Phase, Standing
from xds_server.orders.words import what
from xds_server.rollout.quarantine import Held
from xds_server.rollout.words import is_short, short_of
from xds_server.transport.clients import ClientStatus

MOST_NAMED = 3

_BY_HEALTH: Mapping[Health, tuple[str, Severity]] = {
    Health.DOWN: ("region.down", "alarm"),
    Health.UNKNOWN: ("region.unknown", "alarm"),
    Health.DEGRADED: ("region.degraded", "warning"),
}


class Alarm(NamedTuple):
    """One alarm. `since` is the time of day, None where it is not known; an empty name means several, or none."""

    severity: Severity
    kind: str
    message: str
    since: float | None = None
    region: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is in force at one moment: `now` on the model's clock, `wall` the time of day."""

    decision: Decision | None
    policy: PolicyStatus
    clients: tuple[ClientStatus, ...]
    quarantined: tuple[Held, ...]
    held: HeldEvents
    orders: tuple[Standing, ...]
    waiting_for: str | None
    now: float
    wall: float


def alarms(seen: Picture) -> list[Alarm]:
    """Return the alarms that hold, alarms before warnings and the oldest first."""
    found = [*_policy(seen.policy, seen.held), *_rejections(seen.clients, seen.quarantined)]
    found += _orders(seen.orders, seen.wall - seen.now)
    if seen.decision is not None:
        found += _verdicts(seen.decision, seen.wall - seen.now)
        found += [*_short(seen.decision), *_shed(seen.decision)]
        found += _outvoted(seen.decision)
        found += _links(seen.decision, seen.wall - seen.now)
    return sorted(found, key=lambda a: (a.severity != "alarm", a.since or 0.0, a.kind, a.region, a.service))


def alarm_json(alarm: Alarm) -> dict[str, Any]:
    """Return one alarm as JSON."""
    return alarm._asdict() | {"since": None if alarm.since is None else round(alarm.since, 3)}


def _verdicts(decision: Decision, wall_minus_now: float) -> Iterator[Alarm]:
    """Yield one alarm for all services of a region that share a health."""
    groups: dict[tuple[str, Health], list[tuple[str, float, str]]] = {}
    for service in decision.services:
        for region, verdict in zip(service.regions, service.verdicts, strict=True):
            if verdict is not None and verdict.health in _BY_HEALTH:
                where = (region, verdict.health)
                groups.setdefault(where, []).append((service.service, verdict.since, verdict.reason))
    for (region, health), places in groups.items():
        kind, severity = _BY_HEALTH[health]
        name, _, reason = places[0]
        known = [since for _, since, _ in places if since > 0.0]  # what was held over a restart has no date
        since = min(known) + wall_minus_now if known else None
        words = f"{_named([name for name, *_ in places])} in {region}: {health}, {reason}"
        yield Alarm(severity, kind, words, since, region, name if len(places) == 1 else "")


def _outvoted(decision: Decision) -> Iterator[Alarm]:
    """Yield one warning for all places that our own probes see down and everybody else up."""
    places = [
        f"{service.service} in {region}"
        for service in decision.services
        for region, verdict in zip(service.regions, service.verdicts, strict=True)
        if verdict is not None and verdict.outvoted
    ]
    if places:
        words = (
            f"our own probes of {_named(places)} fail and are not believed, because live traffic or Envoys' probes pass"
        )
        yield Alarm("warning", "probes.outvoted", words)


def _short(decision: Decision) -> Iterator[Alarm]:
    for service in decision.services:
        if is_short(service):
            words = f"{service.service}: {short_of(service)}"
            yield Alarm("alarm", "capacity.short", words, None, "", service.service)


def _shed(decision: Decision) -> Iterator[Alarm]:
    for service in decision.services:
        views = [view for view, shed in zip(service.regions, service.shed, strict=False) if shed is not None]
        if views:
            worst = max(shed.percent for shed in service.shed if shed is not None)
            words = f"{service.service}: up to {worst} % of the requests from {_named(views)} are refused"
            yield Alarm("alarm", "load.shed", words, None, "", service.service)


def _orders(orders: Iterable[Standing], wall_minus_now: float) -> Iterator[Alarm]:
    """Yield an alarm for every order that stopped half-way, and a warning for those that take traffic back."""
    for one in orders:
        if one.phase in {Phase.STOPPED, Phase.RETURNING}:
            severity: Severity = "alarm" if one.phase is Phase.STOPPED else "warning"
            words = f"{what(one.order)}: {one.detail or one.phase}"
            since = one.step_at + wall_minus_now
            yield Alarm(severity, f"order.{one.phase}", words, since, one.order.region, one.order.service)


def _links(decision: Decision, wall_minus_now: float) -> Iterator[Alarm]:
    """Yield one alarm for all services of a region that a view does not reach."""
    groups: dict[tuple[str, str], list[tuple[str, CutLink]]] = {}
    for service in decision.services:
        for cut in service.cuts:
            groups.setdefault((cut.view, cut.region), []).append((service.service, cut))
    for (view, region), cuts in groups.items():
        names = [name for name, _ in cuts]
        known = [cut.since for _, cut in cuts if cut.since > 0.0]
        since = min(known) + wall_minus_now if known else None
        words = f"{view} cannot reach {_named(names)} in {region}"
        if not all(cut.heard for _, cut in cuts):
            words = f"{view} could not reach {_named(names)} in {region}, and has had no word on it since: held"
        yield Alarm("warning", "link.cut", words, since, region, names[0] if len(names) == 1 else "")


def _policy(policy: PolicyStatus, held: HeldEvents) -> Iterator[Alarm]:
    if policy.rejected:
        words = f"the policy file is refused, the last good policy stays in force: {policy.rejected[0]}"
        yield Alarm("alarm", "policy.rejected", words, held.since("policy.rejected"))


def _rejections(clients: Iterable[ClientStatus], quarantined: Iterable[Held]) -> Iterator[Alarm]:
    rejecting = [client.node.node_id for client in clients if any(status.rejected for status in client.types)]
    if rejecting:
        yield Alarm("alarm", "client.nack", f"{_named(rejecting)} rejected what was sent: see the fleet")
    back = [each.key.name for each in quarantined]
    if back:
        yield Alarm("alarm", "resource.quarantined", f"{_named(back)} kept back from clients: see the fleet")


def _named(names: list[str]) -> str:
    """Return a few names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
