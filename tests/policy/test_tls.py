"""TLS towards endpoints, as a policy says it: what is read, what contradicts itself, and what probes make of it."""

from __future__ import annotations

import pytest

from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Service, Tls

POLICY = """
version: 1
regions: {{us-east-1: }}
services:
  s:
    {more}
    deployments: {{us-east-1: {{endpoints: ["{endpoint}"], capacity: 1}}}}
"""


def read(more: str, endpoint: str = "shop.example:443") -> Service:
    return parse(POLICY.format(more=more, endpoint=endpoint), "p").policy.services["s"]


def test_probes_speak_what_the_service_speaks_unless_told_otherwise() -> None:
    named = read("tls: {ca: ca.pem}")
    assert named.tls == Tls("ca.pem")
    assert (named.health.tls, named.health.server_name) == (True, "")
    full = read("tls: {ca: ca.pem, sni: A.example, certificate: c.pem, key: c.key}", "10.0.0.1:443")
    assert full.tls == Tls("ca.pem", "a.example", "c.pem", "c.key")
    assert (full.health.tls, full.health.server_name) == (True, "a.example")
    plain = read("tls: {ca: ca.pem}\n    health: {port: 9000, tls: false}")
    assert not plain.health.tls
    assert not read("protocol: http1").health.tls


@pytest.mark.parametrize(
    ("more", "endpoint", "problem"),
    [
        ("tls: {sni: a.example}", "a:1", "services.s.tls.ca: missing; write a path such as tls/ca.pem"),
        ("tls: {ca: a, key: b}", "a:1", "services.s.tls.key: there is no certificate with it"),
        ("tls: {ca: a, certificate: b}", "a:1", "services.s.tls.certificate: there is no key with it"),
        (
            "tls: {ca: a}",
            "10.0.0.1:1",
            "endpoints[0]: 10.0.0.1:1 has no name that its certificate could be",
        ),
        ("health: {tls: true}", "a:1", "services.s.health.tls: the service has no tls to probe with"),
        ("tls: {ca: a, cert: b}", "a:1", "services.s.tls.cert: unknown key"),
    ],
)
def test_mistakes_in_tls_are_named(more: str, endpoint: str, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(more, endpoint)
    assert problem in str(caught.value)
