"""Waiting for what clients of a benchmark acknowledge."""

from __future__ import annotations

import asyncio

_LIMIT_S = 120.0


class Acks:
    """Counts what clients acknowledged."""

    def __init__(self) -> None:
        self.count = 0
        self._limit = 0
        self._reached = asyncio.Event()

    def add(self) -> None:
        """Count one more."""
        self.count += 1
        if self.count >= self._limit:
            self._reached.set()

    async def reach(self, limit: int) -> None:
        """Wait until there are so many."""
        self._limit = limit
        self._reached.clear()
        if self.count < limit:
            async with asyncio.timeout(_LIMIT_S):
                await self._reached.wait()
