"""How long a certificate is valid: the two dates in it, read from its DER encoding (RFC 5280, section 4.1).

    Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer, validity, … } … }

The standard library shows these dates only for certificate authorities and for peers of a live connection, and a
library for four steps through nested lengths would be one more dependency of the control plane. Everything else about
a certificate (is it one, does the key fit, who signed it) is left to OpenSSL, which is asked as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_FORMS = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}


class NotACertificateError(ValueError):
    """The bytes are not a certificate."""


class Validity(NamedTuple):
    """From when until when, in seconds since 1970."""

    begins: float
    ends: float


class _Item(NamedTuple):
    tag: int
    start: int
    end: int


def validity(der: bytes) -> Validity:
    """Return when a certificate is valid. Raises NotACertificateError."""
    try:
        body = _item(der, _item(der, 0, _SEQUENCE).start, _SEQUENCE).start
        item = _item(der, body)
        if item.tag == _VERSION:
            item = _item(der, item.end)
        for _ in range(2):  # over signature and issuer, to what stands behind
            item = _item(der, item.end, _SEQUENCE)
        dates = _item(der, item.end, _SEQUENCE)
        begins = _item(der, dates.start)
        return Validity(_time(der, begins), _time(der, _item(der, begins.end)))
    except (IndexError, KeyError, ValueError) as error:
        raise NotACertificateError from error


def _item(der: bytes, at: int, tag: int | None = None) -> _Item:
    """Return the element that begins at an offset."""
    if tag is not None and der[at] != tag:
        raise ValueError(at)
    length, start = der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start])
    if start + length > len(der):
        raise ValueError(at)
    return _Item(der[at], start, start + length)


def _time(der: bytes, item: _Item) -> float:
    text = der[item.start : item.end].decode("ascii")
    return datetime.strptime(text, _FORMS[item.tag]).replace(tzinfo=UTC).timestamp()
