"""The faults a run injects: their grammar, and which orders of them make sense.

A fault is `KIND[:ARG]:TARGET@SECONDS`. A target is a region, which means all of its backends, or `controlplane`.

| kind           | what happens to the target                                                         |
|----------------|------------------------------------------------------------------------------------|
| `cut:VIEW`     | the Envoys of that region do not reach it: what they open is dropped; others do    |
| `kill`         | SIGKILL: connections are reset, later ones refused                                 |
| `blackhole`    | SIGSTOP: connections are accepted by the kernel and nothing ever answers           |
| `errors:0.4`   | that share of requests is answered 503; the health check still passes              |
| `slow:300`     | every answer, the health check's too, takes that many milliseconds more            |
| `unhealthy`    | the health check answers 503; requests are served as before                        |
| `restore`      | back to normal: started again on the same ports, resumed, settings reset           |

`errors` leaves the health check alone on purpose: a shallow check that passes while requests fail is the harder and the
more common case, and `unhealthy` exists for the other half. The control plane can be killed, black-holed and restored.
A link can be cut on Linux alone (neighbours.py).

A script is checked as a whole before anything starts (`script`): a fault that could not be applied when its time comes
is found after a second of reading, not after a minute of running.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from xds_server.demo.topology import CONTROL_PLANE, REGIONS


class Kind(StrEnum):
    """What is done to the target."""

    KILL = "kill"
    BLACKHOLE = "blackhole"
    ERRORS = "errors"
    SLOW = "slow"
    UNHEALTHY = "unhealthy"
    CUT = "cut"
    RESTORE = "restore"


TARGETS = (*REGIONS, CONTROL_PLANE)
SHAPE = "KIND[:ARG]:TARGET@SECONDS, for instance kill:us-east-1@10 or errors:0.4:eu-west-1@5"
_OF_PROCESSES = frozenset({Kind.KILL, Kind.BLACKHOLE, Kind.RESTORE})
_LEAVES_NOTHING = frozenset({Kind.KILL, Kind.BLACKHOLE, Kind.UNHEALTHY, Kind.CUT})
_LIMITS: dict[Kind, tuple[float, float, str]] = {
    Kind.ERRORS: (0.0, 1.0, "the share of requests answered 503, above 0 and at most 1"),
    Kind.SLOW: (0.0, 14_000.0, "milliseconds, above 0 and at most 14000, below the route's timeout of 15 s"),
}


class FaultError(ValueError):
    """A fault, or a script of faults, that cannot be carried out; the text says why and what would do."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing done to one target at one time of the run, in seconds from the start of the load."""

    kind: Kind
    target: str
    at_s: float
    arg: float | str | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.target}"

    @property
    def name(self) -> str:
        """What is done, without the target."""
        if self.arg is None:
            return str(self.kind)
        return f"{self.kind}:{self.arg}" if isinstance(self.arg, str) else f"{self.kind}:{self.arg:g}"

    @property
    def moves_traffic(self) -> bool:
        """True if the traffic of a region, or of a view to it, is to be moved because it answers no health check."""
        return self.target != CONTROL_PLANE and self.kind in _LEAVES_NOTHING

    def concerns(self, view: str) -> bool:
        """Return whether the traffic of a view feels it."""
        return self.kind is not Kind.CUT or view == self.arg


def parse(text: str) -> Fault:
    """Return the fault that `KIND[:ARG]:TARGET@SECONDS` names, or raise FaultError."""
    what, at, seconds = text.rpartition("@")
    if not at:
        raise FaultError(f"{text!r}: no @SECONDS; a fault is {SHAPE}")
    try:
        at_s = float(seconds)
    except ValueError:
        raise FaultError(f"{text!r}: {seconds!r} is not a number of seconds") from None
    if not 0.0 <= at_s < 1e6:
        raise FaultError(f"{text!r}: SECONDS must be 0 or more")
    return parse_now(what, at_s)


def parse_now(what: str, at_s: float) -> Fault:
    """Return the fault that `KIND[:ARG]:TARGET` names, to happen at `at_s`, or raise FaultError."""
    name, *args, target = what.split(":") if ":" in what else (what, "")
    if name not in {kind.value for kind in Kind}:
        raise FaultError(f"{what!r}: no fault is called {name!r}; there are {', '.join(Kind)}")
    kind = Kind(name)
    if target not in TARGETS:
        raise FaultError(f"{what!r}: {target!r} is not a target; there are {', '.join(TARGETS)}")
    if target == CONTROL_PLANE and kind not in _OF_PROCESSES:
        raise FaultError(f"{what!r}: the control plane can be killed, black-holed and restored, nothing else")
    arg = _view(what, args, target) if kind is Kind.CUT else _argument(what, kind, args)
    return Fault(kind, target, at_s, arg)


def _view(what: str, args: list[str], target: str) -> str:
    """Return the view whose link is cut."""
    if len(args) != 1 or args[0] not in REGIONS or args[0] == target:
        raise FaultError(f"{what!r}: cut needs another region, whose Envoys are cut off: cut:eu-west-1:us-east-1")
    if sys.platform != "linux":
        raise FaultError(f"{what!r}: a link can be cut on Linux alone")
    return args[0]


def _argument(what: str, kind: Kind, args: list[str]) -> float | None:
    if kind not in _LIMITS:
        if args:
            raise FaultError(f"{what!r}: {kind} takes no argument; write {kind}:TARGET")
        return None
    low, high, meaning = _LIMITS[kind]
    if len(args) != 1:
        raise FaultError(f"{what!r}: {kind} needs one argument, {meaning}: {kind}:ARG:TARGET")
    try:
        value = float(args[0])
    except ValueError:
        raise FaultError(f"{what!r}: {args[0]!r} is not a number; {meaning}") from None
    if not low < value <= high:
        raise FaultError(f"{what!r}: {args[0]} is out of range; {meaning}")
    return value


def script(texts: Iterable[str], duration_s: float | None) -> tuple[Fault, ...]:
    """Return the faults in the order of their times, or raise FaultError if one could not be applied at its time."""
    faults = tuple(sorted((parse(text) for text in texts), key=lambda fault: fault.at_s))
    state: dict[str, Kind] = {}
    for fault in faults:
        if duration_s is not None and fault.at_s >= duration_s:
            raise FaultError(f"{fault}@{fault.at_s:g}: the run ends after {duration_s:g} s; choose a longer --duration")
        problem = refusal(fault, state.get(fault.target))
        if problem:
            raise FaultError(f"{fault}@{fault.at_s:g}: {problem}")
        state[fault.target] = fault.kind
    return faults


def refusal(fault: Fault, last: Kind | None) -> str:
    """Return why a fault cannot follow the last one on the same target; empty if it can."""
    if last in {Kind.KILL, Kind.BLACKHOLE} and fault.kind is not Kind.RESTORE:
        if last is Kind.BLACKHOLE and fault.kind is Kind.KILL:
            return ""
        return f"{fault.target} does not run (last fault: {last}); restore:{fault.target} first"
    return ""


def ends(fault: Fault, later: Iterable[Fault]) -> float | None:
    """Return when a fault was over: the time of the first `restore` of its target after it; None if there is none."""
    if fault.kind is Kind.RESTORE:
        return None
    times = [f.at_s for f in later if f.kind is Kind.RESTORE and f.target == fault.target and f.at_s >= fault.at_s]
    return min(times, default=None)
