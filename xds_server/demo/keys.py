"""Single key presses from the terminal, as long as the context lasts."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FAULT_OF_KEY = {"k": "kill", "b": "blackhole", "e": "errors:0.4", "s": "slow:300", "u": "unhealthy"}
"""Which fault a letter chooses."""


@contextmanager
def key_presses(on_key: Callable[[str], None]) -> Iterator[None]:
    """Call `on_key` for each key. Does nothing if standard input is not a terminal. Ctrl-C stays a signal."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for key in os.read(descriptor, 64).decode(errors="replace"):
            on_key(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
