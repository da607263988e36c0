"""Memory and CPU of a process from `/proc`, over several lives of it."""

from __future__ import annotations

import os
from pathlib import Path

from xds_server.demo.report import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 1024 * 1024


class Meter:
    """Sample it now and then; what a process used between its last sample and its end is lost."""

    def __init__(self) -> None:
        self._rss_mb = 0.0
        self._rss_max_mb = 0.0
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}

    def start(self, pid: int) -> None:
        """Count the CPU of that process from now on, not from its start."""
        self._first[pid] = _cpu_s(pid) or 0.0

    def sample(self, pid: int) -> None:
        """Look at a process; one that is gone changes nothing."""
        cpu_s, rss = _cpu_s(pid), _rss(pid)
        if cpu_s is None or not rss:
            return
        self._first.setdefault(pid, 0.0)
        self._last[pid] = cpu_s
        self._rss_mb = rss / _MB
        self._rss_max_mb = max(self._rss_max_mb, self._rss_mb)

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        cpu_s = sum(last - self._first[pid] for pid, last in self._last.items())
        return Usage(rss_mb=self._rss_mb, rss_max_mb=self._rss_max_mb, cpu_s=cpu_s)


def _cpu_s(pid: int) -> float | None:
    """Return user and system time (proc_pid_stat(5), fields 14 and 15; the name in field 2 may hold spaces)."""
    text = _read(pid, "stat")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if len(fields) > 12 else None


def _rss(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""
