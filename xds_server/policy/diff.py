"""What changed between two policies, in the words of the policy: one line a change, for events and the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from xds_server.model import Endpoint
from xds_server.policy.types import Fleet, OwnResource, Policy, Taker

_SHARES = frozenset({"reserve", "min_change", "half_open", "budget", "canary", "access_logs"})
"""Fields that a policy gives as percentages. Those that end in `_ms` are durations, in `_rps` rates."""

_KEYS = {"kind": "type"}
_NOT_KEYS = frozenset({"name", "region", "server_name"})
"""Fields that say where something stands, or follow from another key."""

_MS_IN = (("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def changes(before: Policy, after: Policy) -> tuple[str, ...]:
    """Return one line for each difference ("services.checkout.reserve: 20% → 30%"), in the order of their paths."""
    return tuple(sorted([*_differ("", _written(before), _written(after)), *_own(before, after)]))


def _written(policy: Policy) -> dict[str, object]:
    latency: dict[str, dict[str, object]] = {name: {} for name in policy.regions}
    for (one, other), ms in policy.latency_ms.items():
        if one <= other:
            latency[one][other] = _duration(ms)
    return {
        "regions": {name: {"drain": region.drain, "latency": latency[name]} for name, region in policy.regions.items()},
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
    views += [] if resource.clients == (Taker.ENVOY,) else [",".join(resource.clients)]
    return f"resources.{resource.type_url.rpartition('.')[2]}.{resource.name}" + (
        f" ({'/'.join(views)})" if views else ""
    )


def _differ(path: str, before: object, after: object) -> Iterator[str]:
    if before == after:
        return
    old, new = _children(before), _children(after)
    if old is None or new is None:
        yield f"{path}: {_shift(before, after)}"
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
    """Return what a policy writes under a key, by the keys it uses; None for a single value."""
    if isinstance(value, Mapping):
        return value
    if not is_dataclass(value) or isinstance(value, type):
        return None
    found = dict(_entry(f.name, getattr(value, f.name)) for f in fields(value) if f.name not in _NOT_KEYS)
    if isinstance(value, Fleet):
        found["listen"] = str(Endpoint(str(found.pop("listen_host")), value.listen_port))
        del found["listen_port"]
    return found


def _entry(field: str, value: object) -> tuple[str, object]:
    """Return a field as its key and what a policy writes there."""
    if isinstance(value, Mapping):
        inner = {name: _entry(field, each)[1] for name, each in value.items()}
        return _entry(field, None)[0], inner
    if field.endswith("_ms"):
        return field.removesuffix("_ms"), _duration(value) if isinstance(value, int | float) else value
    if field.endswith("_rps"):
        return field.removesuffix("_rps"), _number(value) if isinstance(value, int | float) else value
    if field in _SHARES and isinstance(value, int | float):
        return field, f"{_number(100 * value)}%"
    return _KEYS.get(field, field), value


def _duration(ms: float) -> str:
    return next((f"{_number(ms / size)}{unit}" for unit, size in _MS_IN if ms and ms % size == 0), f"{_number(ms)}ms")


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _shift(before: object, after: object) -> str:
    old, new = _show(before), _show(after)
    return "changed" if old is None or new is None else f"{old} → {new}"


def _show(value: object) -> str | None:
    """Return a value as text; None if that would be no text of a policy."""
    if isinstance(value, frozenset):
        return f"[{', '.join(str(item) for item in sorted(value))}]"
    if isinstance(value, tuple):
        plain = all(isinstance(item, str | int | Endpoint) for item in value)
        return f"[{', '.join(map(str, value))}]" if plain and type(value) is tuple else None
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
