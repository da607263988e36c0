"""The bootstrap for gRPC clients, as the command line prints it."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from xds_server.cli import main


def printed(*more: str) -> Any:
    done = CliRunner().invoke(main, ["bootstrap", "--grpc", "--region", "us-east-1", *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_says_who_the_client_is_and_whom_it_asks() -> None:
    made = printed("--xds", "10.0.0.1:18000", "--cluster", "web", "--id", "web-7", "--zone", "a")
    assert made["node"] == {"id": "web-7", "cluster": "web", "locality": {"region": "us-east-1", "zone": "a"}}
    (server,) = made["xds_servers"]
    assert server["server_uri"] == "10.0.0.1:18000"
    assert server["channel_creds"] == [{"type": "insecure"}]
    assert set(server["server_features"]) == {"xds_v3", "ignore_resource_deletion"}


def test_has_a_name_of_its_own_and_brackets_around_ipv6() -> None:
    made = printed("--xds", "[::1]:18000")
    assert made["node"] == {"id": "default-us-east-1", "cluster": "default", "locality": {"region": "us-east-1"}}
    assert made["xds_servers"][0]["server_uri"] == "[::1]:18000"


def test_there_is_no_static_form_for_grpc(tmp_path: Any) -> None:
    wanted = ["bootstrap", "--grpc", "--region", "us-east-1", "--last-good", str(tmp_path)]
    done = CliRunner().invoke(main, wanted)
    assert done.exit_code == 2
    assert "--last-good is for Envoy" in done.output
