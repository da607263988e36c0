"""What the load consists of: which request is due when, of which kind, from which view.

Open loop: request number n is due at n ÷ rate, whatever became of the earlier ones, and its latency counts from then.
A closed loop, where a slow answer delays the next request, hides exactly the seconds a failover is about.

View and kind come from a fixed cycle in which every combination stands as often as its share says (largest remainder),
shuffled once with a fixed seed. Against independent random draws, two runs of the same length send the same requests,
and "failed 0 of 12,000" means the same 12,000.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

CYCLE = 1_000
_SEED = 20


class Kind(StrEnum):
    """A read may be repeated, a keyed write says so with its key, a plain write must not be."""

    READ = "read"
    KEYED_WRITE = "keyed_write"
    PLAIN_WRITE = "plain_write"


KIND_SHARE: Mapping[Kind, float] = {Kind.READ: 0.5, Kind.KEYED_WRITE: 0.2, Kind.PLAIN_WRITE: 0.3}


@dataclass(frozen=True, slots=True)
class Due:
    """One request: its number (which is its id), its time in seconds from the start, its view and kind."""

    number: int
    at_s: float
    view: str
    kind: Kind


class Mix:
    """A schedule without end. Pure: the n-th request is a function of n."""

    def __init__(self, rps: float, demand_share: Mapping[str, float]) -> None:
        self._rps = rps
        self._cycle = _cycle(demand_share)

    def request(self, number: int) -> Due:
        """Return the request with that number."""
        view, kind = self._cycle[number % CYCLE]
        return Due(number, number / self._rps, view, kind)


def _cycle(demand_share: Mapping[str, float]) -> list[tuple[str, Kind]]:
    """Return `CYCLE` picks in which each combination has its share, in a fixed shuffled order."""
    picks = list(product(demand_share, KIND_SHARE))
    total = sum(demand_share.values())
    exact = [CYCLE * demand_share[view] / total * KIND_SHARE[kind] for view, kind in picks]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(picks)), key=lambda i: counts[i] - exact[i])
    for index in by_remainder[: CYCLE - sum(counts)]:
        counts[index] += 1
    cycle = [pick for pick, count in zip(picks, counts, strict=True) for _ in range(count)]
    random.Random(_SEED).shuffle(cycle)  # noqa: S311
    return cycle
