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


def held_by(pids: Iterable[int], port: int, peer_port: int) -> bool:
    """Return whether one of the processes holds the other end of the connection from `peer_port` to our `port`."""
    socket = _socket_of(peer_port, port)
    return socket is not None and any(socket in _sockets_of(pid) for pid in pids)


def _socket_of(port: int, peer_port: int) -> str | None:
    """Return the socket of a loopback connection that has `port` at its own end, as /proc/PID/fd names it."""
    local, remote = f"0100007F:{port:04X}", f"0100007F:{peer_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:4] == [local, remote, _ESTABLISHED]:
            return f"socket:[{fields[9]}]"
    return None


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
