"""An independent implementation decodes what we encode, to the same values: `envoy-data-plane` (betterproto2)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tests.snapshot.test_build import MESSAGES, small, snapshot
from tests.support import decisions as made
from xds_server.model import Endpoint, Target
from xds_server.policy.types import Protocol
from xds_server.snapshot.bootstrap import BootstrapOptions, bootstrap, static_bootstrap
from xds_server.snapshot.build import build
from xds_server.snapshot.kinds import GRPC
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.snapshot.wire import encode

OTHERS = {
    TypeUrl.LISTENER: ("config.listener", "Listener"),
    TypeUrl.ROUTE: ("config.route", "RouteConfiguration"),
    TypeUrl.CLUSTER: ("config.cluster", "Cluster"),
    TypeUrl.ENDPOINT: ("config.endpoint", "ClusterLoadAssignment"),
    TypeUrl.RUNTIME: ("service.runtime", "Runtime"),
}
IN_ANY = (
    "extensions.access_loggers.grpc",
    "extensions.common.matching",
    "extensions.filters.common.matcher.action",
    "extensions.filters.http.header_mutation",
    "extensions.filters.http.router",
    "extensions.filters.http.upstream_codec",
    "extensions.filters.network.http_connection_manager",
    "extensions.resource_monitors.downstream_connections",
    "extensions.resource_monitors.fixed_heap",
    "extensions.retry.host.previous_hosts",
    "extensions.retry.priority.previous_priorities",
    "extensions.upstreams.http",
    "type.matcher",
)
"""What is inside an `Any` must be imported, or that library cannot unpack it."""


def other(package: str, name: str = "") -> Any:
    """A class of the other library. Importing it warns about its own use of pydantic, which is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module(f"envoy_data_plane.envoy.{package}.v3")
    return getattr(module, name) if name else module


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    for package in IN_ANY:
        other(package)


def folded(value: Any) -> Any:
    """JSON with keys in lower case: the two libraries differ in how they write `consecutive_5xx` in camel case."""
    if isinstance(value, dict):
        return {key.lower(): folded(inner) for key, inner in value.items()}
    return [folded(inner) for inner in value] if isinstance(value, list) else value


def assert_same(message: Message, package: str, name: str) -> None:
    ours = folded(MessageToDict(message))
    assert ours
    assert folded(other(package, name).parse(encode(message)).to_dict()) == ours


def snapshots() -> Iterator[Snapshot]:
    yield snapshot(*small())
    yield snapshot(*small(protocol=Protocol.GRPC))
    yield snapshot(*small(endpoints={"us-east-1": [Endpoint("gw.test", 80)], "eu-west-1": [Endpoint("::1", 80)]}))
    policy, decision = small()
    bad = {Target("checkout", "us-east-1", a) for several in made.addresses(policy).values() for a in several}
    yield snapshot(policy, decision, unhealthy=frozenset(bad))
    for kind in (GRPC, "envoy-before-1.31"):
        yield build(policy, decision, made.VIEW._replace(kind=kind), made.addresses(policy))
    yield snapshot(policy, made.decision(made.service_decision(policy.services["checkout"], {})))


@pytest.mark.parametrize(
    "made_of", list(snapshots()), ids=["http", "grpc", "names", "unhealthy", "no proxy", "older", "nothing serves"]
)
def test_every_resource_decodes_to_the_same_values(made_of: Snapshot) -> None:
    assert set(made_of.resources) | {TypeUrl.RUNTIME} == set(OTHERS)
    for type_url, by_name in made_of.resources.items():
        for resource in by_name.values():
            assert_same(MESSAGES[type_url].FromString(resource.body), *OTHERS[type_url])


def test_bootstraps_decode_to_the_same_values() -> None:
    options = BootstrapOptions("us-east-1", "n-1", "web", "control.test", 18_000, zone="a")
    for message in (bootstrap(options), static_bootstrap(options, snapshot(*small()))):
        assert_same(message, "config.bootstrap", "Bootstrap")
