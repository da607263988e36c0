"""Gives freed memory back to the system after many clients have come or gone.

glibc keeps what is freed below something that is still in use, and what a connecting client needs for a moment (its
first request alone is 61 KB) lies below what it keeps. Measured with 500 clients: 20 KB each while they stay, and 40 KB
each after they have left, are kept without need. `malloc_trim` returns whole free pages wherever they lie; it takes
milliseconds, in a thread, without the interpreter's lock. Elsewhere than on glibc there is nothing to do.

The interpreter's own search for garbage goes through all that was made since the last one, and now and then through all
there is: at 10,000 clients 80 ms and 500 ms during which nobody is served. It comes whenever so many more objects are
there than at the last, and a change to everybody has 20 for each client under way at once: so it came twenty times in
one change, and was a sixth of its cost. Clients leave next to no garbage that only this search finds: 500 objects of
1,500 clients that came and left. `collect_seldom` lets it wait until more has come than a change brings with it. Never
to search was rejected: what else runs in the process may leave such garbage, and this bounds it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

LOOK_EVERY_S = 5.0
WORTH_IT = 100
"""Clients that came or went."""
NEW_OBJECTS = 10_000
NEW_OBJECTS_A_CLIENT = 25
"""A change has about 20 under way."""


def collect_seldom(clients: int = 0) -> None:
    """Have the interpreter look for garbage after that many new objects, not 700. For the whole process."""
    gc.set_threshold(NEW_OBJECTS + NEW_OBJECTS_A_CLIENT * clients, 10, 10)


class Trimmer:
    """Watches how many clients come and go; `moves` counts both."""

    def __init__(self, moves: Callable[[], int]) -> None:
        self._moves = moves
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    async def run(self) -> None:
        """Trim after each flood, once it is over, for as long as the task lives."""
        if self._trim is None:
            return
        trimmed = before = self._moves()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._moves()
            if now - trimmed >= WORTH_IT and now - before < WORTH_IT:
                await asyncio.to_thread(self._trim, 0)
                trimmed = now
            before = now
