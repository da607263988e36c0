"""How things start, well and badly: our bootstraps, names an operator looks for, and errors that name the fix."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.stage import LIMIT_S, Stage, on_stage
from tests.envoy.test_faults import assert_lost
from xds_server.demo.http1 import UnreachableError, fetch
from xds_server.demo.processes import Child, stop_all
from xds_server.demo.site import script
from xds_server.demo.topology import CONTROL_PLANE, REGIONS, fleet

pytestmark = pytest.mark.envoy


def program(*words: str) -> subprocess.CompletedProcess[str]:
    """Run xds-server to its end."""
    return subprocess.run([script("xds-server"), *words], capture_output=True, text=True, timeout=LIMIT_S, check=False)


def bootstrap(stage: Stage, cluster: str, admin_port: int = 0, *more: str, region: str = "us-east-1") -> Any:
    """Return the bootstrap that our command prints for this stage's control plane."""
    xds = f"127.0.0.1:{stage.site.topology.xds_port}"
    words = ["--region", region, "--cluster", cluster, "--xds", xds, "--admin-port", str(admin_port)]
    done = program("bootstrap", *words, "--format", "json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def an_envoy(directory: Path, name: str, config: Any) -> Child:
    """Start an Envoy that logs its warnings to `directory/name.log`."""
    file = directory / f"{name}.json"
    file.write_text(json.dumps(config))
    options = ["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"]
    envoy = Child(name, [script("envoy"), "-c", str(file), *options], directory / f"{name}.log")
    envoy.start()
    return envoy


@on_stage
async def test_envoys_booted_from_our_bootstrap_have_what_an_operator_looks_for(stage: Stage) -> None:
    for view in REGIONS:
        dump = await stage.ask(view, "/config_dump?include_eds")
        for name in (f"checkout@{region}" for region in REGIONS):
            assert f'"{name}"' in json.dumps(dump)
        clients = (await stage.api("/api/v1/fleet"))["clients"]
        assert [c["id"] for c in clients if c["region"] == view] == [f"{view}-1"]
    assert await stage.set_stats("update_rejected") == stage.provoked


@on_stage
async def test_an_envoy_that_the_policy_does_not_know_is_told_the_fix(stage: Stage, tmp_path: Path) -> None:
    nowhere = bootstrap(stage, fleet("us-east-1"))
    del nowhere["node"]["locality"]
    envoys = {
        "no region": an_envoy(tmp_path, "nowhere", nowhere),
        "wrong region": an_envoy(tmp_path, "mars", bootstrap(stage, fleet("us-east-1"), region="mars-north-1")),
        "wrong fleet": an_envoy(tmp_path, "nobody", bootstrap(stage, "nobody")),
    }
    regions = f"set it in the bootstrap to one of: {', '.join(sorted(REGIONS))}"
    fleets = f"set it in the bootstrap to one of: {', '.join(sorted(map(fleet, REGIONS)))}"
    fixes = {
        "no region": f"no node.locality.region; {regions}",
        "wrong region": f"node.locality.region 'mars-north-1' is not in the policy; {regions}",
        "wrong fleet": f"node.cluster 'nobody' is not a fleet of the policy; {fleets}",
    }

    async def told() -> bool:
        ours = stage.site.control_plane.log.read_text()
        return all(fixes[name] in envoy.log.read_text() and fixes[name] in ours for name, envoy in envoys.items())

    try:
        await stage.until("both logs name the fix", told)
    finally:
        stop_all(envoys.values())


@on_stage
async def test_a_taken_port_is_one_line_that_names_it(stage: Stage) -> None:
    taken = f"127.0.0.1:{stage.site.topology.xds_port}"
    for words in (("--xds", taken, "--admin", "127.0.0.1:0"), ("--xds", "127.0.0.1:0", "--admin", taken)):
        done = program("serve", str(stage.site.policy), *words, "--log-level", "error")
        assert done.returncode == 1
        assert taken in done.stderr
        assert len(lines(done.stderr)) == 1, done.stderr


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


@on_stage
async def test_an_envoy_starts_from_the_last_decision_without_a_control_plane(stage: Stage, tmp_path: Path) -> None:
    """It serves, and its reflex works: a region that dies then costs no read."""
    view, state = "us-east-1", stage.site.directory / "state"
    before, sidecar = await stage.weights(), stage.site.envoys[view]
    admin_port = stage.site.topology.envoy_admin_ports[view]
    await stage.fault(f"kill:{CONTROL_PLANE}")
    sidecar.kill()
    broken_glass = an_envoy(
        tmp_path, "last-good", bootstrap(stage, fleet(view), admin_port, "--last-good", str(state), region=view)
    )

    async def live() -> bool:
        try:
            return (await fetch(admin_port, "/ready")).status == 200
        except UnreachableError:
            return False

    try:
        await stage.until("the Envoy is live", live)
        async with stage.load() as load:
            await stage.sent(load, 500)
            await stage.fault(f"kill:{view}")
            await stage.sent(load, 1_000)
    finally:
        stop_all([broken_glass])
        sidecar.start()
    assert_lost(load, at_least=1_500, plain_writes=stage.plain_writes(before, view, 0.5))
