"""Questions about a policy need its text alone: the certificates that it names may be on another machine."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from xds_server.cli import main

POLICY = """
version: 1
regions: {a: {latency: {b: 80ms}}, b: {}}
services:
  shop:
    tls: {ca: missing.pem, sni: shop.example}
    deployments: {a: {endpoints: ["127.0.0.1:9"], capacity: 10}, b: {endpoints: ["127.0.0.1:10"], capacity: 10}}
"""


def test_a_plan_needs_no_certificates_and_validation_does(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    done = CliRunner().invoke(main, ["plan", str(policy), "--all", "--json"])
    assert [loss["without"] for loss in json.loads(done.stdout)["losses"]] == ["a", "b"], done.output
    done = CliRunner().invoke(main, ["validate", str(policy)])
    assert (done.exit_code, done.stderr) == (
        1,
        f"{policy}: services.shop.tls: {tmp_path}/missing.pem: no such file\n",
    )
