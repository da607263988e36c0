"""Commands against an admin side that wants to know who they are."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.access.test_judgement import TOKENS
from tests.operator.world import Process, serving
from tests.signals.world import in_loop
from xds_server.cli import main
from xds_server.commands.credentials import is_this_machine
from xds_server.operator.access import Door, Guard


async def run(*args: object, env: dict[str, str] | None = None) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, [*map(str, args)], env=env)


@in_loop
async def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("oz\noz operate sha256:abc\n")  # what `xds-server token` prints, as it is
    process = Process()
    async with serving(process, door=Door(Guard(TOKENS))) as site:
        for flags, env in (
            (["--admin-token-file", file], {}),
            ([], {"XDS_SERVER_TOKEN": "oz"}),
            ([], {"XDS_SERVER_TOKEN_FILE": str(file)}),
            (["--admin-token-file", file], {"XDS_SERVER_TOKEN": "nobody"}),
        ):
            done = await run("retry", "--admin", site.base, *flags, env=env)
            assert done.exit_code == 0, done.output
        asked = [["fleet"], ["orders"], ["plan", "--all"]]
        codes = [
            (await run(*words, "--admin", site.base, env={"XDS_SERVER_TOKEN": "viv"})).exit_code for words in asked
        ]
    assert codes == [0, 0, 0]
    assert process.retries == 4


@in_loop
async def test_who_is_not_let_in_reads_why_and_what_to_do() -> None:
    async with serving(Process(), door=Door(Guard(TOKENS))) as site:
        said = {}
        for token in ("", "nobody", "viv"):
            done = await run("retry", "--admin", site.base, env={"XDS_SERVER_TOKEN": token})
            assert done.exit_code == 1
            said[token] = done.stderr.strip()
    hint = "give --admin-token-file FILE, or set XDS_SERVER_TOKEN or XDS_SERVER_TOKEN_FILE"
    assert said == {
        "": f"Error: say who you are: Authorization: Bearer TOKEN; {hint}",
        "nobody": f"Error: no such token; {hint}",
        "viv": "Error: viv may view; this needs operate",
    }


@in_loop
async def test_a_token_that_goes_over_a_network_in_clear_is_warned_of() -> None:
    process = Process()
    async with serving(process, names=("127.1",), door=Door(Guard(TOKENS))) as site:
        port = site.base.rpartition(":")[2]
        done = await run("retry", "--admin", f"127.1:{port}", env={"XDS_SERVER_TOKEN": "oz"})  # leads here, as a name
        quiet = await run("retry", "--admin", f"localhost:{port}", env={"XDS_SERVER_TOKEN": "oz"})
    assert (done.exit_code, quiet.exit_code, quiet.stderr) == (0, 0, "")
    assert done.stderr == "warning: the token goes to 127.1 in clear, over http; use https:// or --admin-ca FILE\n"


@pytest.mark.parametrize(
    ("host", "stays"),
    [("127.3.0.1", True), ("::1", True), ("0.0.0.0", True), ("localhost", True), ("10.0.0.1", False), ("xds", False)],
)
def test_what_stays_on_this_machine(host: str, stays: bool) -> None:
    assert is_this_machine(host) is stays


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"\n", "holds no token"),
        (b"\xff", "not text"),
        ("gé".encode(), "no token"),
    ],
)
@in_loop
async def test_a_file_without_a_token_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    done = await run("fleet", "--admin", "127.0.0.1:1", "--admin-token-file", file)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {file}: ")
    assert words in done.stderr


@in_loop
async def test_a_token_is_not_sent_on_to_where_an_answer_points() -> None:
    seen: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "{}:{}".format(*listener.getsockname())
        async with await asyncio.start_server(elsewhere, sock=listener):
            done = await run("fleet", "--admin", address, env={"XDS_SERVER_TOKEN": "oz"})
    assert done.exit_code == 1
    assert "302" in done.stderr
    assert [b"Bearer oz" in request for request in seen] == [True]
