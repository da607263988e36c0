"""What an order must keep to. Mistakes (`wrong`) cannot be forced; refusals (`refusals`) can, and that is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from xds_server.orders.effects import PARTS
from xds_server.orders.preview import Effect
from xds_server.orders.types import Kind, Order, Standing
from xds_server.policy.types import Policy
from xds_server.policy.weeks import day_and_minute, within, words

LEAST_RPS = 0.001
"""The least capacity that an order may state."""


def wrong(order: Order, policy: Policy) -> Iterator[str]:
    """Yield what makes an order meaningless under this policy, with the fix."""
    regions, services = ", ".join(policy.regions), ", ".join(policy.services)
    if not order.reason:
        yield "an order needs a reason"
    if not order.author:
        yield "an order needs an author"
    if order.service and order.service not in policy.services:
        yield f"there is no service {order.service!r}; there is: {services}"
        return
    for what, name in (("region", order.region), ("view", order.view), *(("region", r) for r, _ in order.weights)):
        if name and name not in policy.regions:
            yield f"there is no {what} {name!r}; there is: {regions}"
            return
    yield from _incomplete(order, policy)
    yield from _unused(order)
    longest = policy.orders.max_expires_ms / 1000
    if order.ends - order.at > longest:
        yield f"it may last at most {longest:g} s (orders.max_expires in the policy)"


def _incomplete(order: Order, policy: Policy) -> Iterator[str]:
    if (order.kind.leaves or order.kind is Kind.CAPACITY) and not order.region:
        yield f"{order.kind}: name a region"
    if order.kind in {Kind.WEIGHT, Kind.CAPACITY} and not order.service:
        yield f"{order.kind}: name a service"
        return
    named = {order.region, *(region for region, _ in order.weights)} - {""}
    if order.service:
        away = sorted(named - set(policy.services[order.service].deployments))
        if away:
            yield f"{order.service} has no deployment in {', '.join(away)}"
    if order.kind is Kind.WEIGHT and not any(round(part * PARTS) for _, part in order.weights):
        yield "weight: at least one region must have a weight above 0"
    if order.kind is Kind.CAPACITY and order.capacity_rps < LEAST_RPS:
        yield f"capacity: it must be at least {LEAST_RPS:g} req/s; to empty a region, evacuate it"


_USES: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.EVACUATE: frozenset({"region", "service"}),
        Kind.DRILL: frozenset({"region", "service"}),
        Kind.WEIGHT: frozenset({"service", "view", "weights"}),
        Kind.HOLD: frozenset({"service", "view"}),
        Kind.CAPACITY: frozenset({"service", "region", "capacity"}),
    }
)
"""What each kind of order is about. Anything else in one would be told and not done."""


def _unused(order: Order) -> Iterator[str]:
    given = {
        "region": order.region,
        "service": order.service,
        "view": order.view,
        "weights": order.weights,
        "capacity": order.capacity_rps,
    }
    for name in sorted(name for name, value in given.items() if value and name not in _USES[order.kind]):
        yield f"{order.kind} does not take {name}; leave it out"


def refusals(
    order: Order, policy: Policy, standing: Sequence[Standing], effects: Iterable[Effect], wall: float
) -> Iterator[str]:
    """Yield every rule that the order breaks, in words that say how far. `wall` is seconds since 1970."""
    rules = policy.orders
    if order.kind.leaves:
        left = {one.order.region for one in standing if one.order.kind.leaves} | {order.region}
        if len(left) > rules.max_evacuated:
            names = ", ".join(sorted(left))
            yield f"{len(left)} regions would be evacuated at once ({names}), at most {rules.max_evacuated} may be"
    if order.kind is Kind.DRILL:
        yield from blocked(policy, wall)
        yield from _left_already(order, standing)
    for effect in effects:
        if order.kind.leaves and effect.serving < rules.min_regions:
            serving = f"{effect.serving} region{'s' * (effect.serving != 1)}"
            yield f"{effect.service} would be served by {serving}, at least {rules.min_regions} must remain"
        if effect.stranded:
            yield f"{effect.service}: {', '.join(effect.stranded)} would reach nothing that serves"
        if not effect.fits and order.kind is not Kind.HOLD:
            hottest = f", the hottest region would be at {effect.overload:.0%}" if effect.overload > 1.0 else ""
            yield f"{effect.service} does not fit: {effect.excess_rps:,.0f} req/s too many for the capacities{hottest}"
        if order.kind is Kind.WEIGHT:
            yield from _dead(order, effect)


def _left_already(order: Order, standing: Iterable[Standing]) -> Iterator[str]:
    for one in standing:
        overlap = not one.order.service or order.concerns(one.order.service)
        if one.order.kind is Kind.EVACUATE and one.order.region == order.region and overlap:
            yield f"{order.region} is evacuated already ({one.order.id}, by {one.order.author})"


def blocked(policy: Policy, wall: float) -> Iterator[str]:
    """Yield the windows in which no drill may run and that it is now."""
    for span in policy.drills.blocked:
        if within(span, wall):
            _, minute = day_and_minute(wall)
            now = f"{minute // 60:02}:{minute % 60:02}"
            until = f"{span.end // 60:02}:{span.end % 60:02}"
            yield f"drills are blocked {words(span.days)} until {until} UTC (drills.blocked), and it is {now}"


def _dead(order: Order, effect: Effect) -> Iterator[str]:
    for region, part in order.weights:
        capacity = effect.capacity_rps[effect.regions.index(region)]
        if part > 0 and not capacity:
            yield f"{effect.service} would be sent to {region}, which serves nothing now"
