"""A memo of one round: what was built, by what it was built from.

A cache that is keyed by name and checked by comparing inputs, not a hash of everything: inputs are frozen values that
mostly *are* the ones of the last round, and Python compares equal tuples of the same objects without looking inside.
It forgets what a round did not ask for, so its size is that of one round and needs no limit of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class Memo:
    """Values by key, each with the inputs it was made from. Not shared: it has the one owner of its builder."""

    def __init__(self) -> None:
        self._before: dict[Hashable, tuple[object, object]] = {}
        self._now: dict[Hashable, tuple[object, object]] = {}

    def next_round(self) -> None:
        """Keep what the round that ends has used, forget the rest."""
        self._before, self._now = self._now, {}

    def get(self, key: Hashable, inputs: object, make: Callable[[], T]) -> T:
        """Return what `make` gives, or what it gave for equal inputs in this round or the last."""
        known = self._now.get(key) or self._before.get(key)
        if known is None or known[0] != inputs:
            known = (inputs, make())
        self._now[key] = known
        return known[1]  # type: ignore[return-value]  # a key always holds one type of value
