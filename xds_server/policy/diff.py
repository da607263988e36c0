"""What changed between two policies, in the words of the policy: one line a change, for events and the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from xds_server.policy.types import OwnResource, Policy


def changes(before: Policy, after: Policy) -> tuple[str, ...]:
    """Return one line for each difference ("services.checkout.reserve: 0.2 → 0.3"), in the order of their paths."""
    return tuple(sorted([*_differ("", _plain(before), _plain(after)), *_own(before, after)]))


def _plain(policy: Policy) -> dict[str, object]:
    latency = {f"{a}→{b}": ms for (a, b), ms in policy.latency_ms.items() if a <= b}
    return {
        "regions": policy.regions,
        "latency_ms": latency,
        "services": policy.services,
        "fleets": policy.fleets,
        "rollout": policy.rollout,
        "orders": policy.orders,
        "drills": policy.drills,
        "clients": policy.clients,
    }


def _own(before: Policy, after: Policy) -> Iterator[str]:
    """Tell which own resources differ, and nothing of their content: it may be secret."""
    old, new = ({_title(resource): resource for resource in policy.own} for policy in (before, after))
    for title in old.keys() | new.keys():
        if old.get(title) != new.get(title):
            yield f"{title}: {'added' if title not in old else 'removed' if title not in new else 'changed'}"


def _title(resource: OwnResource) -> str:
    views = [",".join(names) for names in (resource.fleets, resource.regions) if names is not None]
    return f"resources.{resource.type_url.rpartition('.')[2]}.{resource.name}" + (
        f" ({'/'.join(views)})" if views else ""
    )


def _differ(path: str, before: object, after: object) -> Iterator[str]:
    if before == after:
        return
    old, new = _children(before), _children(after)
    if old is None or new is None:
        yield f"{path}: {_show(before)} → {_show(after)}"
        return
    for key in sorted(old.keys() | new.keys()):
        inner = f"{path}.{key}" if path else key
        if key not in old:
            yield f"{inner}: added"
        elif key not in new:
            yield f"{inner}: removed"
        else:
            yield from _differ(inner, old[key], new[key])


def _children(value: object) -> Mapping[str, object] | None:
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return None


def _show(value: object) -> str:
    if isinstance(value, tuple | frozenset):
        inner = ", ".join(str(item) for item in (sorted(value) if isinstance(value, frozenset) else value))
        return f"[{inner}]"
    return "none" if value is None else str(value)
