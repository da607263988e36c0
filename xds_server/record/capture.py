"""The controller's whole state at one moment, as a value: where a replay starts.

A `Memory` would not do: it is what is *believed*, and a controller that starts from it waits for fresh evidence. For
the same decisions byte for byte a replay must know every streak, ramp and trial too.

Taken between two steps, on the control loop's own time, so it must be quick: objects and containers are copied, the
frozen values in them are shared and are written out later, by somebody who has time. Objects say by `__getstate__` what
is derived and need not be kept; everything else is taken as it is, so that new state needs no new code here.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import cache
from typing import Any

from xds_server.record.values import Captured, is_frozen, restored, state_of

_FLAT = (type(None), bool, int, float, str, bytes)


def capture(owner: object) -> Captured:
    """Return the state of an object with state. Cost: one copy of every container that can change."""
    return Captured(type(owner), {name: _copied(value) for name, value in state_of(owner).items()})


def revive(captured: Captured) -> Any:
    """Return a new object with the captured state, independent of the first."""
    return restored(captured.cls, {name: _revived(value) for name, value in captured.state.items()})


def _copied(value: Any) -> Any:
    kind = type(value)
    if _never_changes(kind):  # type: ignore[arg-type]
        return value
    if kind is dict:
        return {k: _copied(v) for k, v in value.items()}
    if kind is list or kind is deque or kind is set:
        return kind(map(_copied, value))
    return capture(value) if kind.__module__.startswith(__name__.partition(".")[0]) else value


@cache
def _never_changes(kind: type) -> bool:
    return kind in _FLAT or issubclass(kind, (tuple, frozenset, Enum)) or is_frozen(kind)


def _revived(value: Any) -> Any:
    kind = type(value)
    if kind is Captured:
        return revive(value)
    if kind is dict:
        return {k: _revived(v) for k, v in value.items()}
    if kind is list or kind is deque:
        return kind(map(_revived, value))
    return value
