"""Certificates, keys and authorities in files: read, checked, and watched. What is handed on is sound.

Checked is what would otherwise fail later and without a word: the file is there and is PEM, the key belongs to the
certificate, no certificate of the own chain has expired or is not valid yet, and at least one authority has not
expired (bundles keep old ones on purpose). Keys behind a passphrase are refused: there is nobody to type it.

A rotation touches several files. A state in between, a new certificate beside the old key, is refused like any other
bad state and what was in force goes on, so it does no harm; replacing a directory by a symbolic link, as Kubernetes
does, shows no such state.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from xds_server.signals.watch import INTERVAL_S, Stamp, Watch, look, why
from xds_server.signals.x509 import NotACertificateError, Validity, validity

MOST_BYTES = 1024 * 1024

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class TlsPaths(NamedTuple):
    """Where they are: a certificate chain with its key, authorities, or both."""

    certificate: Path | None
    key: Path | None
    ca: Path | None

    @property
    def all(self) -> tuple[Path, ...]:
        """Return those that are given."""
        return tuple(path for path in self if path is not None)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What they hold, PEM; empty where none was asked for. `ends` is when the first of the chain expires (or None)."""

    chain: bytes = b""
    key: bytes = field(repr=False, default=b"")
    ca: bytes = b""
    ends: float | None = None


@dataclass(frozen=True, slots=True)
class TlsTrouble:
    """Why they cannot be used: the file, and what is wrong with it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


TlsFound = TlsFiles | TlsTrouble


class _UnusableError(Exception):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.trouble = TlsTrouble(str(path), reason)


class TlsWatch:
    """Follows files that belong together; hands what they hold, or why not, to `emit` once per change."""

    def __init__(
        self,
        paths: TlsPaths,
        emit: Callable[[TlsFound], None],
        wall: Callable[[], float],
        interval_s: float = INTERVAL_S,
    ) -> None:
        def read() -> tuple[TlsFound, Stamp]:
            stamp = look_all(paths.all)
            found = read_tls(paths, wall())
            return found, stamp if look_all(paths.all) == stamp else "changed while it was read"

        self._watch = Watch(lambda: look_all(paths.all), read, emit, interval_s)

    async def run(self) -> None:
        """Follow the files until cancelled."""
        await self._watch.run()


def look_all(paths: Iterable[Path]) -> Stamp:
    """Return the stamp of several files."""
    return tuple(look(path) for path in paths)


def read_tls(paths: TlsPaths, now: float) -> TlsFound:
    """Read and check once; `now` is the time on the wall, in seconds since 1970."""
    try:
        chain, ends = (b"", None) if paths.certificate is None else _chain(paths.certificate, now)
        key = b"" if paths.key is None else _read(paths.key)
        if paths.certificate is not None and paths.key is not None:
            _check_pair(paths.certificate, paths.key)
        ca = b"" if paths.ca is None else _authorities(paths.ca, now)
    except _UnusableError as error:
        return error.trouble
    return TlsFiles(chain, key, ca, ends)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise _UnusableError(path, "not a regular file" if path.exists() else "no such file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _UnusableError(path, f"cannot be read: {why(error)}") from error
    if len(data) > MOST_BYTES:
        raise _UnusableError(path, f"larger than {MOST_BYTES // 2**20} MiB")
    return data


def _chain(path: Path, now: float) -> tuple[bytes, float]:
    """Return a certificate with those that lead to its authority, and when the first of them expires."""
    data = _read(path)
    dates = _validities(path, data)
    if late := [found for found in dates if found.ends <= now]:
        raise _UnusableError(path, f"expired at {_date(late[0].ends)}")
    if early := [found for found in dates if found.begins > now]:
        raise _UnusableError(path, f"not valid before {_date(early[0].begins)}")
    return data, min(found.ends for found in dates)


def _authorities(path: Path, now: float) -> bytes:
    data = _read(path)
    dates = _validities(path, data)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise _UnusableError(path, "holds what is not a certificate in PEM form") from error
    if all(found.ends <= now for found in dates):
        raise _UnusableError(path, f"expired at {_date(max(found.ends for found in dates))}")
    return data


def _validities(path: Path, data: bytes) -> list[Validity]:
    blocks = _CERTIFICATE.findall(data)
    if not blocks:
        raise _UnusableError(path, "holds no certificate in PEM form")
    try:
        return [validity(ssl.PEM_cert_to_DER_cert(block.decode("ascii"))) for block in blocks]
    except (NotACertificateError, ValueError) as error:
        raise _UnusableError(path, "holds what is not a certificate in PEM form") from error


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        mismatch = error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}
        reason = f"is not the key of {certificate}" if mismatch else "is not a private key in PEM form, unencrypted"
        raise _UnusableError(key, reason) from error
    except (OSError, ValueError) as error:
        raise _UnusableError(key, "is not a private key in PEM form, unencrypted") from error


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
