"""What one machine cannot take, with real Envoys: the others keep it, and it is said whose fault that is."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_retry_envoy import Scene, page
from tests.envoy_own.test_own_resources import listener
from tests.support.envoy import EnvoyProcess
from xds_server.demo.ports import Ports
from xds_server.rollout.dissent import LEAST

pytestmark = pytest.mark.envoy


def own_listener() -> str:
    """Return resources with a listener on a Unix socket, in a directory that not every machine has."""
    answer = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }
    made = listener("own", {"route_config": {"name": "own", "virtual_hosts": [answer]}})
    return json.dumps({"resources": [made | {"address": {"pipe": {"path": "sockets/own.sock"}}}]})


def listens(envoy: EnvoyProcess) -> bool:
    statuses = envoy.admin_json("/listeners?format=json").get("listener_statuses", [])
    return "own" in [each["name"] for each in statuses]


def alarms(scene: Scene) -> list[Any]:
    """Return the alarms of what clients rejected (of the service there are others), with their first words."""
    found = json.loads(scene.control_plane.get("/api/v1/status"))["alarms"]
    told = [(alarm["kind"], alarm["message"].split()[0]) for alarm in found]
    return [each for each in told if each[0].startswith(("client", "resource", "policy"))]


def test_a_listener_that_one_envoy_cannot_bind_stays_with_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with ExitStack() as stack:
        stack.enter_context(closing(scene.taken))
        ports = stack.enter_context(closing(Ports(1, random.Random())))
        scene.listen_on(ports.numbers[0])
        (tmp_path / "resources").mkdir()
        control_plane = scene.serve("--resources", str(tmp_path / "resources"))
        stack.callback(control_plane.stop)
        good = []
        for number in range(LEAST):
            (tmp_path / f"e{number}" / "sockets").mkdir(parents=True)
            good.append(stack.enter_context(scene.envoy(f"e{number}")))
        scene.until("peace", lambda: page(control_plane)["clients"][LEAST - 1 :] and not alarms(scene))
        (tmp_path / "resources" / "own.json").write_text(own_listener())
        scene.until("the listener everywhere", lambda: all(map(listens, good)))

        bad = stack.enter_context(scene.envoy("without"))
        scene.until("a verdict", lambda: "resource.upheld" in control_plane.get("/api/v1/events"))
        assert alarms(scene) == [("client.nack", "without")]
        assert "without alone rejected it" in control_plane.log
        assert "cannot bind 'sockets/own.sock'" in control_plane.log
        assert page(control_plane)["quarantine"] == []
        assert all(map(listens, good))
        assert not listens(bad)

        (tmp_path / "without" / "sockets").mkdir()
        assert "1 clients" in scene.run("retry").output
        scene.until("the listener there, too", lambda: listens(bad) and not alarms(scene))
