"""A real `serve` of two regions whose backends do not answer, and how to ask it."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

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
LIMIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Server:
    """A process that serves."""

    process: subprocess.Popen[str]
    admin: str
    log: Path

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
        return any(all(word in line for word in words) for line in self.log.read_text().splitlines())


def argv(directory: Path, *flags: object) -> list[str]:
    """Return the command that serves on free ports; flags given later win."""
    policy = directory / "policy.yaml"
    policy.write_text(POLICY)
    words = [sys.executable, "-m", "xds_server", "serve", policy, "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    return [str(word) for word in (*words, *flags)]


@contextmanager
def served(directory: Path, *flags: object) -> Iterator[Server]:
    """Serve until the block ends."""
    log = directory / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(argv(directory, *flags), stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text()
            yield Server(process, json.loads(line)["admin"], log)
        finally:
            process.terminate()


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; fail when it does not come true within the limit."""
    wait_until(condition, LIMIT_S, lambda: "it did not come true")
