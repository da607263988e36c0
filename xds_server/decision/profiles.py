"""When Envoy ejects hosts by itself: one of a few named profiles for each region cluster.

    standard, one-host, many-hosts   by how many endpoints the policy names there: one of many is easily spared, the
                                     only one is the region
    degraded                         some of the region is bad: less evidence is needed, ejections last longer
    repeat-offender                  it went down `OFFENCES` times within `FORGET_AFTER_S`: as above, and longer still
    all-bad                          half of the regions or more are bad at once. Then hosts are not the cause, and
                                     ejecting them only makes the rest hotter: much evidence, short ejections

What each says to Envoy is in snapshot/clusters.py.

How much may be ejected: all, since a dead region must be able to empty. In the last three, which eject more eagerly or
where the cause may be load, no more than what the other regions can take over, in quarters. Envoy counts in percent of
all hosts of the cluster, also those of priority 1, so a part of a region is a smaller part of its cluster.

**An edit of a cluster closes its connections**, so a profile changes rarely. It must be called for during `DWELL_S`
without a break, at most once per `EVERY_S` for a cluster, and only in quiet: while a region of the service is down,
recovering, being left, or unseen, nothing changes, whatever it would be good for. A profile is for what lasts; for what
is happening now there are weights and the reflex. After a restart the profiles are the ones before (`Memory`).

Rejected: thresholds computed freely from scores, each of which would be an edit of a cluster; and changing them in an
incident, which would close connections to the regions that hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from xds_server.model import Health, Protection, ServiceDecision, Verdict
from xds_server.policy.types import Service

DWELL_S = 120.0
EVERY_S = 600.0
OFFENCES = 2
FORGET_AFTER_S = 3_600.0
MANY_HOSTS = 10

STANDARD, ONE_HOST, MANY = "standard", "one-host", "many-hosts"
DEGRADED, OFFENDER, ALL_BAD = "degraded", "repeat-offender", "all-bad"

BY_HEALTH = frozenset({DEGRADED, OFFENDER, ALL_BAD})
_QUIET = frozenset({Health.HEALTHY, Health.DEGRADED})
_SAYS_NOTHING = frozenset({Health.UNKNOWN, Health.DRAINING})
"""Of whether a region that was down still is: being left while it is down, and no more, is not a second fall."""


class Choice(NamedTuple):
    """A profile, how many percent of a cluster's hosts it may eject, and why, for both."""

    profile: str
    max_ejection_percent: int
    reason: str
    ejection_reason: str

    @property
    def settings(self) -> tuple[str, int]:
        """Return what an Envoy sees of it."""
        return self.profile, self.max_ejection_percent


@dataclass(frozen=True, slots=True)
class Standing:
    """The profile of one region cluster in force `since` then, and what may change it.

    `wanted` is another one that is called for since `wanted_since`. `falls` counts how often the region went down.
    """

    chosen: Choice
    since: float
    wanted: Choice | None = None
    wanted_since: float = 0.0
    falls: int = 0
    fell_at: float = 0.0
    down: bool = False

    def due(self) -> float | None:
        """Return when time alone may change it."""
        if self.wanted is not None:
            return max(self.wanted_since + DWELL_S, self.since + EVERY_S)
        return self.fell_at + FORGET_AFTER_S if self.falls and not self.down else None


Standings = tuple[Standing | None, ...]
"""One for each region of a decision; None where nothing is deployed. Empty: nothing is known."""


Choices = tuple[Choice | None, ...]


def with_profile(protection: Protection, chosen: Choice | None) -> Protection:
    """Return the settings with a profile in place of theirs, and its reasons."""
    if chosen is None:
        return protection
    reasons = {**dict(protection.reasons), "outlier_profile": chosen.reason}
    return replace(
        protection,
        outlier_profile=chosen.profile,
        max_ejection_percent=chosen.max_ejection_percent,
        reasons=tuple({**reasons, "max_ejection_percent": chosen.ejection_reason}.items()),
    )


def follow(service: Service, decided: ServiceDecision, before: Standings, now: float) -> Standings:
    """Return the profiles that are in force from now on."""
    quiet = _quiet(decided)
    found: list[Standing | None] = []
    for r, verdict in enumerate(decided.verdicts):
        was = before[r] if before else None
        if verdict is None:
            found.append(None)
        elif was is None:
            found.append(Standing(_by_size(service, decided.regions[r]), now - EVERY_S))
        else:
            counted = _counted(was, verdict, now)
            found.append(_advanced(counted, _wanted(service, decided, r, counted.falls), now, quiet=quiet))
    return tuple(found)


def next_change(standings: Standings, now: float) -> float | None:
    """Return when time alone may change a profile; None if nothing waits."""
    times = (at for standing in standings if standing is not None and (at := standing.due()) is not None)
    return min((at for at in times if at > now), default=None)


def chosen(standings: Standings) -> Choices:
    """Return the profiles in force."""
    return tuple([standing.chosen if standing is not None else None for standing in standings])


def remembered(regions: Sequence[str], standings: Standings) -> dict[str, Choice]:
    """Return what a later process cannot see from the policy, by region."""
    pairs = zip(regions, standings, strict=False)
    return {region: s.chosen for region, s in pairs if s is not None and s.chosen.profile in BY_HEALTH}


def restored(regions: Sequence[str], known: Mapping[str, Choice], now: float) -> Standings:
    """Return what an earlier process had in force, where it was not what follows from the policy."""
    return tuple(Standing(known[region], now) if region in known else None for region in regions)


def _quiet(decided: ServiceDecision) -> bool:
    """Return whether nothing is happening: every region serves fully, or is empty because the policy says so."""
    loads = zip(decided.verdicts, decided.load_rps, strict=True)
    return all(
        v is None
        or (v.health in _QUIET and v.ramp >= 1.0)
        or (v.health is Health.DRAINING and not v.score and not load)
        for v, load in loads
    )


def _counted(standing: Standing, verdict: Verdict, now: float) -> Standing:
    down = verdict.health is Health.DOWN
    forgotten = standing.falls > 0 and now - standing.fell_at >= FORGET_AFTER_S
    falls = 0 if forgotten else standing.falls
    if down and not standing.down:
        return replace(standing, falls=falls + 1, fell_at=now, down=True)
    still = down or (standing.down and verdict.health in _SAYS_NOTHING)
    return replace(standing, falls=falls, down=still) if (falls, still) != (standing.falls, standing.down) else standing


def _advanced(standing: Standing, wanted: Choice, now: float, *, quiet: bool) -> Standing:
    if wanted.settings == standing.chosen.settings or not quiet:
        return replace(standing, wanted=None) if standing.wanted is not None else standing
    if standing.wanted is None or standing.wanted.settings != wanted.settings:
        return replace(standing, wanted=wanted, wanted_since=now)
    if now < max(standing.wanted_since + DWELL_S, standing.since + EVERY_S):
        return standing
    return replace(standing, chosen=wanted, since=now, wanted=None)


def _wanted(service: Service, decided: ServiceDecision, r: int, falls: int) -> Choice:
    present = [v for v in decided.verdicts if v is not None]
    bad = sum(v.health is Health.DEGRADED for v in present)
    if bad >= 2 and 2 * bad >= len(present):
        why = f"{bad} of {len(present)} regions are degraded at once: single hosts are not the cause"
        return _bounded(ALL_BAD, why, service, decided, r)
    if falls >= OFFENCES:
        return _bounded(OFFENDER, f"it went down {falls} times within an hour", service, decided, r)
    if (verdict := decided.verdicts[r]) is not None and verdict.health is Health.DEGRADED:
        return _bounded(DEGRADED, "it is degraded", service, decided, r)
    return _by_size(service, decided.regions[r])


def _by_size(service: Service, region: str) -> Choice:
    hosts = len(service.deployments[region].endpoints)
    profile = ONE_HOST if hosts == 1 else MANY if hosts >= MANY_HOSTS else STANDARD
    return Choice(profile, 100, f"{hosts} endpoint{'s' if hosts > 1 else ''}", "a dead region must be able to empty")


def _bounded(profile: str, why: str, service: Service, decided: ServiceDecision, r: int) -> Choice:
    """Return a profile that ejects no more of a region than the others have room for."""
    spare = sum(
        max(0.0, capacity - load)
        for s, (capacity, load) in enumerate(zip(decided.capacity_rps, decided.load_rps, strict=True))
        if s != r
    )
    load = decided.load_rps[r]
    quarters = 4 if load <= spare else int(4 * spare / load)
    room = f"the other regions have {spare:,.0f} req/s to spare, it serves {load:,.0f}"
    if quarters == 4:
        return Choice(profile, 100, why, room)
    hosts = {region: len(deployment.endpoints) for region, deployment in service.deployments.items()}
    percent = max(1, 25 * quarters * hosts[decided.regions[r]] // sum(hosts.values()))
    return Choice(profile, percent, why, f"{25 * quarters} % of its hosts: {room}")
