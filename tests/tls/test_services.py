"""From a real Envoy to regions by TLS: which certificate is taken, and files that rotate under load without a loss."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from tests.support.certificates import Authority, replace
from tests.support.control_plane import LIMIT_S, ControlPlane
from tests.support.envoy import EnvoyProcess
from tests.support.waiting import wait_until
from tests.tls.backend import backend
from xds_server.cli import main
from xds_server.demo.ports import Ports

pytestmark = pytest.mark.envoy

POLICY = """
version: 1
regions: {us-east-1: {latency: {eu-west-1: 80ms}}, eu-west-1: {}}
fleets: {default: {listen: "127.0.0.1:LISTEN"}}
defaults: {health: {interval: 1s, timeout: 1s, unhealthy_after: 1}}
services:
  shop:
    tls: &tls {ca: tls/ca.pem, sni: shop.example, certificate: tls/client.pem, key: tls/client.key}
    deployments:
      us-east-1: {endpoints: ["127.0.0.1:A"], capacity: 100}
      eu-west-1: {endpoints: ["127.0.0.1:B"], capacity: 100}
  named:
    tls: {ca: tls/ca.pem, certificate: tls/client.pem, key: tls/client.key}
    deployments: {us-east-1: {endpoints: ["localhost:C"], capacity: 100}}
  impostor:
    tls: {ca: tls/ca.pem, certificate: tls/client.pem, key: tls/client.key}
    deployments: {us-east-1: {endpoints: ["localhost:A"], capacity: 100}}
  stranger:
    tls: {ca: tls/ca.pem, sni: shop.example}
    deployments: {us-east-1: {endpoints: ["127.0.0.1:A"], capacity: 100}}
"""


class Scene:
    """Three backends, a control plane and an Envoy. Files of the policy are in `tls`."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        (directory / "tls").mkdir()
        self.authority = Authority(directory)
        self.trusted, self.client = directory / "tls" / "ca.pem", directory / "tls" / "client"
        replace(self.trusted, self.authority.pem)
        self.show(self.authority)
        shop, named = self.authority.issue("shop", "shop.example"), self.authority.issue("named", "localhost")
        certificates = {"A": shop, "B": shop, "C": named}
        self.backends = {n: stack.enter_context(backend(c, self.trusted)) for n, c in certificates.items()}
        (self.port,) = stack.enter_context(closing(Ports(1, random.Random()))).numbers
        text = POLICY.replace("LISTEN", str(self.port))
        for name, server in self.backends.items():
            text = text.replace(f':{name}"', f':{server.server_port}"')
        policy = directory / "policy.yaml"
        policy.write_text(text)
        self.control_plane = ControlPlane(policy, "--state-dir", directory / "state")
        stack.callback(self.control_plane.stop)
        words = ["bootstrap", "--region", "us-east-1", "--xds", self.control_plane.xds, "--admin-port", "0"]
        self.envoy = stack.enter_context(EnvoyProcess(directory, CliRunner().invoke(main, words).output))

    def show(self, authority: Authority) -> str:
        """Have sidecars show a new certificate; return its serial number, as backends say it."""
        made = authority.issue("client", "sidecar.example")
        for path in made:
            replace(self.client.with_suffix(path.suffix), path.read_bytes())
        return str(x509.load_pem_x509_certificate(made.certificate.read_bytes()).serial_number)

    def get(self, host: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        with closing(connection):
            connection.request("GET", "/", headers={"host": host})
            response = connection.getresponse()
            return response.status, response.read().decode()

    def shown(self, serial: str) -> bool:
        return self.get("shop") == (200, serial)

    def events(self, kind: str) -> list[str]:
        entries = json.loads(self.control_plane.get("/api/v1/events"))["events"]
        return [entry["message"] for entry in entries if entry["kind"] == kind]

    def until(self, what: str, condition: object) -> None:
        assert callable(condition)
        wait_until(condition, LIMIT_S, lambda: f"no {what}\n{self.control_plane.log}\n{self.envoy.log}")

    def updates(self, secret: str) -> int:
        return self.envoy.stats(f"sds.{secret}.update_success")[f"sds.{secret}.update_success"]


class Load:
    """Requests one after the other, on several threads, until it is left; `seen` are their statuses."""

    def __init__(self, scene: Scene) -> None:
        self.seen: Counter[int] = Counter()
        self._scene = scene
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.seen[self._scene.get("shop")[0]] += 1


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def test_certificates_are_verified_and_rotate_under_load(scene: Scene) -> None:
    scene.until("an answer", lambda: scene.get("shop")[0] == 200)
    assert scene.get("named")[0] == 200
    assert scene.get("impostor")[0] == 503
    assert scene.get("stranger")[0] == 503
    down = "\n".join(scene.events("region.down"))
    assert "impostor in us-east-1 is down: 0 of 1 endpoints up (TLS: Hostname mismatch" in down
    assert "stranger in us-east-1 is down" in down
    assert "shop in" not in down
    assert "named in" not in down

    new = Authority(scene.directory, "new")
    both = scene.directory / "both.pem"
    both.write_bytes(scene.authority.pem + new.pem)
    shop = new.issue("new-shop", "shop.example")
    with Load(scene) as load:
        _rotate(scene, both.read_bytes())
        for name in "AB":
            scene.backends[name].use(shop, both)
        serial = scene.show(new)
        scene.until("the new certificate", partial(scene.shown, serial))
        _rotate(scene, new.pem)
        for name in "AB":
            scene.backends[name].use(shop, new.file)
        before = load.seen.total()
        scene.until("requests after it", lambda: load.seen.total() > before + 100)
    assert set(load.seen) == {200}, load.seen
    assert "shop in" not in "\n".join(scene.events("region.down"))

    key = scene.client.with_suffix(".key")
    good = key.read_bytes()
    replace(key, b"-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n")
    scene.until("an alarm", lambda: scene.events("policy.rejected"))
    (alarm,) = scene.events("policy.rejected")
    assert f"{key}: is not a private key in PEM form, unencrypted" in alarm
    assert scene.shown(serial)
    replace(key, good)
    scene.until("an end of it", lambda: scene.events("policy.restored"))
    _nothing_secret_is_left(scene, good)


def _rotate(scene: Scene, pem: bytes) -> None:
    """Replace the authorities, and wait until the Envoy has them."""
    before = scene.updates("shop/ca")
    replace(scene.trusted, pem)
    scene.until("new authorities", lambda: scene.updates("shop/ca") > before)


def _nothing_secret_is_left(scene: Scene, key: bytes) -> None:
    marks = (b"PRIVATE KEY", key.splitlines()[1])
    pages = [scene.control_plane.get(f"/api/v1/{page}") for page in ("policy", "events", "decision", "fleet")]
    texts = [scene.control_plane.log.encode(), *(page.encode() for page in pages)]
    kept = [path for path in (scene.directory / "state").rglob("*") if path.is_file()]
    assert kept
    for text in (*texts, *(path.read_bytes() for path in kept)):
        assert not any(mark in text for mark in marks)
