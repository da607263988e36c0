"""A memo of one round: what was built, by what it was built from.

A cache that is keyed by name and checked by comparing inputs, not a hash of everything: inputs are frozen values that
mostly *are* the ones of the last round, and Python compares equal tuples of the same objects without looking inside.
It forgets what a round did not ask for, so its size is that of one round and needs no limit of its own.

A part that is taken from the last round does not ask for its pieces, so they are kept with it: of a part that changes
after a quiet round only the pieces that changed are built again. (Without that, of a thousand services whose plans
followed their weights a round later, three quarters of all virtual hosts were encoded again, as they had been.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class _Entry(NamedTuple):
    """A value, what it was made from, and the keys that were asked for while it was made."""

    inputs: object
    value: object
    pieces: tuple[Hashable, ...]


class Memo:
    """Values by key, each with the inputs it was made from. Not shared: it has the one owner of its builder."""

    def __init__(self) -> None:
        self._before: dict[Hashable, _Entry] = {}
        self._now: dict[Hashable, _Entry] = {}
        self._asked: list[Hashable] | None = None

    def copy(self) -> Memo:
        """Return another memo that knows the same, for somebody else's rounds."""
        made = Memo()
        made._now = {**self._before, **self._now}
        return made

    def next_round(self) -> None:
        """Keep what the round that ends has used, forget the rest."""
        self._before, self._now = self._now, {}

    def get(self, key: Hashable, inputs: object, make: Callable[[], T]) -> T:
        """Return what `make` gives, or what it gave for equal inputs in this round or the last."""
        known = self._now.get(key) or self._before.get(key)
        if known is None or (known.inputs is not inputs and known.inputs != inputs):
            known = self._made(inputs, make)
        elif key not in self._now:
            self._keep(known.pieces)
        self._now[key] = known
        if self._asked is not None:
            self._asked += (key, *known.pieces)
        return known.value  # type: ignore[return-value]  # a key always holds one type of value

    def _made(self, inputs: object, make: Callable[[], object]) -> _Entry:
        outer, asked = self._asked, list[Hashable]()
        self._asked = asked
        value = make()
        self._asked = outer
        return _Entry(inputs, value, tuple(asked))

    def _keep(self, pieces: tuple[Hashable, ...]) -> None:
        """Keep these for the next round, whether or not they are asked for in this one."""
        for piece in pieces:
            known = self._before.get(piece)
            if known is not None and piece not in self._now:
                self._now[piece] = known
