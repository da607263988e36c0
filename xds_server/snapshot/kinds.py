"""Kinds of client: what each can understand, as a table. A view is built for each kind that has connected.

A client's first request says who it is (`user_agent_name`, `user_agent_build_version`). From that follows its kind:

    envoy               understands everything that we send
    envoy-before-X.Y    an Envoy older than X.Y: its view leaves out what X.Y and later releases brought
    envoy-delta         one of these two that asks for changes alone, and can take routes service by service (routes.py)
    grpc                a gRPC client without a proxy (grpc_view.py)

A field or extension that an Envoy does not know can cost it the whole resource: an unknown extension always, an unknown
field if it runs with `--reject-unknown-dynamic-fields`. So every feature that is younger than the oldest Envoy still
in use stands here with its first release and what its elders get instead. How a release was found is said with it:
*seen*, a real Envoy of that release took it (`make matrix` tries 1.36, 1.38 and 1.40, rejecting unknown fields), or
*read*, in Envoy's release notes.

An Envoy whose version cannot be read counts as the oldest: it may lack a feature, but is not sent what it would reject.

Rejected: asking for the extensions a client lists in its node. The list is 60 KB, and tells nothing of fields, nor
whether a filter may stand in a cluster; and the view would have to follow from hundreds of names instead of a version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from xds_server.model import ViewKey

ENVOY = ViewKey._field_defaults["kind"]
"""An Envoy that understands everything; the kind of a view that does not say another."""
GRPC = "grpc"

Release = tuple[int, int]

_BEFORE = "envoy-before-"
_DELTA = "-delta"
_GRPC_AGENT = "grpc"


class Feature(Enum):
    """Something we send that not every Envoy in use understands."""

    ATTEMPT_FILTERS = "upstream filters on each attempt"
    """Elders: a cluster without them (attempts.py), so retries in an overload are bounded by their number alone."""
    ALWAYS_EJECT_ONE = "outlier_detection.always_eject_one_host"
    """Elders: without it; their own rule for the first host applies."""
    RESET_BEFORE_REQUEST = "retry_on: reset-before-request"
    """Elders: plain writes are retried on connect-failure and refused-stream alone."""
    NAMES_OF_ENDPOINTS = "auto_host_sni, auto_sni_san_validation"
    """Elders: by TLS they ask for no name and take any of the service's (tls.py)."""
    BODIES_OF_CHECKS = "http_health_check.send"
    """Elders: where they look at other regions for us, gRPC is checked by opening a connection (health_checks.py)."""


SINCE: Mapping[Feature, Release] = MappingProxyType(
    {
        Feature.ATTEMPT_FILTERS: (1, 36),  # seen; matchers around upstream filters are younger than 1.29 (read)
        Feature.ALWAYS_EJECT_ONE: (1, 31),  # read
        Feature.RESET_BEFORE_REQUEST: (1, 31),  # read
        Feature.NAMES_OF_ENDPOINTS: (1, 36),  # seen; whether they are older is not known
        Feature.BODIES_OF_CHECKS: (1, 36),  # seen; its elders ignore the field (read)
    }
)

VIRTUAL_HOSTS_SINCE: Release = (1, 38)
"""The first release that takes virtual hosts over its delta stream: seen; 1.36 says "only 'DELTA_GRPC'" (seen)."""

NOTHING_LACKING: frozenset[Feature] = frozenset()


def kind_of(agent: str, version: str, *, delta: bool = False) -> str:
    """Return the kind of a client by its user agent and version: "gRPC C-core linux", "envoy" and "1.40.0".

    `delta` tells that all of its types come on one stream of the delta variant.
    """
    if agent.lower().startswith(_GRPC_AGENT):
        return GRPC
    release = _release(version)
    younger = sorted({since for since in SINCE.values() if release < since})
    kind = f"{_BEFORE}{younger[0][0]}.{younger[0][1]}" if younger else ENVOY
    return kind + _DELTA if delta and release >= VIRTUAL_HOSTS_SINCE else kind


def takes_virtual_hosts(kind: str) -> bool:
    """Return whether clients of a kind get their routes as single virtual hosts, and not in one configuration."""
    return kind.endswith(_DELTA)


def lacking(kind: str) -> frozenset[Feature]:
    """Return the features that clients of a kind of Envoy do not understand."""
    if not kind.startswith(_BEFORE):
        return NOTHING_LACKING
    release = _release(kind.removeprefix(_BEFORE))
    return frozenset(feature for feature, since in SINCE.items() if since >= release)


def _release(version: str) -> Release:
    """Return the first two numbers of a version; (0, 0) if there are none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
