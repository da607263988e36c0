"""Which drills of the policy's schedule begin between two moments (seconds since 1970)."""

from __future__ import annotations

from collections.abc import Iterator

from xds_server.policy.types import Policy, ScheduledDrill
from xds_server.policy.weeks import day_and_minute

MINUTE_S = 60


def due(policy: Policy, after: float, until: float) -> Iterator[ScheduledDrill]:
    """Yield the drills that begin after `after`, at `until` at the latest, each at most once.

    A process that slept through the time does not make up for it: only the last hour is looked at.
    """
    first = max(int(after // MINUTE_S), int(until // MINUTE_S) - 60) + 1
    minutes = [day_and_minute(minute * MINUTE_S) for minute in range(first, int(until // MINUTE_S) + 1)]
    for drill in policy.drills.schedule.values():
        if any(day in drill.at.days and minute == drill.at.minute for day, minute in minutes):
            yield drill
