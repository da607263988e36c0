"""Free loopback ports that stay ours for the whole run, so that two demos side by side never collide.

Asking the kernel for port 0 and closing the socket again leaves a gap in which another run, or any outgoing connection,
can take the port; and a backend that was killed must come back on the port it had. So ports are picked outside the
range the kernel uses for outgoing connections, and each one is reserved by binding an abstract Unix socket that carries
its number. The kernel drops such a name when the process dies, however it dies, and it exists once per network
namespace, exactly as the port does.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """Reserved ports; `close` gives them back."""

    def __init__(self, count: int, chance: random.Random) -> None:
        self._locks: list[socket.socket] = []
        candidates = list(range(_LOWEST, _first_ephemeral()))
        chance.shuffle(candidates)
        free = (port for port in candidates if self._reserve(port))
        self.numbers = tuple(port for _, port in zip(range(count), free, strict=False))
        if len(self.numbers) < count:
            self.close()
            raise OSError(f"the demo needs {count} free ports below {_first_ephemeral()} on 127.0.0.1")

    def close(self) -> None:
        """Give the reservations back."""
        for lock in self._locks:
            lock.close()
        self._locks.clear()

    def _reserve(self, port: int) -> bool:
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0xds-server-demo-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            return False
        self._locks.append(lock)
        return True


def _first_ephemeral() -> int:
    return int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
