"""What a step told the world, as a few hashes: equal exactly if the outcome was the same, byte for byte.

One hash each for the decision, the versions of the snapshots (which are hashes of their bytes), what became of
policies, and the events, so that a replay can say what differs first. A step that told nothing has none.

A decision over a thousand services is half a million numbers, of which a step usually changes few: `Fingerprints`
keeps the hash of every service's decision for as long as that very value is in force.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from xds_server.model import Decision, ServiceDecision, ViewKey
from xds_server.snapshot.resource import Snapshot
from xds_server.step import Outcome

Fingerprint = dict[str, str]
"""By part: `decision`, `snapshots`, `policy`, `events`. Parts that told nothing are not there."""


class Fingerprints:
    """Makes fingerprints of the outcomes of one controller, in order."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ServiceDecision, str]] = {}

    def of(self, outcome: Outcome) -> Fingerprint:
        """Return the fingerprint of a step's outcome; empty if it told nothing."""
        trial = outcome.trial
        told: dict[str, object] = {}
        if outcome.decision is not None:
            told["decision"] = self._decision(outcome.decision)
        if outcome.snapshots or outcome.gone or trial is not None:
            on_trial = [sorted(trial.members), _versions(trial.snapshots)] if trial is not None else None
            told["snapshots"] = [_versions(outcome.snapshots), sorted(outcome.gone), on_trial]
        if outcome.promoted is not None or outcome.refused is not None:
            refused = outcome.refused and [outcome.refused[0].digest, outcome.refused[1]]
            told["policy"] = [outcome.promoted and outcome.promoted.digest, refused]
        if outcome.events:
            told["events"] = [(e.kind, e.at, e.message, e.severity, e.fields) for e in outcome.events]
        return {part: _hash(value) for part, value in told.items()}

    def _decision(self, decision: Decision) -> list[str]:
        before, self._known = self._known, {}
        for service in decision.services:
            known = before.get(id(service))
            digest = known[1] if known is not None and known[0] is service else _hash(_plain(service))
            self._known[id(service)] = (service, digest)
        return [digest for _, digest in self._known.values()]


def _versions(snapshots: Mapping[ViewKey, Snapshot]) -> list[Any]:
    return sorted((view, sorted(snapshot.versions.items())) for view, snapshot in snapshots.items())


def _hash(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """Return a frozen value as lists: its numbers are in tuples already, which JSON takes as they are."""
    if is_dataclass(value):
        return [_plain(getattr(value, f.name)) for f in fields(value)]
    if isinstance(value, tuple) and any(is_dataclass(part) or isinstance(part, tuple) for part in value):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return [[_plain(k), _plain(v)] for k, v in sorted(value.items())]
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=repr)
    return value


def parts_that_differ(recorded: Fingerprint, replayed: Fingerprint) -> Iterable[str]:
    """Return the parts of which one says something else than the other, in their order."""
    return (part for part in ("decision", "snapshots", "policy", "events") if recorded.get(part) != replayed.get(part))
