"""Who is answered first when everybody comes back at once.

After a restart of a control plane, or of the network before it, ten thousand clients connect within a second. Answering
all at once would keep the event loop busy for many seconds: probes late, ticks late, and the Envoys that have nothing
to run with waiting behind those that only want to hear that nothing changed. So a stream's first answer costs a token.
Nobody is refused: a stream that waits is not read from, and costs nothing but its first request. Clients that say
that they have no configuration yet go first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from xds_server.transport.bucket import Bucket

PAUSE_S = 0.01
"""How often tokens are handed out to those who wait."""


class Admission:
    """Hands out `rate` first answers a second, and up to `burst` at once. Of one event loop."""

    def __init__(self, rate: float, burst: int, now: Callable[[], float]) -> None:
        self._bucket = Bucket(rate, burst, now())
        self._now = now
        self._empty_handed: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def admit(self, *, empty_handed: bool) -> None:
        """Return when it is this stream's turn."""
        if not self.waiting and self._bucket.take(self._now()):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._empty_handed if empty_handed else self._others).append(turn)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._hand_out(), name="xds admission")
        await turn

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return len(self._empty_handed) + len(self._others)

    async def close(self) -> None:
        """Hand out nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _hand_out(self) -> None:
        try:
            while self._serve_waiting():  # noqa: ASYNC110  (tokens come with time, not with an event)
                await asyncio.sleep(PAUSE_S)
        finally:
            self._task = None

    def _serve_waiting(self) -> bool:
        """Hand out what tokens there are; return whether somebody still waits."""
        for queue in (self._empty_handed, self._others):
            while queue:
                if queue[0].done():  # its client has gone meanwhile
                    queue.popleft()
                elif self._bucket.take(self._now()):
                    queue.popleft().set_result(None)
                else:
                    return True
        return False
