"""Envoys that owe nothing to us: an upstream that answers by itself, and a proxy with one static route.

The upstream stands for any number of backends. It answers in tens of microseconds, where a backend in Python would be
what a benchmark measures: 100 services mean 800 probes a second from the control plane, and more from the Envoys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

ANSWERS: Mapping[str, Any] = {"direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
"""What a listener does: answer by itself, with "ok"."""

FORWARDS: Mapping[str, Any] = {"route": {"cluster": "local"}}
"""What a listener does: pass on to the cluster `local`."""


def listener(port: int, action: Mapping[str, Any]) -> dict[str, Any]:
    """Return a listener on a loopback port with one route, for everything."""
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}
    manager = {
        "@type": _HCM,
        "stat_prefix": "in",
        "route_config": {"name": "in", "virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    return {
        "name": f"in-{port}",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def config(listeners: Sequence[dict[str, Any]], ports: Sequence[int] = ()) -> dict[str, Any]:
    """Return a bootstrap with these listeners, and a cluster `local` of these ports if there are any."""
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    cluster = {
        "name": "local",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "local", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    return {"static_resources": {"listeners": list(listeners), "clusters": [cluster] if ports else []}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
