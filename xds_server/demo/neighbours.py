"""Whose connection is it: the process at the other end of a connection on this machine, as Linux tells.

All Envoys of the demo come from the same address, so an endpoint cannot tell views apart by that; and a health check
says nothing of the view it comes from. A link that is cut for one view needs just this, of its requests and its health
checks alike. The kernel is asked for the one socket at the other end (sock_diag), and whether the process has it open.

Rejected: giving each view a source address (`upstream_bind_config`), which Envoy follows for requests and not for the
checks it makes by HDS; a relay for each pair of regions, because all views are given the same endpoints; network
namespaces, which want root; and reading `/proc/net/tcp`, which lists every socket of the machine each time: an endpoint
that did so for each new connection was too busy to answer health checks.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = 1
_ANY_STATE = _ANY_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_WANTED = struct.Struct("=BBBxI")
"""inet_diag_req_v2 up to the socket: family, protocol, extensions, states."""
_SOCKET = struct.Struct("!HH4s12x4s12x4xQ")
"""inet_diag_sockid: ports, addresses, interface, cookie."""
_FOUND = struct.Struct("=4x48x16xI")
"""inet_diag_msg: the inode stands last."""


def held_by(pids: Iterable[int], port: int, peer_port: int) -> bool:
    """Return whether one of the processes holds the other end of a loopback connection to our `port`."""
    inode = _inode(peer_port, port)
    return inode is not None and any(f"socket:[{inode}]" in _open_files(pid) for pid in pids)


def _inode(port: int, peer_port: int) -> int | None:
    """Return the inode of the loopback socket with `port` at its own end; None if there is none any more."""
    here = socket.inet_aton("127.0.0.1")
    wanted = _WANTED.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY_STATE)
    wanted += _SOCKET.pack(port, peer_port, here, here, _ANY_COOKIE << 32 | _ANY_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(wanted), _BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + wanted)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    inode: int = _FOUND.unpack_from(answer, _HEADER.size)[0]
    return inode


def _open_files(pid: int) -> set[str]:
    """Return what a process has open; nothing if there is no such process."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(str(descriptor.readlink()))
    except FileNotFoundError:
        return set()
    return found
