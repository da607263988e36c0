"""`xds-server validate POLICY --resources DIR`: what it says of good and bad folders, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from xds_server.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
POLICY = EXAMPLES / "policy.yaml"


def validate(*words: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["validate", *map(str, words)], env=env)


def test_the_examples_are_good() -> None:
    done = validate(POLICY, "--resources", EXAMPLES / "own-resources")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{POLICY}: ok (1 services, 4 regions, 1 fleets, 7 own resources)\n"


def test_the_folder_can_come_from_the_environment() -> None:
    assert "7 own resources" in validate(POLICY, env={"XDS_SERVER_RESOURCES": str(EXAMPLES / "own-resources")}).stdout


def test_every_error_of_every_file_is_printed_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("resources: [")
    (tmp_path / "b.yaml").write_text('resources:\n  - "@type": type.googleapis.com/nothing\n    name: a\n')
    done = validate(POLICY, "--resources", tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{tmp_path}/a.yaml:2:1: file: ")
    assert second == f'{tmp_path}/b.yaml:2:14: resources[0]."@type": no such type in the Envoy API known here'


def test_a_folder_that_is_none_is_said_to_be_so(tmp_path: Path) -> None:
    done = validate(POLICY, "--resources", tmp_path / "nowhere")
    assert (done.exit_code, done.stderr) == (1, f"{tmp_path}/nowhere: cannot be read: no such file or directory\n")


@pytest.mark.parametrize("command", ["serve", "validate"])
def test_help_names_the_option_and_its_variable(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"]).stdout
    assert "--resources DIR" in shown
    assert "XDS_SERVER_RESOURCES" in shown
