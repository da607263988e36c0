"""One monitor can lie: what is believed when much of a service seems to fail at once.

If the regions of a service that fail at once held more than half of its capacity, and nothing but our own probes says
so, then the likelier story is that *we* are cut off: all of them keep what they had (`unknown`, with an alarm) until
the evidence changes or an operator speaks. Envoy's reflex still leaves what is really dead. "At once" is the time in
which a cut of our own network shows in every probe and every word on it is in. Two regions that die ten seconds apart
are two incidents, and both are left.

Of a region it is believed, whatever seems to fail besides, if live traffic of a view bears it out, or the probes of
two views. While such words may still be on
their way nothing is decided: no region is left, and there is no alarm yet.

A service with one deployment, or one whose last region fails, has nowhere to go: the weights stay, and the verdict says
so. Rejected: holding only the last region over the limit, which would move all traffic to the others on the word of a
monitor we no longer believe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from xds_server.decision.verdicts import Belief, Place, held
from xds_server.model import Health
from xds_server.policy.types import HealthCheck, Service

MOST_AT_ONCE = 0.5
"""More than this share of a service's capacity failing at once is not believed from probes alone."""

NOWHERE = "; no other region serves, so there is nowhere to go: weights stay as they are"


@dataclass(frozen=True, slots=True)
class Case:
    """One service's regions at one moment: what is believed, what would be believed, and how sure that is.

    `borne_out` are the places of which more than our own probes say that they are down. `waiting` are those of which
    words are still on their way, `pending` those of which no decision can be made without these.
    """

    service: Service
    before: Mapping[Place, Belief]
    after: Mapping[Place, Belief]
    borne_out: frozenset[Place]
    waiting: frozenset[Place]
    pending: frozenset[Place]


def at_once_s(check: HealthCheck, wait_s: float = 0.0) -> float:
    """Return within how many seconds one cause shows everywhere: two intervals, a deadline, and waiting for words."""
    return (2 * check.interval_ms + check.timeout_ms) / 1000 + wait_s


def fell(belief: Belief | None, since: float) -> bool:
    """Return whether a belief is that of a place which failed since then."""
    return belief is not None and belief.verdict.health is Health.DOWN and belief.falls > 0 and belief.fell_at >= since


def failing(case: Case, since: float) -> list[Place]:
    """Return the places that served and have failed since then, or would now."""
    return [
        place
        for place in _places(case.service)
        if fell(case.after.get(place), since)
        and (b := case.before.get(place)) is not None
        and (b.verdict.serves or fell(b, since))
    ]


def doubted(case: Case, since: float, now: float) -> Mapping[Place, Belief]:
    """Return what to believe instead, by place; empty if all can be believed."""
    down = failing(case, since)
    unproven = [place for place in down if place not in case.borne_out]
    open_ = {*unproven, *case.pending} - case.borne_out
    lost = _capacity(case.service, open_)
    rest = [place for place in _places(case.service) if place not in open_ and place not in down]
    serving = _capacity(case.service, (p for p in rest if (b := case.after.get(p)) is None or b.verdict.serves))
    if not unproven or lost <= MOST_AT_ONCE * (lost + serving):
        return {} if serving or open_ - {*down} else {place: _stuck(case.after[place]) for place in down}
    if case.pending or case.waiting.intersection(unproven):
        return {place: case.before[place] for place in unproven if case.before[place].verdict.serves}
    why = _words(case.service, len(unproven), round(100 * lost / (lost + serving)))
    return {place: _disbelieved(case.before[place], why, now) for place in unproven}


def _places(service: Service) -> list[Place]:
    return [Place(service.name, region) for region in service.deployments]


def _capacity(service: Service, places: Iterable[Place]) -> float:
    return sum(service.deployments[place.region].capacity_rps for place in places)


def _words(service: Service, failing: int, share: int) -> str:
    regions = len(service.deployments)
    if regions == 1:
        only = next(iter(service.deployments))
        return f"{only} fails, by our own probes alone: monitor suspect{NOWHERE}"
    lost = f"{failing} of {regions} regions ({share} % of {service.name}'s capacity)"
    return f"{lost} fail at once, and neither live traffic nor two views bear it out: monitor suspect"


def _stuck(belief: Belief) -> Belief:
    """Return the belief in the failure of the last region, with a word on what cannot follow from it."""
    verdict = belief.verdict
    return (
        belief
        if verdict.reason.endswith(NOWHERE)
        else replace(belief, verdict=replace(verdict, reason=verdict.reason + NOWHERE))
    )


def _disbelieved(before: Belief, why: str, now: float) -> Belief:
    if before.verdict.health is Health.DOWN:
        full = replace(before.verdict, health=Health.HEALTHY, score=1.0, ramp=1.0)
        return replace(before, verdict=held(full, why, now), falls=max(0, before.falls - 1))
    return replace(before, verdict=held(before.verdict, why, now))
