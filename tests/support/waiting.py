"""Waiting for what other processes do: for a condition, with a generous limit, never for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_S = 0.02


def wait_until(condition: Callable[[], object], limit_s: float, told: Callable[[], object]) -> None:
    """Return once `condition` is true; fail after the limit with what `told` has to say by then."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(PAUSE_S)
