"""Which kind a client is, and that a kind of Envoy is not sent what it lacks."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from tests.snapshot.test_build import routes, small
from tests.support import decisions as made
from xds_server.model import ViewKey
from xds_server.snapshot.build import Builder
from xds_server.snapshot.clusters import HTTP_OPTIONS
from xds_server.snapshot.kinds import ENVOY, GRPC, SINCE, Feature, kind_of, lacking, takes_virtual_hosts
from xds_server.snapshot.resource import Snapshot, TypeUrl

REGION = made.VIEW.region


def view(kind: str) -> ViewKey:
    return ViewKey(made.VIEW.fleet, REGION, kind)


def built(*kinds: str) -> list[Snapshot]:
    policy, decision = small()
    found = Builder().build_all(policy, decision, map(view, kinds), made.addresses(policy))
    return [found[view(kind)] for kind in kinds]


@pytest.mark.parametrize(
    ("agent", "version", "kind"),
    [
        ("envoy", "1.40.0", ENVOY),
        ("envoy", "1.36.0", ENVOY),
        ("envoy", "2.0.1", ENVOY),
        ("envoy", "1.35.9", "envoy-before-1.36"),
        ("envoy", "1.31.0", "envoy-before-1.36"),
        ("envoy", "1.30.4-dev", "envoy-before-1.31"),
        ("envoy", "1.9.0", "envoy-before-1.31"),
        ("envoy", "", "envoy-before-1.31"),
        ("", "", "envoy-before-1.31"),
        ("gRPC C-core linux", "C-core 1.85.1", GRPC),
        ("gRPC Node Pure JS", "1.14.1", GRPC),
        ("gRPC Go", "1.80.0", GRPC),
        ("gRPC Java", "1.75.0", GRPC),
        ("grpc-custom", "", GRPC),
    ],
)
def test_the_kind_follows_from_who_the_client_says_it_is(agent: str, version: str, kind: str) -> None:
    assert kind_of(agent, version) == kind


@pytest.mark.parametrize(
    ("agent", "version", "kind"),
    [
        ("envoy", "1.40.0", "envoy-delta"),
        ("envoy", "1.38.0", "envoy-delta"),
        ("envoy", "1.37.9", ENVOY),
        ("envoy", "1.30.0", "envoy-before-1.31"),
        ("envoy", "", "envoy-before-1.31"),
        ("gRPC C-core linux", "C-core 1.85.1", GRPC),
    ],
)
def test_an_envoy_that_asks_for_changes_alone_gets_single_virtual_hosts_if_it_can_take_them(
    agent: str, version: str, kind: str
) -> None:
    found = kind_of(agent, version, delta=True)
    assert found == kind
    assert takes_virtual_hosts(found) == (kind == "envoy-delta")
    assert lacking(found) == lacking(kind_of(agent, version))


def test_single_virtual_hosts_are_those_of_the_one_configuration() -> None:
    whole, single = built(ENVOY, "envoy-delta")
    (inline,) = (route_pb2.RouteConfiguration.FromString(r.body) for r in whole.resources[TypeUrl.ROUTE].values())
    (empty,) = (route_pb2.RouteConfiguration.FromString(r.body) for r in single.resources[TypeUrl.ROUTE].values())
    assert not empty.virtual_hosts
    alone = []
    for name, resource in single.resources[TypeUrl.VIRTUAL_HOST].items():
        host = route_components_pb2.VirtualHost.FromString(resource.body)
        assert host.name == name
        assert {f"outbound/{domain}" for domain in host.domains} == set(resource.aliases)
        host.name = name.removeprefix("outbound/")
        alone.append(host)
    assert alone == list(inline.virtual_hosts)
    for url in (TypeUrl.CLUSTER, TypeUrl.ENDPOINT, TypeUrl.LISTENER):
        assert single.resources[url] == whole.resources[url]


def test_an_envoy_lacks_exactly_what_is_younger_than_itself() -> None:
    for minor in range(20, 45):
        lacks = lacking(kind_of("envoy", f"1.{minor}.0"))
        assert lacks == {feature for feature, since in SINCE.items() if since > (1, minor)}
    assert lacking(GRPC) == set()


def test_an_older_envoy_gets_the_same_without_what_it_lacks() -> None:
    newest, older, oldest = built(ENVOY, "envoy-before-1.36", "envoy-before-1.31")
    for snapshot in (older, oldest):
        assert snapshot.resources[TypeUrl.ENDPOINT] == newest.resources[TypeUrl.ENDPOINT]
        assert snapshot.resources[TypeUrl.LISTENER] == newest.resources[TypeUrl.LISTENER]
    assert [features(s) for s in (newest, older, oldest)] == [
        set(Feature) - {Feature.NAMES_OF_ENDPOINTS, Feature.BODIES_OF_CHECKS},
        {Feature.ALWAYS_EJECT_ONE, Feature.RESET_BEFORE_REQUEST},
        set(),
    ]


def features(snapshot: Snapshot) -> set[Feature]:
    """Which features every cluster and route has; fails if some have what others have not.

    For the rest see test_tls.py and test_health_checks.py.
    """
    seen = set()
    for resource in snapshot.resources[TypeUrl.CLUSTER].values():
        cluster = cluster_pb2.Cluster.FromString(resource.body)
        options = http_protocol_options_pb2.HttpProtocolOptions()
        assert cluster.typed_extension_protocol_options[HTTP_OPTIONS].Unpack(options)
        assert cluster.outlier_detection.consecutive_local_origin_failure.value
        seen.add((bool(options.http_filters), cluster.outlier_detection.HasField("always_eject_one_host")))
    ((filters, one),) = seen
    writes = routes(snapshot)[-1]["route"]["retry_policy"]["retry_on"].split(",")
    assert {"connect-failure", "refused-stream"} <= set(writes)
    has = {
        Feature.ATTEMPT_FILTERS: filters,
        Feature.ALWAYS_EJECT_ONE: one,
        Feature.RESET_BEFORE_REQUEST: "reset-before-request" in writes,
    }
    return {feature for feature, there in has.items() if there}


def test_kinds_that_are_built_together_are_what_each_is_alone() -> None:
    kinds = (ENVOY, "envoy-before-1.31", GRPC)
    for kind, together in zip(kinds, built(*kinds), strict=True):
        assert built(kind) == [together]
