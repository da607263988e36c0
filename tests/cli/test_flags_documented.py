"""Every flag of every command stands on some page: a flag that no page names fails here."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from xds_server.cli import main

ROOT = Path(__file__).parents[2]


def flags() -> list[tuple[str, str]]:
    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in main.list_commands(context)}
    assert all(commands.values())
    return sorted(
        (name, option)
        for name, command in commands.items()
        if command is not None
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    )


@pytest.mark.parametrize(("command", "flag"), flags())
def test_a_page_names_the_flag(command: str, flag: str) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert any(f"{flag}`" in text or f"{flag} " in text for text in (page.read_text() for page in pages)), command


def test_the_architecture_page_names_every_part() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    parts = {path.name for path in (ROOT / "xds_server").iterdir() if not path.name.startswith(("_", "py.typed"))}
    missing = {part for part in parts if part.removesuffix(".py") not in page}
    assert not missing
