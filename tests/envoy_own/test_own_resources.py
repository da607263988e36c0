"""Own resources in a real Envoy: it takes every type, follows the folder, and what it rejects is rolled back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.envoy_own.world import LAYER, World, world
from xds_server.store.state import kept

pytestmark = pytest.mark.envoy

API = "type.googleapis.com/envoy."
ADS = {"ads": {}, "resource_api_version": "V3"}
PASSWORD = "correct horse battery staple"


def listener(name: str, routes: dict[str, Any], *filters: dict[str, Any], address: str = "127.0.0.1") -> dict[str, Any]:
    """A listener on a port that the kernel picks."""
    router = {"name": "router", "typed_config": {"@type": f"{API}extensions.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{API}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [*filters, router],
        **routes,
    }
    return {
        "@type": f"{API}config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def rds(name: str) -> dict[str, Any]:
    return {"rds": {"route_config_name": name, "config_source": ADS}}


def routes(name: str, cluster: str, greeting: str = "hello") -> dict[str, Any]:
    return {
        "@type": f"{API}config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {"path": "/greeting"},
                        "direct_response": {"status": 200, "body": {"inline_string": greeting}},
                    },
                    {"match": {"prefix": "/ours"}, "route": {"cluster": "checkout@us-east-1"}},
                    {"match": {"prefix": "/"}, "route": {"cluster": cluster}},
                ],
            }
        ],
    }


def cluster(name: str, port: int) -> list[dict[str, Any]]:
    """A cluster whose assignment comes by EDS."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return [
        {
            "@type": f"{API}config.cluster.v3.Cluster",
            "name": name,
            "type": "EDS",
            "eds_cluster_config": {"eds_config": ADS},
        },
        {
            "@type": f"{API}config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    ]


def injector() -> list[dict[str, Any]]:
    """An HTTP filter that comes by ECDS, and the secret that it takes by SDS."""
    generic = f"{API}extensions.http.injected_credentials.generic.v3.Generic"
    credential = {"@type": generic, "credential": {"name": "token", "sds_config": ADS}}
    filter_ = {
        "@type": f"{API}extensions.filters.http.credential_injector.v3.CredentialInjector",
        "credential": {"name": "generic", "typed_config": credential},
    }
    return [
        {"@type": f"{API}config.core.v3.TypedExtensionConfig", "name": "injector", "typed_config": filter_},
        {
            "@type": f"{API}extensions.transport_sockets.tls.v3.Secret",
            "name": "token",
            "generic_secret": {"secret": {"inline_string": PASSWORD}},
        },
    ]


def discovered(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "config_discovery": {"config_source": ADS, "type_urls": [f"{API}{kind}"]}}


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        inject = discovered("injector", "extensions.filters.http.credential_injector.v3.CredentialInjector")
        made.write("extra.json", [listener("extra", rds("extra"), inject), *injector()])
        made.write("routes.json", [routes("extra", "own"), *cluster("own", made.port)])
        made.start(*getattr(request, "param", ()))
        made.until("answer of the own listener", lambda: made.get("extra", "/greeting") == (200, "hello"))
        yield made


@pytest.mark.parametrize("running", [(), ("--delta",)], indirect=True, ids=["state of the world", "delta"])
def test_envoy_takes_every_type(running: World) -> None:
    scoped = {
        "name": "scopes",
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-scope", "index": 0}}]},
        "rds_config_source": ADS,
        "scoped_rds": {"scoped_rds_config_source": ADS},
    }
    scope = {
        "@type": f"{API}config.route.v3.ScopedRouteConfiguration",
        "name": "scope",
        "route_configuration_name": "extra",
        "key": {"fragments": [{"string_key": "one"}]},
    }
    layer = {"@type": f"{API}service.runtime.v3.Runtime", "name": LAYER, "layer": {"own.key": 42}}
    struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "value": {"max_request_bytes": 1000}}
    struct["type_url"] = f"{API}extensions.filters.http.buffer.v3.Buffer"
    buffer = {"name": "buffer", "typed_config": struct}
    running.write("more.json", [listener("scoped", {"scoped_routes": scoped}, buffer), scope, layer])
    running.until("answer by a scope", lambda: running.get("scoped", "/greeting")[0] == 404)

    status, body = running.get("extra", "/to-own")
    assert (status, json.loads(body)) == (200, {"path": "/to-own", "credential": PASSWORD})
    assert running.get("extra", "/ours")[0] == 200, "an own route may name a cluster of the policy"
    running.until("runtime", lambda: "own.key" in running.envoy.admin("/runtime")[1])
    rejected = {name: n for name, n in running.envoy.stats("update_rejected").items() if n}
    assert rejected == {}, running.envoy.log
    assert any(n for name, n in running.envoy.stats("scoped_rds").items() if name.endswith("scopes.update_success"))


@pytest.mark.parametrize("running", [("--delta",)], indirect=True, ids=["delta"])
def test_a_virtual_host_comes_when_it_is_asked_for(running: World) -> None:
    delta = {"api_type": "DELTA_GRPC", "transport_api_version": "V3"}
    source = {"api_config_source": delta | {"grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}}
    lazy = {"@type": f"{API}config.route.v3.RouteConfiguration", "name": "lazy", "vhds": {"config_source": source}}
    on_demand = {"name": "on-demand", "typed_config": {"@type": f"{API}extensions.filters.http.on_demand.v3.OnDemand"}}
    host = routes("", "own", "on demand")["virtual_hosts"][0]
    host |= {"@type": f"{API}config.route.v3.VirtualHost", "name": "lazy/shop", "domains": ["shop.example"]}
    running.write("more.json", [listener("lazy", rds("lazy"), on_demand), lazy, host])
    running.until(
        "answer by a virtual host", lambda: running.get("lazy", "/greeting", "shop.example")[1] == "on demand"
    )
    assert running.get("lazy", "/greeting", "other.example")[0] == 404


def test_an_edit_reaches_envoy_and_a_bad_one_says_where_it_is_wrong(running: World) -> None:
    accepted = running.control_plane.policy()["digest"]
    running.write("routes.json", [routes("extra", "own", "good day"), *cluster("own", running.port)])
    running.until("new greeting", lambda: running.get("extra", "/greeting") == (200, "good day"))
    running.until("promotion", lambda: running.control_plane.policy()["digest"] != accepted)
    edited = running.control_plane.policy()["digest"]

    running.write("routes.json", [routes("extra", "onw"), *cluster("own", running.port)])
    running.until("rejection", running.control_plane.rejected)
    (error,) = running.control_plane.rejected()
    assert error.startswith(f"{running.folder}/routes.json:1:"), error
    assert error.endswith(
        "resources[0].virtual_hosts[0].routes[2].route.cluster: there is no cluster "
        '"onw" in view default/us-east-1; did you mean own?, or list it under in_bootstrap'
    )
    assert running.control_plane.policy()["digest"] == edited
    assert running.get("extra", "/greeting") == (200, "good day")

    (running.folder / "routes.json").unlink()
    running.until("rejection of the removal", lambda: "extra.json" in str(running.control_plane.rejected()))
    assert running.get("extra", "/greeting") == (200, "good day")


def alarms(running: World) -> list[str]:
    return [alarm["kind"] for alarm in json.loads(running.control_plane.get("/api/v1/status"))["alarms"]]


def test_what_envoy_rejects_is_rolled_back_with_its_words(running: World) -> None:
    accepted = running.control_plane.policy()["digest"]
    running.write("more.json", [listener("nowhere", rds("extra"), address="192.0.2.1")])
    running.until("rejection by Envoy", running.control_plane.rejected)
    assert "192.0.2.1" in running.control_plane.rejected()[0]
    assert running.control_plane.policy()["digest"] == accepted
    running.until("an end of what is no longer offered", lambda: alarms(running) == ["policy.rejected"])
    running.write("routes.json", [routes("extra", "own", "still here"), *cluster("own", running.port)])
    running.write("more.json", [listener("nowhere", rds("extra"))])
    running.until("the corrected one", lambda: running.get("nowhere", "/greeting") == (200, "still here"))
    assert running.control_plane.rejected() == []


def test_a_secret_is_shown_nowhere(running: World) -> None:
    assert json.loads(running.get("extra", "/x")[1])["credential"] == PASSWORD
    secret = {"name": "token", "generic_secret": {"secret": PASSWORD}}
    running.write("more.json", [{"@type": f"{API}extensions.transport_sockets.tls.v3.Secret", **secret}])
    running.until("rejection", running.control_plane.rejected)
    pages = ["/metrics", *(f"/api/v1/{page}" for page in ("decision", "events", "fleet", "policy"))]
    shown = [running.control_plane.get(page) for page in pages]
    assert all(shown)
    assert not any(PASSWORD in text for text in (*shown, running.control_plane.log))


def test_a_restart_with_a_broken_folder_goes_on_with_the_last_good_one(running: World) -> None:
    digest = running.control_plane.policy()["digest"]
    state = running.directory / "state"
    running.until("kept texts", lambda: kept(state)[1])
    assert (state / "state.db").stat().st_mode & 0o077 == 0
    running.control_plane.stop()
    (running.folder / "extra.json").write_text("resources: [")
    running.serve()
    running.until("rejection", running.control_plane.rejected)
    assert running.control_plane.policy()["digest"] == digest
