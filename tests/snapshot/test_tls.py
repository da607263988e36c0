"""Transport sockets and secrets of services that speak TLS: which names are verified, who gets which secret."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf.json_format import ParseDict

from tests.support.certificates import Authority
from tests.support.envoy import validate
from xds_server.controller import START_GRACE_S, Controller
from xds_server.model import ViewKey
from xds_server.policy.diff import changes
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import Joined
from xds_server.snapshot.bootstrap import BootstrapOptions, bootstrap, static_bootstrap, to_yaml
from xds_server.snapshot.bootstrap_tls import ClientTls, secret_files
from xds_server.snapshot.kinds import ENVOY, GRPC
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.snapshot.tls import Pem, with_file_names, with_secrets
from xds_server.step import Inputs

POLICY = """
version: 1
regions: {a: {latency: {b: 80ms}}, b: {}}
fleets: {web: {uses: [shop]}, all: {}}
services:
  shop:
    tls: {ca: CA, certificate: CERT, key: KEY}
    deployments:
      a: {endpoints: ["eu.shop.example:1"], capacity: 1}
      b: {endpoints: ["us.shop.example:1"], capacity: 1}
  pinned:
    protocol: grpc
    tls: {ca: CA, sni: pinned.example}
    deployments: {a: {endpoints: ["10.0.0.1:1"], capacity: 1}}
  plain:
    deployments: {a: {endpoints: ["10.0.0.2:1"], capacity: 1}}
"""
OLD = "envoy-before-1.36"
PEMS = {"shop": Pem(b"ca", b"chain", b"key"), "pinned": Pem(b"ca", b"", b"")}


def read() -> Policy:
    return parse(POLICY, "p").policy


def snapshot(policy: Policy, fleet: str = "all", kind: str = ENVOY) -> Snapshot:
    controller = Controller()
    view = ViewKey(fleet, "a", kind)
    controller.step(Inputs(policy=policy, clients=(Joined(1, "n", view),)), 0.0)
    return controller.step(Inputs(), START_GRACE_S + 0.1).snapshots[view]


def context(found: Snapshot, name: str) -> Any:
    cluster = cluster_pb2.Cluster.FromString(found.resources[TypeUrl.CLUSTER][name].body)
    assert cluster.HasField("transport_socket")
    made = tls_pb2.UpstreamTlsContext()
    assert cluster.transport_socket.typed_config.Unpack(made)
    return made


def names(made: Any) -> list[str]:
    known = made.common_tls_context.combined_validation_context.default_validation_context
    return [each.matcher.exact for each in known.match_typed_subject_alt_names]


def test_each_endpoints_name_is_verified_unless_one_is_given() -> None:
    found = snapshot(with_secrets(read(), PEMS))
    shop, pinned = context(found, "shop@a"), context(found, "pinned@a")
    assert (shop.sni, shop.auto_host_sni, shop.auto_sni_san_validation) == ("", True, True)
    assert names(shop) == ["eu.shop.example", "us.shop.example"]
    assert (pinned.sni, pinned.auto_host_sni) == ("pinned.example", False)
    assert names(pinned) == ["pinned.example"]
    assert list(shop.common_tls_context.alpn_protocols) == ["http/1.1"]
    assert list(pinned.common_tls_context.alpn_protocols) == ["h2"]
    plain = cluster_pb2.Cluster.FromString(found.resources[TypeUrl.CLUSTER]["plain@a"].body)
    assert not plain.HasField("transport_socket")


def test_an_elder_verifies_by_the_list_alone() -> None:
    shop = context(snapshot(with_secrets(read(), PEMS), kind=OLD), "shop@a")
    assert (shop.auto_host_sni, shop.auto_sni_san_validation) == (False, False)
    assert names(shop) == ["eu.shop.example", "us.shop.example"]


def test_a_fleet_gets_the_secrets_of_the_services_it_uses() -> None:
    policy = with_secrets(read(), PEMS)
    assert set(snapshot(policy).resources[TypeUrl.SECRET]) == {"pinned/ca", "shop/ca", "shop/certificate"}
    web = snapshot(policy, "web").resources[TypeUrl.SECRET]
    assert set(web) == {"shop/ca", "shop/certificate"}
    shown = secret_pb2.Secret.FromString(web["shop/certificate"].body).tls_certificate
    assert (shown.certificate_chain.inline_bytes, shown.private_key.inline_bytes) == (b"chain", b"key")
    assert TypeUrl.SECRET not in snapshot(policy, kind=GRPC).resources


def test_a_rotation_replaces_a_secret_and_no_cluster() -> None:
    before, after = (with_secrets(read(), {**PEMS, "pinned": Pem(ca, b"", b"")}) for ca in (b"ca", b"other"))
    assert before.digest != after.digest
    assert changes(before, after) == ("resources.Secret.pinned/ca (all): changed",)
    old, new = snapshot(before), snapshot(after)
    assert {kind for kind in old.versions if old.versions[kind] != new.versions[kind]} == {TypeUrl.SECRET}
    assert "inline" not in repr(after.own)
    assert "body" not in repr(after.own)


def test_an_envoy_without_a_control_plane_reads_the_files_of_the_policy(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("client", "client.example")
    files = {"CA": authority.file, "CERT": shown.certificate, "KEY": shown.key}
    text = re.sub(r"CA|CERT|KEY", lambda name: str(files[name[0]]), POLICY)
    made = snapshot(with_file_names(parse(text, "p").policy))
    options = BootstrapOptions(region="a", node_id="n1", cluster="all", xds_host="127.0.0.1", xds_port=1, admin_port=0)
    printed = to_yaml(static_bootstrap(options, made))
    assert "PRIVATE" not in printed
    assert str(shown.key) in printed
    assert validate(tmp_path, printed) == ""


@pytest.mark.parametrize("sds", [False, True], ids=["files", "sds"])
def test_an_envoy_takes_the_bootstrap_that_speaks_tls(tmp_path: Path, *, sds: bool) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("client", "client.example")
    files = (str(authority.file), str(shown.certificate), str(shown.key))
    tls = ClientTls(*files, sds_dir=str(tmp_path) if sds else "")
    for name, text in secret_files(tls).items():
        (tmp_path / name).write_text(text)
        (resource,) = json.loads(text)["resources"]
        assert resource.pop("@type") == TypeUrl.SECRET
        ParseDict(resource, secret_pb2.Secret())
    options = BootstrapOptions(
        region="a", node_id="n1", cluster="all", xds_host="127.0.0.1", xds_port=1, admin_port=0, tls=tls
    )
    made = bootstrap(options)
    assert isinstance(made, bootstrap_pb2.Bootstrap)
    assert validate(tmp_path, to_yaml(made)) == ""
