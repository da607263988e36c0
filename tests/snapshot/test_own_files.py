"""Files of own resources: what is read from good ones, and what is said of bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.decisions import addresses, even, policy, service
from xds_server.model import ViewKey
from xds_server.policy.diff import changes
from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Fleet, Policy
from xds_server.snapshot.build import build
from xds_server.snapshot.own.files import Merged, merge
from xds_server.snapshot.own.known import find
from xds_server.snapshot.resource import Key, TypeUrl

EXAMPLES = Path(__file__).parents[2] / "examples"
LISTENER, CLUSTER, ROUTES = (
    f"type.googleapis.com/envoy.config.{kind}"
    for kind in ("listener.v3.Listener", "cluster.v3.Cluster", "route.v3.RouteConfiguration")
)
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
FLEETS = (Fleet("default", "127.0.0.1", 10_000), Fleet("web", "127.0.0.1", 10_001, ("checkout",)))
POLICY = policy([service(), service("ledger")], fleets=FLEETS)


def merged(*texts: str, of: Policy = POLICY) -> Merged:
    return merge(of, [(f"{chr(ord('a') + i)}.yaml", text.encode()) for i, text in enumerate(texts)])


def problems(*texts: str, of: Policy = POLICY) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        merged(*texts, of=of)
    return [str(problem) for problem in caught.value.problems]


def one(resource: str, head: str = "") -> str:
    return f"{head}resources:\n  - {resource}\n"


def cluster(name: str, rest: str = "") -> str:
    return f'{{"@type": {CLUSTER}, name: {name}{rest}}}'


def route_to(name: str, config: str = "r") -> str:
    route = f"{{match: {{prefix: /}}, route: {{cluster: {name}}}}}"
    return f'{{"@type": {ROUTES}, name: {config}, virtual_hosts: [{{name: v, domains: ["*"], routes: [{route}]}}]}}'


def test_a_policy_without_own_resources_stays_the_very_same() -> None:
    assert merged().policy is POLICY


def test_own_resources_are_in_the_snapshots_of_their_views_and_in_no_other() -> None:
    elsewhere = one(cluster("near"), "views: {fleets: [web], regions: [us-east-1, sa-east-1]}\n")
    own = merged(one(cluster("everywhere")), elsewhere).policy
    decision, found = even(own), addresses(own)
    has = {
        (fleet, region): set(build(own, decision, ViewKey(fleet, region), found).resources[TypeUrl.CLUSTER])
        for fleet in own.fleets
        for region in own.regions
    }
    assert all("everywhere" in names for names in has.values())
    assert {view for view, names in has.items() if "near" in names} == {("web", "us-east-1"), ("web", "sa-east-1")}


MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def api_listener(name: str, route: str) -> str:
    rds = f"rds: {{route_config_name: {route}, config_source: {{ads: {{}}}}}}"
    manager = f'{{"@type": {MANAGER}, stat_prefix: s, {rds}}}'
    return f'{{"@type": {LISTENER}, name: {name}, api_listener: {{api_listener: {manager}}}}}'


def test_grpc_clients_get_what_names_them_and_nothing_else() -> None:
    grpc, both = ("views: {clients: [grpc]}\n", "views: {clients: [grpc, envoy], regions: [us-east-1]}\n")
    own = merged(one(cluster("for-envoys")), one(cluster("for-grpc"), grpc), one(cluster("for-both"), both)).policy
    decision, found = even(own), addresses(own)

    def named(region: str, kind: str) -> set[str]:
        return {
            name
            for name in build(own, decision, ViewKey("web", region, kind), found).resources[TypeUrl.CLUSTER]
            if "for" in name
        }

    assert named("us-east-1", "envoy") == {"for-envoys", "for-both"}
    assert named("us-east-1", "grpc") == {"for-grpc", "for-both"}
    assert named("eu-west-1", "grpc") == {"for-grpc"}
    assert merged(one(cluster("a")), one(cluster("a"), grpc)).policy.own  # no client gets both
    before, after = merged(one(cluster("a"), grpc)).policy, merged(one(cluster("a"))).policy
    assert {*changes(before, after)} == {"resources.Cluster.a (grpc): removed", "resources.Cluster.a: added"}
    assert before.digest != after.digest


def test_names_of_grpc_clients_are_their_own() -> None:
    grpc = "views: {clients: [grpc]}\n"
    listening, (taken,) = one(api_listener("reports.demo", "checkout"), grpc), POLICY.services["checkout"].hosts[:1]
    assert merged(listening).policy.own[0].needs == ((TypeUrl.ROUTE, "checkout"),)
    (problem,) = problems(one(api_listener(taken, "checkout"), grpc))
    assert f'listener "{taken}" is the name of what the policy itself makes' in problem
    (problem,) = problems(listening.replace("clients: [grpc]", "clients: [envoy]"))
    assert 'there is no route configuration "checkout" in view default/' in problem
    (problem,) = problems(one(route_to("mine"), grpc), one(cluster("mine")))
    assert '"mine" in view default/ap-southeast-1 of gRPC clients and 7 more' in problem
    (problem,) = problems(
        one(f'{{"@type": {SECRET}, name: s, generic_secret: {{secret: {{inline_string: x}}}}}}', grpc)
    )
    assert "gRPC clients do not ask for a secret; take grpc from the clients" in problem


def test_what_is_ours_does_not_change_beside_own_resources() -> None:
    view = ViewKey("web", "us-east-1")
    own = merged(one(route_to("checkout@us-east-1"))).policy
    plain, beside = (build(p, even(p), view, addresses(p)) for p in (POLICY, own))
    assert beside.missing() == ()
    for type_url, by_name in plain.resources.items():
        assert {n: r for n, r in beside.resources[type_url].items() if n != "r"} == dict(by_name)


def test_the_names_that_are_taken_are_those_of_the_snapshots() -> None:
    """Hold the check of names to what is built, in every view: a name we come to use must be taken from then on."""
    decision, found = even(POLICY), addresses(POLICY)
    kinds = {TypeUrl.LISTENER: LISTENER, TypeUrl.ROUTE: ROUTES, TypeUrl.CLUSTER: CLUSTER}
    kinds |= {TypeUrl.RUNTIME: TypeUrl.RUNTIME}
    for fleet in POLICY.fleets:
        for region in POLICY.regions:
            snapshot = build(POLICY, decision, ViewKey(fleet, region), found)
            assert set(snapshot.resources) - set(kinds) == {TypeUrl.ENDPOINT}
            for type_url, kind in kinds.items():
                for name in snapshot.resources[type_url]:
                    said = problems(one(f'{{"@type": {kind}, name: {name}}}'))
                    assert f'{name}" is the name of what the policy itself makes' in said[0]
            assert all(merged(one(route_to(name)), of=_only(fleet)) for name in snapshot.resources[TypeUrl.CLUSTER])


def _only(fleet: str) -> Policy:
    return replace(POLICY, fleets={fleet: POLICY.fleets[fleet]})


def test_the_digest_says_what_is_served_and_to_whom() -> None:
    texts = [
        one(cluster("a")),
        one(cluster("b")),
        one(cluster("a", ", connect_timeout: 1s")),
        one(cluster("a"), "views: {fleets: [web]}\n"),
    ]
    digests = [merged(text).policy.digest for text in texts]
    assert len({*digests, POLICY.digest}) == 5
    assert merged("# with a word about it\n" + texts[0]).policy == merged(texts[0]).policy


def test_an_edit_is_told_by_names_alone() -> None:
    secret = '{{"@type": {}, name: token, generic_secret: {{secret: {{inline_string: {}}}}}}}'
    before, after = (merged(one(secret.format(SECRET, word))).policy for word in ("hunter2", "hunter3"))
    assert changes(before, after) == ("resources.Secret.token: changed",)
    assert changes(POLICY, before) == ("resources.Secret.token: added",)
    assert "hunter2" not in repr(before)


def test_needs_are_what_the_messages_name() -> None:
    text = (EXAMPLES / "own-resources" / "inbound.yaml").read_text()
    of = parse((EXAMPLES / "policy.yaml").read_bytes(), "policy").policy
    secret = f'{{"@type": {SECRET}, name: inbound, generic_secret: {{secret: {{filename: f}}}}}}'
    needs = {
        Key(r.type_url, r.name): {Key(*need) for need in r.needs} for r in merged(text, one(secret), of=of).policy.own
    }
    inbound = Key(TypeUrl.LISTENER, "inbound")
    assert needs.pop(inbound) == {
        Key(TypeUrl.ROUTE, "inbound"),
        Key(TypeUrl.SECRET, "inbound"),
        Key(TypeUrl.EXTENSION, "inbound-rate-limit"),
    }
    assert needs.pop(Key(TypeUrl.ROUTE, "inbound")) == {Key(TypeUrl.CLUSTER, "application")}
    assert set().union(*needs.values()) == set()


@pytest.mark.parametrize("path", sorted((EXAMPLES / "own-resources").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_what_protobuf_reads_in_them(path: Path) -> None:
    of = parse((EXAMPLES / "policy.yaml").read_bytes(), "policy").policy
    folder = [(str(file), file.read_bytes()) for file in sorted(path.parent.iterdir())]
    bodies = {resource.body for resource in merge(of, folder).policy.own}
    assert merge(of, folder).warnings == ()
    for resource in yaml.safe_load(path.read_text())["resources"]:
        kind = find(resource.pop("@type").removeprefix("type.googleapis.com/"))
        assert kind is not None
        expected = ParseDict(resource, kind._concrete_class())  # type: ignore[attr-defined]
        assert expected.SerializeToString(deterministic=True) in bodies


MISTAKES = [
    ("", "1:1: file: the file is empty; write resources:"),
    ("- a", "1:1: file: no mapping; write resources: and below it a list"),
    ("resources: []", "1:12: resources: an empty list stands here; write a list of resources, each with its @type"),
    ("resource: []\n" + one(cluster("a")), "1:1: resource: unknown key; did you mean resources?"),
    (
        one(cluster("a"), "views: {fleets: [wbe], regions: [mars-1]}\n"),
        '1:18: views.fleets[0]: the policy has no fleet "wbe"; did you mean web?',
        (
            '1:34: views.regions[0]: the policy has no region "mars-1"; '
            "the policy has ap-southeast-1, eu-west-1, sa-east-1, us-east-1"
        ),
    ),
    (one("{name: a}"), '2:5: resources[0]: no @type; write "@type": type.googleapis.com/… as its first key'),
    (
        one('{"@type": envoy.config.cluster.v3.Cluster, name: a}'),
        '2:15: resources[0]."@type": a type URL begins with type.googleapis.com/',
    ),
    (
        one('{"@type": type.googleapis.com/envoy.api.v2.Cluster, name: a}'),
        '2:15: resources[0]."@type": a type of version 2 of the API, which Envoy no longer takes; use version 3',
    ),
    (
        one('{"@type": type.googleapis.com/envoy.config.cluster.v3.Clutser, name: a}'),
        (
            '2:15: resources[0]."@type": no such type in the Envoy API known here; '
            "did you mean envoy.config.cluster.v3.Cluster?"
        ),
    ),
    (
        one('{"@type": type.googleapis.com/google.protobuf.Duration, value: 1s}'),
        (
            '2:5: resources[0]."@type": no type of resource; write one of Listener, RouteConfiguration, '
            "ScopedRouteConfiguration, VirtualHost, Cluster, ClusterLoadAssignment, Secret, Runtime, "
            "TypedExtensionConfig"
        ),
    ),
    (
        one(f'{{"@type": {LISTENER}}}'),
        "2:5: resources[0].name: missing; every resource needs a name of its own",
    ),
    (
        one(cluster("checkout@us-east-1")),
        (
            '2:74: resources[0].name: cluster "checkout@us-east-1" is the name of what the policy itself makes; '
            "choose another"
        ),
    ),
    (
        one(cluster("xds")),
        '2:74: resources[0].name: cluster "xds" is the name of what the policy itself makes; choose another',
    ),
    (
        one(route_to("checkout@us-east-2")),
        (
            "2:{at}: resources[0].virtual_hosts[0].routes[0].route.cluster: there is no cluster "
            '"checkout@us-east-2" in view default/ap-southeast-1 and 7 more; did you mean checkout@us-east-1?, '
            "or list it under in_bootstrap"
        ),
    ),
    (
        one('{"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost, name: outbound/v, domains: ["*"]}'),
        "2:76: resources[0].name: the virtual hosts of outbound follow from the policy; add a service",
    ),
    (
        one('{"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost, name: v, domains: ["*"]}'),
        "2:76: resources[0].name: a virtual host of its own is named ROUTE_CONFIGURATION/NAME",
    ),
    (
        one(
            f'{{"@type": {LISTENER}, name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 10001}}}}}}'
        ),
        '2:76: resources[0].name: listener "l" listens on 127.0.0.1:10001, where fleet web does; choose another port',
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[1].partition(": ")[2][:60])
def test_mistakes_are_named_with_their_place(mistake: tuple[str, ...]) -> None:
    text, *expected = mistake
    column = text.rpartition("\n  - ")[2].find("checkout@us-east-2") + 5
    assert problems(text) == [f"a.yaml:{line.replace('{at}', str(column))}" for line in expected]


def test_a_name_stands_for_one_thing_in_each_view() -> None:
    here, there = ("views: {regions: [us-east-1]}\n", "views: {regions: [eu-west-1, us-east-1]}\n")
    (problem,) = problems(one(cluster("a"), here), one(cluster("a"), there))
    assert problem.startswith('b.yaml:3:74: resources[0].name: cluster "a" is defined already at a.yaml:3')
    apart = merged(one(cluster("a"), here), one(cluster("a"), "views: {regions: [eu-west-1]}\n"))
    assert [resource.regions for resource in apart.policy.own] == [("eu-west-1",), ("us-east-1",)]


def test_a_name_must_be_there_in_every_view_that_needs_it() -> None:
    everywhere, near = one(route_to("mine")), one(cluster("mine"), "views: {regions: [us-east-1]}\n")
    (problem,) = problems(everywhere, near)
    assert '"mine" in view default/ap-southeast-1 and 5 more' in problem
    assert merged(everywhere.replace("resources", "views: {regions: [us-east-1]}\nresources", 1), near).policy.own
    assert merged("in_bootstrap: [mine]\n" + everywhere).policy.own[0].needs == ()


def test_a_virtual_host_belongs_to_a_route_configuration_and_is_found_by_its_domains() -> None:
    kind = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
    host = one(f'{{"@type": {kind}, name: mine/shop, domains: [a.example, "*.b.example"]}}')
    (problem,) = problems(host)
    assert 'there is no route configuration "mine" in view' in problem
    own = merged(host, one(route_to("checkout@us-east-1", "mine"))).policy
    resource = build(own, even(own), ViewKey("web", "us-east-1"), addresses(own)).resources[TypeUrl.VIRTUAL_HOST]
    assert resource["mine/shop"].aliases == ("mine/a.example", "mine/*.b.example")
    assert resource["mine/shop"].needs == (Key(TypeUrl.ROUTE, "mine"),)


def test_a_fleet_that_does_not_use_a_service_has_no_such_cluster() -> None:
    (problem,) = problems(one(route_to("ledger@us-east-1")))
    assert "in view web/" in problem
    assert merged(one(route_to("ledger@us-east-1"), "views: {fleets: [default]}\n")).policy.own


def test_a_service_that_goes_away_is_missed_by_name() -> None:
    text = one(route_to("ledger@us-east-1"), "views: {fleets: [default]}\n")
    without = replace(POLICY, services={"checkout": POLICY.services["checkout"]})
    (problem,) = problems(text, of=without)
    assert problem.startswith("a.yaml:3:")
    assert 'no cluster "ledger@us-east-1"' in problem


def test_all_files_are_judged_at_once() -> None:
    found = problems("resources: [", one(cluster("xds")), one(cluster("a", ", nmae: b")))
    assert [problem.partition(":")[0] for problem in found] == ["a.yaml", "b.yaml", "c.yaml"]


SECRETS = f"""
resources:
  - "@type": {SECRET}
    name: token
    generic_secret: {{secret: {{inline_string: hunter2}}, secrets: {{one: {{inline_string: "hunter2"}}}}}}
  - "@type": {SECRET}
    name: inbound
    tls_certificate:
      private_key:
        inline_string: |
          hunter2
      password: {{inline_string: hunter2}}
  - "@type": {SECRET}
    name: tickets
    session_ticket_keys: {{keys: [{{inline_string: hunter2}}]}}
"""


def test_the_text_with_secrets_is_good() -> None:
    assert [resource.name for resource in merged(SECRETS).policy.own] == ["inbound", "tickets", "token"]


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(20, len(SECRETS)),
    cut=st.integers(0, 12),
    put=st.sampled_from(
        ["", ":", " ", "\n", "[", "}", "- ", "!", "*", "&", "%", "'", '"', "true", ": x, ", "\t", "#", "{"]
    ),
)
def test_no_error_repeats_a_secret(start: int, cut: int, put: str) -> None:
    text = SECRETS[:start] + put + SECRETS[start + cut :]
    try:
        said = str(merged(text).warnings)
    except PolicyError as error:
        said = str(error)
    assert "hunter" not in said


def test_route_configuration_of_the_example_is_a_real_message() -> None:
    """Hold the bodies to be messages, not something that only we can read."""
    body = merged(one(route_to("checkout@us-east-1", "mine"))).policy.own[0].body
    assert (
        route_pb2.RouteConfiguration.FromString(body).virtual_hosts[0].routes[0].route.cluster == "checkout@us-east-1"
    )
