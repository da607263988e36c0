"""`xds-server serve` and an Envoy that was started with `bootstrap --delta`: edits, trials, what operators see."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.envoy_own.world import World, world

pytestmark = pytest.mark.envoy


def edit(here: World, old: str, new: str) -> None:
    text = here.policy.read_text()
    assert old in text
    here.policy.write_text(text.replace(old, new))


def client(here: World) -> Any:
    (found,) = json.loads(here.control_plane.get("/api/v1/fleet"))["clients"]
    return found


def events(here: World) -> list[str]:
    return [event["kind"] for event in json.loads(here.control_plane.get("/api/v1/events"))["events"]]


def test_an_edit_is_tried_and_follows_and_a_bad_one_is_rolled_back(tmp_path: Path) -> None:
    with world(tmp_path) as here, socket.create_server(("127.0.0.1", 0)) as taken:
        edit(here, "  checkout:\n", "  checkout:\n    hosts: [shop.demo]\n")
        here.start("--delta")
        assert here.get("outbound", "/", host="shop.demo")[0] == 200
        assert client(here)["kind"] == "envoy-delta"
        here.until("virtual hosts asked for", lambda: "VHDS" in client(here)["types"])
        edit(here, "[shop.demo]", "[shop.demo, a.shop.demo]")
        here.until("the new host", lambda: here.get("outbound", "/", host="a.shop.demo")[0] == 200)
        here.until("the promotion", lambda: events(here).count("policy.accepted") == 2)
        assert "policy.trial" in events(here)
        good = here.policy.read_text()
        listen = next(line for line in good.splitlines() if line.startswith("fleets:"))
        edit(here, listen, f'fleets: {{default: {{listen: "127.0.0.1:{taken.getsockname()[1]}"}}}}')
        here.until("the rejection", lambda: "policy.rejected" in events(here))
        assert "in use" in here.control_plane.rejected()[0]
        assert here.get("outbound", "/", host="a.shop.demo")[0] == 200
        assert here.get("outbound", "/", host="b.example")[0] == 404
