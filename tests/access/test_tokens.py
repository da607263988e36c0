"""The file of tokens: what it may say, and who it lets in."""

from __future__ import annotations

import hashlib

import pytest
from click.testing import CliRunner

from xds_server.cli import main
from xds_server.operator.tokens import BadTokensError, Principal, Role, Tokens, line_of, new_token, parse_tokens


def hashed(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def read(*lines: str) -> Tokens:
    return parse_tokens("\n".join(lines) + "\n", "tokens")


def test_a_token_has_the_name_and_role_of_its_line() -> None:
    tokens = read("# people", "", f"alice operate {hashed('a')} # laptop", f"bob\tview   {hashed('b')}")
    assert tokens.holder("a") == Principal("alice", Role.OPERATE)
    assert tokens.holder("b") == Principal("bob", Role.VIEW)
    assert [tokens.holder(other) for other in ("c", "", hashed("a"), "A", "a ")] == [None] * 5


def test_two_tokens_of_one_name_are_both_let_in_while_one_replaces_the_other() -> None:
    tokens = read(f"alice view {hashed('old')}", f"alice view {hashed('new')}")
    assert tokens.holder("old") == tokens.holder("new") == Principal("alice", Role.VIEW)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alice operate", "tokens:1: a line is NAME ROLE"),
        (f"alice operate {hashed('a')} more", "tokens:1: a line is NAME ROLE"),
        (f"alice admin {hashed('a')}", "must be one of view, report, operate, not 'admin'"),
        ("alice view sha256:abc", "must be sha256: and 64 hex digits, or certificate"),
        (f"alice view {hashed('a').upper()}", "must be sha256: and 64 hex digits"),
        (f"alice view {'a' * 64}", "must be sha256: and 64 hex digits"),
        (f"* view {hashed('a')}", "* stands for certificates alone"),
        (f"{'n' * 201} view {hashed('a')}", "a name is printable and has at most 200 characters"),
        (f"a\x1b[2Jb view {hashed('a')}", "a name is printable"),
    ],
)
def test_a_line_that_is_wrong_says_what_and_where(line: str, words: str) -> None:
    with pytest.raises(BadTokensError) as refused:
        read(line)
    assert words in str(refused.value)


def test_all_errors_are_said_at_once() -> None:
    with pytest.raises(BadTokensError) as refused:
        read("a b", f"alice view {hashed('a')}", f"alice operate {hashed('b')}")
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == ["tokens:1", "tokens:3"]


def test_a_certificate_may_operate_unless_a_line_gives_its_name_another_role() -> None:
    tokens = read("spiffe://x/ci view certificate", f"bob view {hashed('b')}")
    assert tokens.certified("spiffe://x/ci").role is Role.VIEW
    assert tokens.certified("bob").role is Role.VIEW
    assert tokens.certified("anybody") == Principal("anybody", Role.OPERATE)
    rest = read("carol operate certificate", "* view certificate")
    assert (rest.certified("carol").role, rest.certified("anybody").role) == (Role.OPERATE, Role.VIEW)


def test_a_role_covers_itself_and_operate_covers_all() -> None:
    covered = {(had, needed) for had in Role for needed in Role if had.covers(needed)}
    assert covered == {(role, role) for role in Role} | {(Role.OPERATE, role) for role in Role}


def test_hashes_are_not_shown() -> None:
    assert hashed("a")[-16:] not in repr(read(f"alice view {hashed('a')}"))


def test_the_command_prints_a_token_once_and_its_line() -> None:
    first, second = (CliRunner().invoke(main, ["token", "alice", "--role", "view"]).output for _ in range(2))
    token, line = first.splitlines()
    assert read(line).holder(token) == Principal("alice", Role.VIEW)
    assert token != second.splitlines()[0]
    assert token not in line


@pytest.mark.parametrize("name", ["", "a b", "*", "a#b", "a\nb view x", "n" * 201])
def test_a_name_that_cannot_stand_in_the_file_is_refused(name: str) -> None:
    assert CliRunner().invoke(main, ["token", name, "--role", "view"]).exit_code == 2


def test_a_token_is_long_and_of_characters_that_a_header_takes() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(len(token) >= 43 and token.isascii() and token.isprintable() and " " not in token for token in made)
    assert line_of("a", Role.VIEW, "t") == f"a view {hashed('t')}"
