"""docs/security.md: its OpenSSL commands make certificates that we take, its policy lets in whom it says."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from cryptography import x509

from xds_server.policy.clients import Clients
from xds_server.policy.parse import parse
from xds_server.signals.tls_files import TlsFiles, TlsPaths, read_tls

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
POLICY = """
version: 1
regions: {us-east-1: {latency: {eu-west-1: 80ms}}, eu-west-1: {}}
fleets: {web: {}}
services: {s: {deployments: {us-east-1: {endpoints: ["10.0.0.1:80"], capacity: 1}}}}
"""


def test_the_commands_make_certificates_that_the_policy_on_the_page_takes(tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True)
    for name in ("control-plane", "web-us-east-1"):
        paths = TlsPaths(tmp_path / f"{name}.pem", tmp_path / f"{name}.key", tmp_path / "ca.pem")
        assert isinstance(read_tls(paths, time.time()), TlsFiles)
    made = x509.load_pem_x509_certificate((tmp_path / "web-us-east-1.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    entries = "\n".join(line[4:] for line in PAGE.splitlines() if re.match(r"    (clients:|  - \{identity)", line))
    clients = Clients(parse(POLICY + entries, "page").policy.clients)
    assert clients.may_speak(uris, "us-east-1-7", "web", "us-east-1")
    assert not clients.may_speak(uris, "us-east-1-7", "web", "eu-west-1")
    assert not clients.may_report(uris, "us-east-1")
