"""What refuses requests in an overload (decision/shedding.py says how many): routes ahead of all others, or a drop.

With classes, a virtual host begins with a route for each class of which something is refused: the class's headers and a
fraction, answered 503 with `Retry-After` by Envoy itself. No host is asked, nothing is retried, and the next request of
the same application may pass.

*The fraction is out of a million, in steps of a percent.* Envoy draws one random number for a request, and uses it both
for a route's fraction and for the pick of a weighted cluster, which are 10,000 here. With a fraction out of 10,000 the
requests that are refused would be just those of the first regions: seen on 1.40, 25 % refused and nothing left for the
region with the first 25 % of the weight. Steps of 10,000 in a million leave the weights of the rest as they are.

Without classes, and for gRPC clients, it is `drop_overloads` in every assignment of the service. Envoy takes one entry
at most, and refuses with 503 and no `Retry-After`; load reports count what was dropped. gRPC fails the call with
UNAVAILABLE. What has to change with it is told in endpoints.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2
from envoy.type.v3 import percent_pb2

from xds_server.model import Shed
from xds_server.policy.types import Overload
from xds_server.snapshot.wire import encode, part

CATEGORY = "overload"
STATUS = 503

_DROP_OVERLOADS = 2
_PERCENT_OF_MILLION = 10_000


def routes(overload: Overload, shed: Shed | None) -> list[route_components_pb2.Route]:
    """Return the routes that refuse, in the order of the policy's classes."""
    headers = {found.name: found.headers for found in overload.classes}
    return [_route(overload, name, headers.get(name, ()), percent) for name, percent in (shed.classes if shed else ())]


def drops(shed: Shed | None) -> int:
    """Return how many percent an assignment drops: none where routes refuse."""
    return shed.percent if shed and not shed.classes else 0


def drop(percent: int) -> bytes:
    """Return the encoded field of an assignment's policy; nothing for nothing."""
    if not percent:
        return b""
    entry = endpoint_pb2.ClusterLoadAssignment.Policy.DropOverload(
        category=CATEGORY,
        drop_percentage=percent_pb2.FractionalPercent(
            numerator=percent, denominator=percent_pb2.FractionalPercent.HUNDRED
        ),
    )
    return part(_DROP_OVERLOADS, encode(entry))


def _route(
    overload: Overload, name: str, headers: Iterable[tuple[str, str]], percent: int
) -> route_components_pb2.Route:
    exactly = string_pb2.StringMatcher
    return route_components_pb2.Route(
        name=f"shed {name or 'the rest'}",
        match=route_components_pb2.RouteMatch(
            prefix="/",
            headers=[
                route_components_pb2.HeaderMatcher(name=header, string_match=exactly(exact=value))
                for header, value in headers
            ],
            runtime_fraction=_fraction(percent) if percent < 100 else None,
        ),
        direct_response=route_components_pb2.DirectResponseAction(status=STATUS),
        response_headers_to_add=[_retry_after(overload.retry_after_ms)],
    )


def _fraction(percent: int) -> base_pb2.RuntimeFractionalPercent:
    million = percent_pb2.FractionalPercent.MILLION
    value = percent_pb2.FractionalPercent(numerator=percent * _PERCENT_OF_MILLION, denominator=million)
    return base_pb2.RuntimeFractionalPercent(default_value=value)


def _retry_after(ms: int) -> base_pb2.HeaderValueOption:
    seconds = -(-ms // 1_000)
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key="retry-after", value=str(seconds)))
