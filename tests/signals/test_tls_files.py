"""Certificates in files: what is taken, what is refused and in which words, and how a change is told."""

from __future__ import annotations

import asyncio
import datetime
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.signals.world import in_loop
from tests.support.certificates import HOUR, Authority, replace
from xds_server.signals.tls_files import TlsFiles, TlsFound, TlsPaths, TlsTrouble, TlsWatch, read_tls
from xds_server.signals.x509 import NotACertificateError, validity

DAY = datetime.timedelta(days=1)


def read(certificate: Path | None, key: Path | None, ca: Path | None = None) -> TlsFound:
    return read_tls(TlsPaths(certificate, key, ca), time.time())


def reason(found: TlsFound) -> str:
    assert isinstance(found, TlsTrouble), found
    return str(found)


@pytest.mark.parametrize("ends", [HOUR, 40 * 365 * DAY], ids=["UTCTime", "GeneralizedTime"])
def test_dates_are_those_that_another_library_reads(tmp_path: Path, ends: datetime.timedelta) -> None:
    pem = Authority(tmp_path, ends=ends).issue("a", "a.example", ends=ends).certificate.read_bytes()
    other = x509.load_pem_x509_certificate(pem)
    found = validity(other.public_bytes(Encoding.DER))
    assert found == (other.not_valid_before_utc.timestamp(), other.not_valid_after_utc.timestamp())


def test_whatever_is_cut_off_is_no_certificate(tmp_path: Path) -> None:
    pem = Authority(tmp_path).issue("a", "a.example").certificate.read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    for length in range(200):
        with pytest.raises(NotACertificateError):
            validity(der[:length])


def test_good_files_are_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("a", "a.example")
    found = read(*files, authority.file)
    assert isinstance(found, TlsFiles)
    assert (found.chain, found.key, found.ca) == (*(f.read_bytes() for f in files), authority.pem)
    assert found.ends == pytest.approx(time.time() + 3600, abs=60)
    assert "PRIVATE" not in repr(found)
    assert read(None, None, authority.file) == TlsFiles(ca=authority.pem)


def test_what_is_wrong_is_said_of_the_file_that_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, other = authority.issue("good", "a.example"), authority.issue("other", "a.example")
    old = authority.issue("old", "a.example", ends=-HOUR)
    text, missing = tmp_path / "text", tmp_path / "missing"
    text.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    dead = Authority(tmp_path, "dead", ends=-HOUR)
    assert reason(read(good.certificate, other.key)) == f"{other.key}: is not the key of {good.certificate}"
    assert reason(read(good.certificate, text)) == f"{text}: is not a private key in PEM form, unencrypted"
    assert reason(read(good.key, good.key)) == f"{good.key}: holds no certificate in PEM form"
    assert reason(read(text, good.key)) == f"{text}: holds what is not a certificate in PEM form"
    assert reason(read(missing, good.key)) == f"{missing}: no such file"
    assert reason(read(tmp_path, good.key)) == f"{tmp_path}: not a regular file"
    assert reason(read(*old)).startswith(f"{old.certificate}: expired at 20")
    assert reason(read(None, None, dead.file)).startswith(f"{dead.file}: expired at 20")
    assert reason(read(None, None, text)) == f"{text}: holds what is not a certificate in PEM form"


def test_an_authority_that_has_expired_may_stand_beside_one_that_has_not(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(Authority(tmp_path, "dead", ends=-HOUR).pem + Authority(tmp_path).pem)
    assert isinstance(read(None, None, both), TlsFiles)


@in_loop
async def test_each_change_is_told_once(tmp_path: Path) -> None:
    told: asyncio.Queue[TlsFound] = asyncio.Queue()
    files = Authority(tmp_path).issue("a", "a.example")
    watch = asyncio.create_task(TlsWatch(TlsPaths(*files, None), told.put_nowait, time.time, 0.02).run())
    async with asyncio.timeout(30):
        first = await told.get()
        assert isinstance(first, TlsFiles)
        replace(files.key, b"nothing")
        assert isinstance(await told.get(), TlsTrouble)
        replace(files.key, first.key)
        assert await told.get() == first
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert told.empty()
