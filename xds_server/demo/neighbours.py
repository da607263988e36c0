"""Whose connection is it: the process at the other end of a connection on this machine, as Linux tells (/proc).

All Envoys of the demo come from the same address, so an endpoint cannot tell views apart by that; and a health check
says nothing of the view it comes from. A link that is cut for one view needs just this, of its requests and its health
checks alike. Rejected: giving each view a source address (`upstream_bind_config`), which Envoy follows for requests and
not for the checks it makes by HDS; a relay for each pair of regions, because all views are given the same endpoints;
and network namespaces, which want root.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ESTABLISHED = "01"


def connected(pids: Iterable[int], port: int) -> set[int]:
    """Return the ports from which these processes are connected to our `port` on the loopback address.

    The kernel lists all sockets of the machine each time, so this is asked once for many connections.
    """
    theirs = set().union(*(_sockets_of(pid) for pid in pids))
    to_us = f" 0100007F:{port:04X} {_ESTABLISHED} "
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if to_us in line)
    return {int(local.partition(":")[2], 16) for _, local, *rest in lines if f"socket:[{rest[7]}]" in theirs}


def _sockets_of(pid: int) -> set[str]:
    """Return what a process has open; nothing if there is no such process."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(str(descriptor.readlink()))
    except FileNotFoundError:
        return set()
    return found
