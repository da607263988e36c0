"""What is shipped for running it, and the pages about that: flags, ports, paths and alerts are those there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context

from xds_server.cli import main
from xds_server.commands.serve import serve

ROOT = Path(__file__).parents[2]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
PAGES = [ROOT / "docs" / "operations.md", *RUNBOOKS]
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"][0]["rules"]


def words_are_taken(words: list[str]) -> None:
    """Fail unless the program knows the command and every flag; stops short of running it."""
    context = Context(main)
    command: Any = main
    while words and not words[0].startswith("-") and hasattr(command, "get_command"):
        known = command.get_command(context, words[0])
        assert known is not None, words
        command, words = known, words[1:]
    flags = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= flags, (command.name, used - flags)


def test_the_systemd_unit_starts_what_there_is() -> None:
    unit = (ROOT / "deploy/systemd/xds-server.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, *words = shlex.split(line)
    assert program.endswith("/bin/xds-server")
    words_are_taken(words)
    environment = dict(pair.split("=") for pair in re.findall(r"XDS_SERVER_\w+=\S+", unit))
    assert {"XDS_SERVER_XDS", "XDS_SERVER_ADMIN", "XDS_SERVER_ADMIN_TOKENS"} == environment.keys()
    assert environment.keys() <= {str(option.envvar) for option in serve.params}


def test_the_kubernetes_manifest_fits_the_image_and_the_program() -> None:
    service, stateful = yaml.safe_load_all((ROOT / "deploy/kubernetes/xds-server.yaml").read_text())
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    words_are_taken(list(container["args"]))
    image = (ROOT / "Dockerfile").read_text()
    for name, port in {p["name"]: p["containerPort"] for p in container["ports"]}.items():
        assert f"XDS_SERVER_{name.upper()}=0.0.0.0:{port}" in image
    assert {p["port"] for p in service["spec"]["ports"]} == {p["containerPort"] for p in container["ports"]}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert f"XDS_SERVER_STATE_DIR={mounts['state']}" in image
    volumes = {v["name"] for v in stateful["spec"]["template"]["spec"]["volumes"]} | {"state"}
    assert volumes == mounts.keys()
    assert stateful["spec"]["selector"]["matchLabels"].items() <= service["spec"]["selector"].items()


def test_the_network_policy_is_for_the_pods_and_ports_of_the_manifest() -> None:
    policy = yaml.safe_load((ROOT / "deploy/kubernetes/network-policy.yaml").read_text())["spec"]
    service, _ = yaml.safe_load_all((ROOT / "deploy/kubernetes/xds-server.yaml").read_text())
    assert policy["podSelector"]["matchLabels"] == service["spec"]["selector"]
    opened = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert opened == [port["name"] for port in service["spec"]["ports"]]


def test_every_alert_has_a_runbook_that_the_page_of_operations_names() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    rows = dict(re.findall(r"^\| (`XdsServer.*?) \| \[.*?\]\((.*?)\) \|$", page, re.MULTILINE))
    listed = {name: target for names, target in rows.items() for name in re.findall(r"`(\w+)`", names)}
    assert listed == {rule["alert"]: rule["annotations"]["runbook"].removeprefix("docs/") for rule in ALERTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_the_page_are_taken(page: Path) -> None:
    commands = re.findall(r"(?:`|^ {4})xds-server ([a-z][^`\n]*?)(?:`|$|  #| >| …)", page.read_text(), re.MULTILINE)
    assert commands or page.stem == "operations"
    for command in commands:
        words_are_taken(shlex.split(command.replace("…", "")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_on_the_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_runbooks_have_one_form(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# ")
    assert "**You see**" in text or "**When.**" in text
    assert "**Over** when" in text
