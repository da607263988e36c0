"""`xds-server fleet` and `xds-server retry` against a running admin side, and the table at 100 columns."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.operator.world import HELD, Process, client, serving
from tests.signals.world import in_loop
from xds_server.cli import main
from xds_server.operator.views import SHORT_TYPES, fleet_json
from xds_server.screens.fleet_table import TYPES, fleet_table
from xds_server.screens.printable import plain
from xds_server.screens.text import since


async def run(*args: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, list(args))


def healthy(name: str) -> Any:
    there = client(name)
    return replace(there, types=there.types[:1])


@in_loop
async def test_the_fleet_is_a_table_and_rejections_an_exit_code() -> None:
    process = Process(connected=(client("web-1"), healthy("web-2")), held=(HELD,))
    async with serving(process) as site:
        result = await run("fleet", "--admin", site.base.removeprefix("http://"))
    assert result.exit_code == 3, result.output
    assert result.output.splitlines() == [
        "client  region     fleet    runs on       since  RDS  CDS",
        "web-1   us-east-1  default  envoy 1.40.0  10s    r1!  c1",
        "web-2   us-east-1  default  envoy 1.40.0  10s         c1",
        "web-1 rejected RDS outbound v2: bad route",
        "kept back from default/us-east-1/envoy: RDS outbound v2, which a rejected: bad route",
    ]


@in_loop
async def test_without_rejections_it_exits_0_and_json_is_the_pages() -> None:
    async with serving(Process(connected=(healthy("web-1"),))) as site:
        result = await run("fleet", "--json", "--admin", site.base)
        assert (result.exit_code, json.loads(result.output)) == (0, (await site.get("/api/v1/fleet")).json)
    async with serving(Process()) as site:
        result = await run("fleet", "--admin", site.base)
        assert (result.exit_code, result.output) == (0, "no client is connected\n")


@in_loop
async def test_a_retry_is_ordered() -> None:
    process = Process(held=(HELD,))
    async with serving(process) as site:
        result = await run("retry", "--admin", site.base)
    assert (result.exit_code, process.retries) == (0, 1)
    assert result.output == "tried again: 1 resources kept back, 1 clients, policy abc123 on trial again\n"


@in_loop
async def test_nobody_there_is_one_line() -> None:
    async with serving(Process()) as site:
        gone = site.base
    for command in ("fleet", "retry"):
        result = await run(command, "--admin", gone)
        assert result.exit_code == 1
        assert gone in result.output
        assert len(result.output.splitlines()) == 1
        assert "nobody listens there; start `xds-server serve`" in result.output
        assert (await run(command, "--admin", "ftp://x")).exit_code == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "what answers does not speak HTTP"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", "404 Not Found: this is not an admin address"),
    ],
)
@in_loop
async def test_another_program_there_is_one_line(answer: bytes, words: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await run("fleet", "--admin", f"127.0.0.1:{port}")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert words in result.output


@pytest.mark.parametrize("length", [8, 30, 80])
def test_rows_fit_100_columns(length: int) -> None:
    there = client("n" * length, region="r" * length)
    types = [replace(there.types[0], type_url=f"x.{name}") for name in ("Listener", "Secret", "Runtime")]
    shown = fleet_json([replace(there, types=(*there.types, *types))], (), 100.0 + 86_400)
    lines = list(fleet_table(shown, 100))[:2]
    assert max(map(len, lines)) <= 100
    assert lines[0].split()[-6:] == ["since", "LDS", "RDS", "CDS", "SDS", "RTDS"]
    assert ("…" in lines[1]) == (length > 8)


def test_names_that_do_not_fit_keep_their_ends_and_files_have_them_whole() -> None:
    shown = fleet_json([client(f"checkout-web-{n}-in-a-pool-of-many-machines-{n}") for n in (17, 18)], (), 100.0)
    one, other = (line.split()[0] for line in list(fleet_table(shown, 60))[1:3])
    assert one != other
    assert one.startswith("check")
    assert "checkout-web-17-in-a-pool-of-many-machines-17" in list(fleet_table(shown, None))[1]


def test_types_that_do_not_fit_are_left_out() -> None:
    assert max(map(len, list(fleet_table(fleet_json([client("n" * 50)], (), 100.0), 46))[:2])) <= 46


def test_colours_are_added_only_on_a_terminal() -> None:
    shown = fleet_json([client("a")], (), 100.0)
    bare, coloured = (list(fleet_table(shown, 100, style)) for style in (None, click.style))
    assert not any("\x1b" in line for line in bare)
    assert click.style("r1!", fg="red") in coloured[1]
    assert [click.unstyle(line).rstrip() for line in coloured] == bare


def test_what_clients_say_cannot_steer_a_terminal() -> None:
    assert plain("a\x1b[2Jb\nc\x9b") == "a [2Jb c "
    assert not any("\x1b" in line for line in fleet_table(fleet_json([client("\x1b[31m")], (), 100.0), 100))


def test_every_type_that_is_served_has_its_column() -> None:
    assert set(TYPES) == set(SHORT_TYPES.values())


def test_spans_are_told_in_their_two_largest_units() -> None:
    assert [since(s) for s in (5.9, 65, 3_700, 90_000)] == ["5s", "1m05s", "1h01m", "1d01h"]
