"""What `docker compose up` starts is held together by names in five files; these tests hold the names together.

Building and running the images needs a Docker daemon and is not done here.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from xds_server.cli import main
from xds_server.operator.tokens import Role, parse_tokens
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BOOTSTRAPS = sorted((ROOT / "envoy").glob("*.yaml"))


def policy() -> Policy:
    path = ROOT / "docker" / "policy" / "policy.yaml"
    parsed = parse(path.read_bytes(), str(path))
    assert not parsed.warnings
    return parsed.policy


def test_every_region_has_its_backends_and_its_sidecar() -> None:
    regions = set(policy().regions)
    assert {name for name in SERVICES if name in regions} == regions
    assert {name.removeprefix("sidecar-") for name in SERVICES if name.startswith("sidecar-")} == regions
    assert set(SERVICES) - regions - {f"sidecar-{region}" for region in regions} == {"control-plane", "load"}
    assert all(SERVICES[region]["scale"] == 2 and f"--region {region} " in command(region) for region in regions)


def command(service: str) -> str:
    text = SERVICES[service]["command"]
    assert isinstance(text, str)
    return text


def test_endpoints_are_the_names_and_ports_of_the_backends() -> None:
    (checkout,) = policy().services.values()
    for region, deployment in checkout.deployments.items():
        (endpoint,) = deployment.endpoints
        assert endpoint.host == region
        assert f"--port {endpoint.port} " in command(region)


def test_backends_simulate_the_round_trips_that_the_policy_states() -> None:
    latency = policy().latency_ms
    for region in policy().regions:
        simulated = dict(re.findall(r"(\S+)=(\d+)", command(region).split("--rtt")[1]))
        assert {view: float(ms) for view, ms in simulated.items()} == {
            view: latency[view, region] for view in policy().regions
        }


def test_the_load_uses_every_sidecar_in_the_proportion_that_the_policy_expects() -> None:
    (checkout,) = policy().services.values()
    arguments = dict(re.findall(r"--(sidecar \S+?|share \S+?)=(\S+)", command("load")))
    (fleet,) = policy().fleets.values()
    for region in policy().regions:
        assert arguments[f"sidecar {region}"] == f"sidecar-{region}:{fleet.listen_port}"
        assert float(arguments[f"share {region}"]) * 100 == pytest.approx(checkout.demand_rps[region])


@pytest.mark.parametrize("path", BOOTSTRAPS, ids=lambda path: path.stem)
def test_a_bootstrap_is_what_its_command_prints(path: Path) -> None:
    comment, made_by, made = path.read_text().split("\n", 2)
    assert comment.endswith("Made by:")
    program, *arguments = shlex.split(made_by.removeprefix("#"))
    assert program == "xds-server"
    printed = CliRunner().invoke(main, arguments)
    assert (printed.exit_code, printed.output) == (0, made)


@pytest.mark.parametrize("path", BOOTSTRAPS, ids=lambda path: path.stem)
def test_a_bootstrap_belongs_to_a_fleet_and_region_of_the_policy_and_the_compose_file(path: Path) -> None:
    node = yaml.safe_load(path.read_text())["node"]
    assert node["cluster"] in policy().fleets
    assert node["locality"]["region"] == path.stem
    assert f"/etc/envoy/{path.name} " in command(f"sidecar-{path.stem}")
    assert path.stem in policy().regions


@pytest.mark.envoy
@pytest.mark.parametrize("path", BOOTSTRAPS, ids=lambda path: path.stem)
def test_envoy_accepts_a_bootstrap_without_a_warning(path: Path) -> None:
    envoy = Path(sys.executable).with_name("envoy")
    run = subprocess.run(
        [envoy, "--mode", "validate", "-c", path, "--log-level", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "[warning]" not in run.stderr


def test_there_is_a_bootstrap_for_every_region() -> None:
    assert {path.stem for path in BOOTSTRAPS} == set(policy().regions)


def test_nothing_is_published_beyond_this_host_and_nothing_gains_privileges() -> None:
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    published = [port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == len(set(published))


def test_the_control_plane_starts_beyond_loopback_because_it_is_given_tokens() -> None:
    assert "XDS_SERVER_ADMIN=0.0.0.0:19000" in (ROOT / "Dockerfile").read_text()
    plane = SERVICES["control-plane"]
    mounted = next(volume.split(":") for volume in plane["volumes"] if volume.endswith(":ro"))
    path = plane["environment"]["XDS_SERVER_ADMIN_TOKENS"].replace(mounted[1], mounted[0])
    holder = parse_tokens((ROOT / path).read_text(), path).holder("demo")
    assert holder is not None
    assert holder.role is Role.OPERATE


def test_what_others_wait_for_has_a_health_check() -> None:
    waited_for = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    in_image = {"control-plane"}
    assert all("healthcheck" in SERVICES[name] for name in waited_for - in_image)
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text().split("AS control-plane")[1].split("FROM")[0]


def test_the_image_installs_what_the_lock_says() -> None:
    pin = re.compile(r"^(\S+==\S+)", re.MULTILINE)
    everything = set(pin.findall((ROOT / "requirements.lock").read_text()))
    served = set(pin.findall((ROOT / "requirements-serve.lock").read_text()))
    assert served <= everything
    declared = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert declared is not None
    names = {name.lower() for name in re.findall(r'"([\w-]+)', declared[1])}
    assert names <= {pinned.split("==")[0] for pinned in served}


def test_everything_the_dockerfile_copies_is_sent_to_the_builder() -> None:
    sent = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for name in line.split()[:-1]
    ]
    assert copied
    assert all(name in sent for name in copied), copied
