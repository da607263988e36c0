"""What history is made of, as values: events, and every decision of a service that differs from the one before.

A decision is worth a row if something that Envoys do or that an operator would ask about is other than before: a
weight, a verdict, the endpoints that are up, whether demand fits, what is refused, the policy. Demand and load alone
move with every report and are not: they stand in the row of the next change, and metrics have their course.

Where weights move, the event that says so and the decision are one row, of the event's kind: it says which shares, and
after it in brackets what else is other than before, which is why.

A row has the whole decision of the service, not the difference: what was in force at a moment is one look-up, and rows
may be deleted from the oldest on without anything that refers to them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from xds_server.model import Event, ServiceDecision, Verdict

DECISION = "decision"
"""The kind of an entry that is a decision; other kinds are those of events."""

MOST_TOLD = 6
FASTEST = 1
"""Of zlib's levels: a third of the time of the usual one, and a twentieth larger."""

Json = Mapping[str, Any]
Describe = Callable[[ServiceDecision, float], Json]
"""The form in which a decision is shown, at a moment of the model's clock."""


class Table(NamedTuple):
    """What plots need of a decision: `weights[v][r]` and verdicts over `regions`, and the demand of each view."""

    regions: tuple[str, ...]
    weights: tuple[tuple[int, ...], ...]
    verdicts: tuple[str, ...]
    demand_rps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of one service; nothing is in `table` and `detail` if the service is no longer in the policy."""

    policy: str
    table: Table | None
    detail: bytes | None
    score: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of history. `at` is the time of day, in seconds since 1970; `regions` are those it concerns."""

    at: float
    kind: str
    severity: str
    message: str
    service: str = ""
    regions: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    decided: Decided | None = None


class Dated(NamedTuple):
    """A moment on the model's clock and the time of day."""

    now: float
    wall: float


@dataclass(frozen=True, slots=True)
class Change:
    """A service whose decision changed; None before its first, and after its last. `moved` tells that weights did."""

    at: Dated
    policy: str
    before: ServiceDecision | None
    after: ServiceDecision | None
    moved: Event | None = None


def worth_a_row(before: ServiceDecision, after: ServiceDecision) -> bool:
    """Return whether a decision differs from the one before by more than demand and load."""
    return before is not after and _mark(before) != _mark(after)


def event_entry(event: Event, wall: float) -> Entry:
    """Return the entry of an event."""
    facts = dict(event.fields)
    regions = tuple(dict.fromkeys(facts[name] for name in ("region", "view") if facts.get(name)))
    service = facts.get("service", "")
    return Entry(wall, event.kind, event.severity, event.message, service, regions, event.fields)


def change_entry(change: Change, describe: Describe) -> Entry:
    """Return the entry of a change of decision."""
    after = change.after
    if after is None:
        assert change.before is not None
        name = change.before.service
        gone = Decided(change.policy, None, None, 0.0)
        return Entry(change.at.wall, DECISION, "info", f"{name} is no longer in the policy", name, (), (), gone)
    verdicts = tuple(str(v.health) if v is not None else "" for v in after.verdicts)
    table = Table(after.regions, after.weights, verdicts, tuple(round(d, 3) for d in after.demand_rps))
    score = sum(v.score * v.ramp for v in after.verdicts if v is not None)
    decided = Decided(change.policy, table, packed(describe(after, change.at.now)), score)
    kind, severity, message = DECISION, "info", f"{after.service}: {_words(change.before, after)}"
    fields: tuple[tuple[str, str], ...] = (("policy", change.policy),)
    if (moved := change.moved) is not None:
        why = "; ".join(_differences(change.before, after)) if change.before is not None else ""
        kind, severity, fields = moved.kind, moved.severity, (*moved.fields, *fields)
        message = f"{moved.message} ({why})" if why else moved.message
    regions = _touched(change.before, after)
    return Entry(change.at.wall, kind, severity, message, after.service, regions, fields, decided)


def packed(detail: Json) -> bytes:
    """Return a JSON value in little room."""
    return zlib.compress(json.dumps(detail, separators=(",", ":"), allow_nan=False).encode(), FASTEST)


def unpacked(detail: bytes) -> Json:
    """Return what `packed` was given."""
    found: Json = json.loads(zlib.decompress(detail))
    return found


def _mark(of: ServiceDecision) -> tuple[object, ...]:
    return of.regions, of.weights, tuple(map(_seen, of.verdicts)), of.overload > 1.0, of.shed, of.half_open


def _seen(verdict: Verdict | None) -> tuple[object, ...]:
    if verdict is None:
        return ()
    return verdict.health, verdict.held, verdict.score, verdict.ramp, verdict.up, verdict.total


def _touched(before: ServiceDecision | None, after: ServiceDecision) -> tuple[str, ...]:
    """Return the regions whose verdict or share differs; all with a deployment if there is nothing to compare."""
    if before is None or before.regions != after.regions:
        return tuple(r for r, verdict in zip(after.regions, after.verdicts, strict=True) if verdict is not None)
    was, now = (list(zip(*of.weights, strict=True)) for of in (before, after))
    return tuple(
        region
        for r, region in enumerate(after.regions)
        if was[r] != now[r] or _seen(before.verdicts[r]) != _seen(after.verdicts[r])
    )


def _words(before: ServiceDecision | None, after: ServiceDecision) -> str:
    if before is None:
        return "first decision"
    if before.regions != after.regions:
        return "other regions"
    moved = sum(was != now for was, now in zip(before.weights, after.weights, strict=True))
    weights = [f"weights of {moved} of {len(after.regions)} views"] if moved else []
    return "; ".join([*_differences(before, after), *weights]) or "policy changed"


def _differences(before: ServiceDecision, after: ServiceDecision) -> list[str]:
    """Return what is other than before, but for weights."""
    told = [
        f"{region} {_told(was, now)}"
        for region, was, now in zip(after.regions, before.verdicts, after.verdicts, strict=True)
        if _seen(was) != _seen(now)
    ]
    told[MOST_TOLD:] = [f"{len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
    if (before.overload > 1.0) != (after.overload > 1.0):
        told.append("demand fits again" if after.overload <= 1.0 else "demand exceeds capacity")
    if before.shed != after.shed:
        told.append("refuses requests" if any(after.shed) else "refuses nothing any more")
    if before.half_open != after.half_open:
        told.append("a trickle to what is down" if after.half_open else "no trickle any more")
    return told


def _told(was: Verdict | None, now: Verdict | None) -> str:
    if was is not None and now is not None and _shown(was) == _shown(now):
        return f"{now.up} of {now.total} endpoints up"
    return f"{_shown(was)} → {_shown(now)}"


def _shown(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not deployed"
    held = f" (was {verdict.held})" if verdict.held is not None else ""
    part = verdict.score * verdict.ramp
    return f"{verdict.health}{held}" + (f" {100 * part:.0f} %" if 0.0 < part < 1.0 else "")
