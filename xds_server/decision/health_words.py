"""Changes of health as events, in the words of the person on call."""

from __future__ import annotations

from collections.abc import Mapping

from xds_server.decision.verdicts import Place
from xds_server.model import Event, Health, Severity, Verdict

_KINDS: Mapping[Health, tuple[str, Severity]] = {
    Health.HEALTHY: ("region.up", "info"),
    Health.DEGRADED: ("region.degraded", "warning"),
    Health.DOWN: ("region.down", "alarm"),
    Health.RECOVERING: ("region.recovering", "info"),
    Health.DRAINING: ("region.draining", "info"),
    Health.UNKNOWN: ("region.unknown", "alarm"),
}


def verdict_event(place: Place, before: Verdict | None, after: Verdict, now: float) -> list[Event]:
    """Return the event of a change of health; a first sight of a healthy region and each ramp step are not news."""
    if before is not None and before.health is after.health and before.held is after.held:
        return []
    if before is None and after.health is Health.HEALTHY:
        return []
    kind, severity = _KINDS[after.health]
    was = "unseen" if before is None else str(before.health)
    fields = (("service", place.service), ("region", place.region), ("was", was), ("score", f"{after.score:.2f}"))
    message = f"{place.service} in {place.region} is {after.health}: {after.reason}"
    return [Event(kind, now, message, severity, fields)]


def link_event(place: Place, view: str, what: str, severity: Severity, now: float) -> Event:
    """Return the event of a link that was cut or restored, for one view only."""
    fields = (("service", place.service), ("region", place.region), ("view", view))
    words = f"{view} cannot reach {place.service} in {place.region}, others can: moved for that view only"
    if what == "restored":
        words = f"{view} reaches {place.service} in {place.region} again"
    return Event(f"link.{what}", now, words, severity, fields)
