"""Orders from a terminal to a real process: each is shown before it is given, and asked for unless `--yes`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.access.world import POLICY, Server, until
from xds_server.cli import main

BACKLOG = 4096
WHY = ("--reason", "test", "--author", "ann")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A process whose two regions are well: sockets that listen answer a TCP probe, though nobody accepts."""
    policy, text = tmp_path / "policy.yaml", POLICY
    with ExitStack() as stack:
        for written in ("127.0.0.1:1", "127.0.0.1:2"):
            backend = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
            text = text.replace(f'"{written}"', f'"127.0.0.1:{backend.getsockname()[1]}"')
        policy.write_text(text)
        yield stack.enter_context(Server(policy))


def run(server: Server, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, [*words, "--admin", server.admin], input=answer)


def in_force(server: Server) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.ask("/api/v1/orders").json["orders"]
    return found


def test_an_order_is_shown_and_asked_for_and_given_only_after_a_yes(server: Server) -> None:
    words = ("override", "weight", "shop", "east=80", "west=20", *WHY)
    no = run(server, *words, answer="n\n")
    assert (no.exit_code, in_force(server)) == (1, [])
    assert "Do it?" in no.output
    yes = run(server, *words, answer="y\n")
    assert yes.exit_code == 0, yes.output
    (one,) = in_force(server)
    assert (one["kind"], one["author"]) == ("weight", "ann")
    assert f"{one['id']}: " in yes.output.splitlines()[-1]
    assert one["id"] in run(server, "orders").output


def test_a_dry_run_shows_what_it_would_do_and_gives_nothing(server: Server) -> None:
    shown = run(server, "evacuate", "west", *WHY, "--dry-run")
    assert (shown.exit_code, in_force(server)) == (0, [])
    assert "west" in shown.output
    as_json = run(server, "evacuate", "west", *WHY, "--dry-run", "--json")
    assert json.loads(as_json.output)["refusals"] == []


def test_what_the_rules_refuse_is_not_given_but_by_force(server: Server) -> None:
    assert run(server, "evacuate", "east", *WHY, "--yes", "--no-wait").exit_code == 0
    words = ("evacuate", "west", *WHY, "--yes", "--no-wait")
    assert run(server, *words, "--dry-run").exit_code == 1
    refused = run(server, *words)
    assert (refused.exit_code, len(in_force(server))) == (1, 1)
    assert "refused: " in refused.output
    assert "--force does it all the same" in refused.output
    assert run(server, *words, "--force").exit_code == 0
    assert sorted(one["kind"] for one in in_force(server)) == ["evacuate", "evacuate"]


def test_overrides_are_ended_by_id_or_all_and_evacuations_are_restored(server: Server) -> None:
    for words in (("hold",), ("capacity", "shop", "east", "150")):
        assert run(server, "override", *words, *WHY, "--yes").exit_code == 0
    first, _ = in_force(server)
    assert run(server, "override", "clear", first["id"], "--yes").exit_code == 0
    until(lambda: len(in_force(server)) == 1)
    assert run(server, "override", "clear", "--all", "--yes").exit_code == 0
    until(lambda: not in_force(server))
    assert run(server, "evacuate", "west", *WHY, "--yes", "--no-wait", "--now").exit_code == 0
    assert run(server, "restore", "west", "--yes", "--no-wait").exit_code == 0
    nothing = run(server, "restore", "east", "--yes")
    assert (nothing.exit_code, "no order keeps traffic off east" in nothing.output) == (1, True)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("evacuate", "east", *WHY, "--now", "--over", "10s"), "--now and --over exclude each other"),
        (("override", "weight", "shop", "east", *WHY), "is not REGION=PART"),
        (("override", "clear"), "give IDs, or --all"),
        (("override", "clear", "x-1", "--all"), "give IDs, or --all"),
    ],
)
def test_words_that_do_not_fit_together_are_explained(words: tuple[str, ...], problem: str) -> None:
    result = CliRunner().invoke(main, [*words])
    assert (result.exit_code, problem in result.output) == (2, True)
