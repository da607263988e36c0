"""Authorities and certificates for tests: real ones, made in milliseconds (EC keys), with URIs and any dates."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOUR = datetime.timedelta(hours=1)


class Files(NamedTuple):
    """A certificate and its key, on disk."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that issues to files of one directory."""

    def __init__(self, directory: Path, name: str = "test authority", *, ends: datetime.timedelta = HOUR) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = _builder(self._name, self._name, self._key, ends).add_extension(basic, critical=True)
        signed = self._certificate.sign(self._key, hashes.SHA256())
        self.pem = signed.public_bytes(serialization.Encoding.PEM)
        self.file = directory / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.pem)

    def issue(self, file: str, *names: str, ends: datetime.timedelta = HOUR) -> Files:
        """Write a certificate with these alternative names (URIs, IP addresses, DNS names) as FILE.pem and FILE.key.

        Files that are there are replaced by a move, certificate first.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        builder = _builder(subject, self._name, key, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        files = Files(self._directory / f"{file}.pem", self._directory / f"{file}.key")
        for path, content in zip(files, (certificate, key.private_bytes(*form)), strict=True):
            replace(path, content)
        return files


def replace(path: Path, content: bytes) -> None:
    """Put new content in the place of a file, as tools that rotate certificates do."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 48 * HOUR)
        .not_valid_after(now + ends)
    )


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
