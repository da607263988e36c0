"""A real process that speaks https on its admin address, real certificates, and their rotation."""

from __future__ import annotations

import ssl
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.access.world import Server, argv, served, until
from tests.support.certificates import HOUR, Authority, Files, replace
from xds_server.cli import main
from xds_server.operator.https import Https, name_in
from xds_server.operator.tokens import Role, line_of
from xds_server.process.admin_access import AccessPaths, AdminAccess, AdminAccessError
from xds_server.signals.tls_files import TlsPaths


def client(authority: Authority, files: Files | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if files is not None:
        context.load_cert_chain(*files)
    return context


def run(server: Server, *words: object, **env: str) -> Result:
    return CliRunner().invoke(main, ["retry", "--admin", server.admin, *map(str, words)], env=env)


def refused(server: Server, context: ssl.SSLContext) -> bool:
    """Return whether the connection does not come about, or ends before an answer (as TLS 1.3 refuses clients)."""
    try:
        server.ask("/live", tls=context)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def test_https_certificates_tokens_and_their_rotation(tmp_path: Path) -> None:
    """One process, because starting one costs more than all that is asked of it."""
    (tmp_path / "other").mkdir()
    ours, clients, wrong = Authority(tmp_path), Authority(tmp_path, "clients"), Authority(tmp_path / "other", "clients")
    own = ours.issue("admin", "127.0.0.1")
    ops, ci = clients.issue("ops", "spiffe://x/ops"), clients.issue("ci", "spiffe://x/ci", "ci.example")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{line_of('alice', Role.OPERATE, 't-one')}\nspiffe://x/ci view certificate\n")
    tokens.chmod(stat.S_IRUSR)
    tls = ["--admin-cert", own.certificate, "--admin-key", own.key, "--admin-client-ca", clients.file]
    with served(tmp_path, *tls, "--admin-tokens", tokens) as server:
        anybody = client(ours)
        assert server.ask("/live", tls=anybody).status == 200
        assert server.ask("/api/v1/fleet", tls=anybody).status == 401
        assert server.ask("/api/v1/fleet", "t-one", tls=anybody).status == 200
        assert server.ask("/api/v1/retry", method="POST", tls=client(ours, ops)).status == 200
        assert server.ask("/api/v1/fleet", tls=client(ours, ci)).status == 200
        denied = server.ask("/api/v1/retry", method="POST", tls=client(ours, ci))
        assert (denied.status, denied.json["detail"]) == (403, "spiffe://x/ci may view; this needs operate")
        assert refused(server, client(ours, wrong.issue("ops", "spiffe://x/ops")))
        assert refused(server, client(ours, clients.issue("late", "spiffe://x/ops", ends=-HOUR)))
        assert server.logged("event=server.ready", f"admin on https://{server.admin}/")
        metrics = server.ask("/metrics", "t-one", tls=anybody).text
        assert 'xds_server_certificate_expiry_timestamp_seconds{certificate="admin"}' in metrics

        ca, key = f"--admin-ca={ours.file}", f"--admin-key={ops.key}"
        assert run(server, ca, f"--admin-cert={ops.certificate}", key).exit_code == 0
        assert run(server, ca, XDS_SERVER_TOKEN="t-one").exit_code == 0
        for words, said in (
            (["--admin", f"https://{server.admin}"], "certificate is not trusted"),
            ([f"--admin-ca={clients.file}"], f"{clients.file} does not vouch for it"),
            ([f"--admin-ca={own.key}"], "holds no certificates"),
            ([ca, f"--admin-cert={ops.certificate}", f"--admin-key={own.key}"], "no certificate with its key"),
            (["--admin", f"http://{server.admin}"], server.admin),
        ):
            failed = run(server, *words, XDS_SERVER_TOKEN="t-one")
            assert failed.exit_code == 1
            assert said in failed.stderr, failed.stderr
            assert len(failed.stderr.splitlines()) == 1

        replace(own.key, b"not a key")
        until(lambda: server.logged("event=admin.certificate", "level=error", "the one before stays"))
        assert server.ask("/live", tls=anybody).status == 200
        replace(clients.file, wrong.pem)
        new = Authority(tmp_path, "new authority")
        new.issue("admin", "127.0.0.1")
        until(lambda: not refused(server, client(new)))
        assert refused(server, anybody)
        assert refused(server, client(new, ops))
        assert (
            server.ask("/api/v1/retry", method="POST", tls=client(new, wrong.issue("w", "spiffe://x/w"))).status == 200
        )


def test_sessions_that_a_client_could_resume_are_not_spoken(tmp_path: Path) -> None:
    """OpenSSL would keep those of TLS 1.2, and take them up again after the authority that vouched for them is gone."""
    ours = Authority(tmp_path)
    own = ours.issue("admin", "127.0.0.1")
    https = Https(own.certificate, own.key, ours.file)
    with pytest.raises(ssl.SSLError, match="unsupported protocol"):
        handshake(https, ssl.TLSVersion.TLSv1_2, ours)
    assert handshake(https, ssl.TLSVersion.TLSv1_3, ours) == ("TLSv1.3", False)


def handshake(https: Https, version: ssl.TLSVersion, authority: Authority) -> tuple[str | None, bool]:
    """Return what a client that speaks no newer version gets to, and whether it has a session to resume."""
    context = client(authority)
    context.maximum_version = version
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = context.wrap_bio(back, there, server_hostname="127.0.0.1")
    serving = https.context.wrap_bio(there, back, server_side=True)
    for side in (asking, serving) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    serving.write(b"x")
    asking.read(1)
    return asking.version(), asking.session is not None and asking.session.has_ticket


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        ({}, None),
        ({"subject": ((("commonName", "spiffe://x/admin"),),)}, None),
        ({"subject": ((("commonName", "alice"),),), "subjectAltName": (("IP Address", "::1"), ("DNS", "a.b"))}, "a.b"),
        ({"subjectAltName": (("DNS", "spiffe://x/admin"),)}, None),
        ({"subjectAltName": (("DNS", "a/b"),)}, None),
        ({"subjectAltName": (("URI", "alice"), ("DNS", "a.b"))}, None),
        ({"subjectAltName": (("URI", "spiffe://x/\x1b[2J"),)}, None),
        ({"subjectAltName": (("DNS", "a\x9b2J"),)}, None),
        ({"subjectAltName": (("DNS", "a.b"), ("URI", "spiffe://x/y"), ("URI", "spiffe://x/z"))}, "spiffe://x/y"),
    ],
)
def test_the_name_in_a_certificate(certificate: dict[str, object], name: str | None) -> None:
    assert name_in(certificate) == name


@pytest.mark.parametrize("flags", [["--admin-cert", "x"], ["--admin-key", "x"], ["--admin-client-ca", "x"]])
def test_files_that_belong_together_are_given_together(tmp_path: Path, flags: list[str]) -> None:
    done = CliRunner().invoke(main, argv(tmp_path, *flags)[3:])
    assert done.exit_code == 2
    assert "belong together" in done.stderr


def test_a_certificate_that_cannot_be_used_is_said_at_start(tmp_path: Path) -> None:
    own = Authority(tmp_path).issue("admin", "127.0.0.1", ends=-HOUR)
    paths = AccessPaths(None, TlsPaths(own.certificate, own.key, None))
    with pytest.raises(AdminAccessError, match=f"^{own.certificate}: expired at"):
        AdminAccess(paths, lambda _: None, lambda _: None, time.time, lambda: 0.0)
