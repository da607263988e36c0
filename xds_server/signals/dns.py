"""Host names to addresses, again and again, through the system's resolver.

`getaddrinfo` is what everything else on the host uses (hosts file, search domains, container DNS), so what it says is
what an operator sees with `getent ahosts`. Rejected: an asynchronous DNS library, which reads only part of that.

It blocks and cannot be interrupted, so each look-up has a thread of its own, a daemon: a hung one must not keep the
process from ending, as a pool's thread would. The time limit is ours: after it the look-up counts as failed, while the
thread lives on until the C library gives up. A name is never looked up twice at once, threads are bounded, and names
whose last look-up hung may hold at most half of them, so they cannot starve the others.

A failure is tried again soon, then ever later, up to `BACK_OFF_CAP_S`. What the answers mean for the addresses in use
is not decided here but in decision/addresses.py.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext, suppress

from xds_server.model import Resolution

INTERVAL_S = 5.0
TIMEOUT_S = 5.0
"""The C library's own first time-out for one server is 5 s; an answer later than that is no help in an incident."""

BACK_OFF_S = 1.0
BACK_OFF_CAP_S = 30.0
THREADS = 32
"""An idle waiting thread costs little; 32 look-ups at once resolve thousands of names per interval."""

LookUp = Callable[[str], Iterable[str]]
"""Return the addresses of a name; raises OSError. Runs in a thread."""


def system_look_up(host: str) -> list[str]:
    """Ask the system's resolver, for the address families that this host has."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Resolver:
    """Looks up a changing set of names and hands each answer to `emit`. `chance` returns a number in [0, 1)."""

    def __init__(
        self,
        emit: Callable[[Resolution], None],
        now: Callable[[], float],
        *,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        look_up: LookUp = system_look_up,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._emit = emit
        self._now = now
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._look_up = look_up
        self._chance = chance
        self._threads = asyncio.Semaphore(THREADS)
        self._for_the_hung = asyncio.Semaphore(THREADS // 2)
        self._wanted: frozenset[str] = frozenset()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def set_names(self, names: frozenset[str]) -> None:
        """Resolve these from now on. A name that stays keeps its schedule."""
        self._wanted = names
        self._changed.set()

    async def run(self) -> None:
        """Resolve until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._changed.wait()
                self._changed.clear()
                for name in self._tasks.keys() - self._wanted:
                    self._tasks.pop(name).cancel()
                for name in sorted(self._wanted - self._tasks.keys()):
                    self._tasks[name] = group.create_task(self._follow(name))

    async def _follow(self, host: str) -> None:
        failures, hung = 0, False
        while True:
            async with self._permit(hung):
                asked = _ask(self._look_up, host)
                hung = not (await asyncio.wait({asked}, timeout=self._timeout_s))[0]
                if hung:
                    self._emit(Resolution(host, (), self._now(), f"no answer in {self._timeout_s:g} s"))
                ips, error = await asked  # late or not: an answer is an answer
                self._emit(Resolution(host, ips, self._now(), error))
            failures = failures + 1 if error else 0
            await asyncio.sleep(self._pause(failures) * (0.9 + 0.2 * self._chance()))

    def _pause(self, failures: int) -> float:
        if not failures:
            return self._interval_s
        return min(BACK_OFF_CAP_S, BACK_OFF_S * 2.0 ** min(failures - 1, 10))

    @asynccontextmanager
    async def _permit(self, hung: bool) -> AsyncIterator[None]:
        """Hold the right to a thread; a name whose last look-up hung needs one of the fewer permits for such, too."""
        async with self._for_the_hung if hung else nullcontext(), self._threads:
            yield


_Said = tuple[tuple[str, ...], str]


def _ask(look_up: LookUp, host: str) -> asyncio.Future[_Said]:
    """Look a name up in a thread of its own; the future gets its addresses, or why there are none."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Said] = loop.create_future()

    def work() -> None:
        try:
            said = _usable(look_up(host))
        except (OSError, UnicodeError) as error:
            said = (), (getattr(error, "strerror", None) or str(error)).lower()
        with suppress(RuntimeError):  # the loop has ended: nobody is waiting
            loop.call_soon_threadsafe(_settle, future, said)

    threading.Thread(target=work, name=f"dns {host}", daemon=True).start()
    return future


def _settle(future: asyncio.Future[_Said], said: _Said) -> None:
    if not future.done():
        future.set_result(said)


def _usable(found: Iterable[str]) -> _Said:
    """Return the addresses in canonical text and order, without those that only mean something on this host's links."""
    addresses = {ipaddress.ip_address(text) for text in found if "%" not in text}
    ips = tuple(str(address) for address in sorted(addresses, key=lambda a: (a.version, int(a))))
    return ips, "" if ips else "no usable address"
