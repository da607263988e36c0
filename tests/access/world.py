"""A real `serve` of two regions whose backends do not answer, and how to ask it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

from tests.support.control_plane import LIMIT_S, ControlPlane, serve_command
from tests.support.waiting import wait_until

POLICY = """
version: 1
regions: {east: {latency: {west: 80ms}}, west: {}}
defaults: {health: {type: tcp, interval: 200ms, timeout: 100ms}}
services:
  shop:
    hosts: [shop.demo]
    demand: {east: 100, west: 50}
    deployments:
      east: {capacity: 200, endpoints: ["127.0.0.1:1"]}
      west: {capacity: 200, endpoints: ["127.0.0.1:2"]}
"""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Server(ControlPlane):
    """A process that serves, and answers whoever may ask."""

    def ask(
        self,
        path: str,
        token: str | None = None,
        method: str = "GET",
        tls: ssl.SSLContext | None = None,
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        host, port = self.admin.rsplit(":", 1)
        sent = {"content-type": "application/json"} if method == "POST" else {}
        sent |= {"authorization": f"Bearer {token}"} if token is not None else {}
        asking = (
            HTTPConnection(host, int(port), timeout=LIMIT_S)
            if tls is None
            else HTTPSConnection(host, int(port), timeout=LIMIT_S, context=tls)
        )
        try:
            asking.request(method, path, body or ("{}" if method == "POST" else None), sent | (headers or {}))
            response = asking.getresponse()
            return Answer(response.status, dict(response.headers.items()), response.read().decode())
        finally:
            asking.close()

    def logged(self, *words: str) -> bool:
        """Return whether one line of the log has all these words."""
        return any(all(word in line for word in words) for line in self.log.splitlines())


def argv(directory: Path, *flags: object) -> list[str]:
    """Return the command that serves on free ports; flags given later win."""
    return serve_command(_policy(directory), *flags)


def served(directory: Path, *flags: object) -> Server:
    """Serve until the block ends, or it is stopped."""
    return Server(_policy(directory), *flags)


def _policy(directory: Path) -> Path:
    policy = directory / "policy.yaml"
    policy.write_text(POLICY)
    return policy


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; fail when it does not come true within the limit."""
    wait_until(condition, LIMIT_S, lambda: "it did not come true")
