"""Who may do what on the admin side: names, roles, and the file that gives names to tokens. Pure but for `new_token`.

    alice    operate  sha256:9f86d081…      a person; two lines with the same name while a token is being replaced
    scraper  view     sha256:60303ae2…      # what follows a # is a comment
    spiffe://example/ci  view  certificate  what the client certificate of that name may do
    *        view     certificate           what any other client certificate may do; without this line: operate

A role is a set of what may be done: `view` reads, `report` reports (an agent needs to see nothing), `operate` does all.
A name has one role, whatever it comes with, so that a certificate does not open what its owner's token does not.

The file holds hashes, so that reading it lets nobody in. A token is 256 bits from the system's generator, which no
list and no search reaches: a plain SHA-256 is enough, and bcrypt or Argon2, made for the passwords that people think
of, would only make each request slow. Hashes are compared without stopping at the first difference, all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

PREFIX = "xds_"
"""Of every token that we make, so that a scanner of repositories can tell that it has found one."""

ANY = "*"
MOST_NAME = 200
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_CERTIFICATE = "certificate"


class Role(StrEnum):
    """What a name may do."""

    VIEW = "view"
    REPORT = "report"
    OPERATE = "operate"

    def covers(self, needed: Role) -> bool:
        """Return whether this role is enough where `needed` is."""
        return self in {needed, Role.OPERATE}


class Principal(NamedTuple):
    """Who sends a request."""

    name: str
    role: Role


class BadTokensError(ValueError):
    """The file cannot be used; the message has every error, as FILE:LINE: what is wrong."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the file says. `certificates` are roles by the name of a certificate."""

    hashes: tuple[tuple[bytes, Principal], ...] = field(default=(), repr=False)
    certificates: Mapping[str, Role] = field(default_factory=dict)

    def holder(self, token: str) -> Principal | None:
        """Return whose token this is."""
        given, found = _hash(token), None
        for known, principal in self.hashes:
            if hmac.compare_digest(given, known):
                found = principal
        return found

    def certified(self, name: str) -> Principal:
        """Return who comes with a verified certificate of this name."""
        return Principal(name, self.certificates.get(name) or self.certificates.get(ANY) or Role.OPERATE)


def parse_tokens(text: str, source: str) -> Tokens:
    """Read the file. Raises BadTokensError."""
    hashes: list[tuple[bytes, Principal]] = []
    certificates: dict[str, Role] = {}
    roles: dict[str, Role] = {}
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            (name, role), proof = _entry(words, roles)
        except ValueError as error:
            errors.append(f"{source}:{number}: {error}")
            continue
        roles[name] = role
        certificates[name] = role
        hashes += [] if proof is None else [(proof, Principal(name, role))]
    if errors:
        raise BadTokensError("\n".join(errors))
    return Tokens(tuple(hashes), certificates)


def _entry(words: list[str], roles: Mapping[str, Role]) -> tuple[Principal, bytes | None]:
    """Return who, and the hash of the token; None for a certificate."""
    if len(words) != 3:
        raise ValueError("a line is NAME ROLE sha256:HEX, or NAME ROLE certificate")
    name, role, proof = words
    if role not in {known.value for known in Role}:
        raise ValueError(f"the role of {name[:80]!r} must be one of {', '.join(Role)}, not {role[:40]!r}")
    if len(name) > MOST_NAME or not name.isprintable():
        raise ValueError(f"a name is printable and has at most {MOST_NAME} characters")
    if roles.get(name, role) != role:
        raise ValueError(f"{name!r} has another role on a line above; a name has one role")
    found = _HASH.fullmatch(proof)
    if name == ANY and found is not None:
        raise ValueError("* stands for certificates alone; give the token a name")
    if found is None and proof != _CERTIFICATE:
        raise ValueError(f"the third word of {name!r} must be sha256: and 64 hex digits, or {_CERTIFICATE}")
    return Principal(name, Role(role)), bytes.fromhex(found[1]) if found is not None else None


def new_token() -> str:
    """Return a token that nobody has seen."""
    return PREFIX + secrets.token_urlsafe(32)


def line_of(name: str, role: Role, token: str) -> str:
    """Return the line of the file that lets the token in."""
    return f"{name} {role} sha256:{_hash(token).hex()}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
