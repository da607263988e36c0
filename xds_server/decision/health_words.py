"""Changes of health as events, in the words of the person on call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xds_server.decision.verdicts import Place
from xds_server.decision.votes import Word
from xds_server.model import Event, Health, Severity, Verdict

OUR_PROBES = "our own probes"

_KINDS: Mapping[Health, tuple[str, Severity]] = {
    Health.HEALTHY: ("region.up", "info"),
    Health.DEGRADED: ("region.degraded", "warning"),
    Health.DOWN: ("region.down", "alarm"),
    Health.RECOVERING: ("region.recovering", "info"),
    Health.DRAINING: ("region.draining", "info"),
    Health.UNKNOWN: ("region.unknown", "alarm"),
}


def verdict_event(place: Place, before: Verdict | None, after: Verdict, now: float) -> list[Event]:
    """Return what is news of a change; a first sight of a healthy region and each ramp step are not."""
    news = _outvoted(place, after, now) if (before is not None and before.outvoted) != after.outvoted else []
    return _health(place, before, after, now) + news


def _outvoted(place: Place, after: Verdict, now: float) -> list[Event]:
    """Return the event of our own probes being believed no more, or again."""
    fields = (("service", place.service), ("region", place.region))
    where = f"{place.service} in {place.region}"
    if not after.outvoted:
        return [Event("probes.agree", now, f"our own probes of {where} are believed again", "info", fields)]
    words = f"our own probes see nothing of {where} up, and are not believed: {after.reason}"
    return [Event("probes.outvoted", now, words, "warning", fields)]


def _health(place: Place, before: Verdict | None, after: Verdict, now: float) -> list[Event]:
    if before is not None and before.health is after.health and before.held is after.held:
        return []
    if before is None and after.health is Health.HEALTHY:
        return []
    kind, severity = _KINDS[after.health]
    was = "unseen" if before is None else str(before.health)
    fields = (("service", place.service), ("region", place.region), ("was", was), ("score", f"{after.score:.2f}"))
    still = "still " if before is not None and before.held is after.health else ""
    message = f"{place.service} in {place.region} is {still}{after.health}: {after.reason}"
    return [Event(kind, now, message, severity, fields)]


_SAY: Mapping[Word | None, tuple[str, str]] = {
    Word.UP: ("reaches it", "reach it"),
    Word.STALE: ("did when last heard", "did when last heard"),
    Word.DOWN: ("does not either", "do not either"),
    Word.DOUBT: ("is not sure", "are not sure"),
    None: ("has not said", "have not said"),
}
"""What one says of a place that another cannot reach, and what several say."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who reaches a place, who does not, and who has not said: the last word of every view and of our own probes."""

    said: Mapping[str, Word | None]

    @classmethod
    def of(cls, monitor: Word | None, seen: Mapping[str, Word], views: Iterable[str]) -> Account:
        """Sum up what is said."""
        return cls({view: seen.get(view) for view in sorted(views)} | {OUR_PROBES: monitor})

    def besides(self, view: str) -> str:
        """Return it in words, but for one view."""
        groups = {word: [who for who, said in self.said.items() if said is word and who != view] for word in _SAY}
        return ", ".join(_together(names, *_SAY[word]) for word, names in groups.items() if names)


def _together(names: list[str], of_one: str, of_many: str) -> str:
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"{listed} {of_many if len(names) > 1 or names[0] == OUR_PROBES else of_one}"


def link_cut(
    place: Place, view: str, account: Account, dwell_s: float, now: float, *, probed: bool, agents: bool = False
) -> Event:
    """Return the event of a link that was cut, for one view only. `agents`: they say so, the view may not."""
    what = f"{place.service} in {place.region}"
    if account.said[view] is Word.DOWN or not agents:
        knows = "cannot reach" if account.said[view] is Word.DOWN else "has not said whether it reaches"
        why = f"{view} {knows} {what}; {account.besides(view)}"
    else:
        why = f"agents say that {view} cannot reach {what}"
    until = f"until it has reached it for {dwell_s:.0f} s" if probed else f"and tries it again in {dwell_s:.0f} s"
    words = f"{why}: {view} leaves it, if it can, {until}"
    return Event("link.cut", now, words, "warning", _link_fields(place, view))


def link_doubted(place: Place, view: str, now: float) -> Event:
    """Return the event of a link that one agent alone calls bad."""
    what = f"its share of {place.service} in {place.region}"
    words = f"{view} keeps half of {what}: an agent calls it bad from there, and nobody else does"
    return Event("link.doubted", now, words, "warning", _link_fields(place, view))


def link_restored(place: Place, view: str, silent_s: float | None, now: float) -> Event:
    """Return the event of a link that is used again. `silent_s`: for so long its view has had no word on it."""
    what = f"{place.service} in {place.region} again"
    words = f"{view} reaches {what}: its share there returns"
    if silent_s is not None:
        words = f"{view} tries {what}, with a part of its share: it has had no word on it for {silent_s:.0f} s"
    return Event("link.restored", now, words, "info", _link_fields(place, view))


def _link_fields(place: Place, view: str) -> tuple[tuple[str, str], ...]:
    return (("service", place.service), ("region", place.region), ("view", view))
