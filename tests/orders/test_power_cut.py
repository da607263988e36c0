"""A real process is killed while orders are given to it, again and again: nothing that it acknowledged is lost."""

from __future__ import annotations

import http.client
import json
import random
import threading
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.control_plane import ControlPlane

ROUNDS = 4
REGIONS = [f"r{n}" for n in range(8)]
POLICY = "version: 1\nregions:\n" + "".join(
    f"  {a}: {{latency: {{{', '.join(f'{b}: 10ms' for b in REGIONS[i + 1 :])}}}}}\n" for i, a in enumerate(REGIONS)
)
POLICY += "defaults: {health: {type: tcp, interval: 1h, timeout: 100ms}}\nservices:\n" + "".join(
    f"  s{n}: {{deployments: {{r0: {{capacity: 10, endpoints: ['127.0.0.1:{n + 1}']}}}}}}\n" for n in range(20)
)


def serving(policy: Path) -> ControlPlane:
    return ControlPlane(policy, "--state-dir", policy.with_name("state"), "--record", "0")


def ask(admin: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    host, _, port = admin.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"content-type": "application/json"} if sent else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


class Operator:
    """Gives orders until the process is gone; `held` are those that were acknowledged."""

    def __init__(self, chance: random.Random) -> None:
        self._places = chance.sample([(f"s{n}", view) for n in range(20) for view in REGIONS], 150)
        self._next = count()
        self.held: set[tuple[str, str]] = set()

    def give(self, admin: str) -> None:
        while True:
            service, view = self._places[next(self._next)]
            order = {"kind": "hold", "service": service, "view": view, "reason": "test", "author": "anna"}
            try:
                status, answer = ask(admin, "POST", "/api/v1/orders", order)
            except (OSError, http.client.HTTPException, ValueError):
                return
            assert status == 201, answer
            self.held.add((service, view))


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    chance = random.Random(7)
    operator = Operator(chance)
    for _ in range(ROUNDS):
        acknowledged = len(operator.held)
        with serving(policy) as process:
            assert in_force(process.admin) >= operator.held
            given = threading.Thread(target=operator.give, args=(process.admin,))
            given.start()
            enough = acknowledged + chance.randint(1, 12)
            while len(operator.held) < enough:
                given.join(0.001)
                assert given.is_alive()
            process.kill()
            given.join()
    with serving(policy) as process:
        assert in_force(process.admin) >= operator.held
    assert len(operator.held) >= ROUNDS


def in_force(admin: str) -> set[tuple[str, str]]:
    _, found = ask(admin, "GET", "/api/v1/orders")
    return {(one["service"], one["view"]) for one in found["orders"]}
