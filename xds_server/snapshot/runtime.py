"""The runtime layer (RTDS) `xds-server`: breakers of a view's Envoys, moved without editing a cluster.

Envoy reads a breaker's limit through a runtime key each time it is asked (Envoy, "Circuit breaking", "Runtime"), so a
changed limit holds at once and closes nothing:

    circuit_breakers.<cluster>.default.max_connections, .max_pending_requests, .max_requests
    circuit_breakers.<cluster>.default.retry_budget.min_retry_concurrency

A layer is a `Struct`; Envoy flattens it, joining names with dots. Names that contain dots or `@` are fine, as seen on
1.40: only the whole flattened text is looked up.

Only keys whose value differs from what stands in the cluster are written, since each costs an Envoy about 1.8 KB (seen:
32,000 keys, 58 MB). With few Envoys, or small services, there is none. `max_retries` is not among them: the retry
budget stands in its place, and its percentage is the policy's.

The layer is in the bootstrap (bootstrap.py) under the admin's. An Envoy without it never asks for this resource and
keeps the limits of its clusters, which are those of one Envoy that carries the whole view.

The parts are encoded by service and joined (wire.py), because most of them do not change when one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.struct_pb2 import Struct, Value

from xds_server.decision.protection import fair_part
from xds_server.model import Protection
from xds_server.snapshot.clusters import cluster_name
from xds_server.snapshot.wire import encode, part

LAYER = "xds-server"

_NAME, _LAYER = 1, 2
_FIELDS, _KEY, _VALUE, _STRUCT = 1, 1, 2, 5
"""Field numbers of Runtime; of Struct, its map's entries, and Value."""


def breakers(service: str, regions: Sequence[str], settings: Sequence[Protection], envoys: int) -> bytes:
    """Return the encoded entries of one service's region clusters, each of so many Envoys with its fair part."""
    return b"".join(
        _entry(cluster_name(service, region), encode(value))
        for region, protection in zip(regions, settings, strict=True)
        if (value := _limits(protection, envoys)) is not None
    )


def layer(entries: Iterable[bytes]) -> bytes:
    """Return the encoded Runtime from its encoded entries; without any it is empty, and overrides nothing."""
    joined = b"".join(entries)
    fields = _entry("circuit_breakers", part(_STRUCT, joined)) if joined else b""
    return part(_NAME, LAYER.encode()) + part(_LAYER, fields)


def _limits(protection: Protection, envoys: int) -> Value | None:
    fair = fair_part(protection, envoys)
    limits = {
        key: float(fair.max_requests)
        for key in ("max_connections", "max_pending_requests", "max_requests")
        if getattr(protection, key) > fair.max_requests
    }
    default = _struct(limits)
    if protection.min_retry_concurrency > fair.min_retry_concurrency:
        budget = _struct({"min_retry_concurrency": float(fair.min_retry_concurrency)})
        default.fields["retry_budget"].struct_value.CopyFrom(budget)
    if not default.fields:
        return None
    return Value(struct_value=Struct(fields={"default": Value(struct_value=default)}))


def _struct(numbers: dict[str, float]) -> Struct:
    return Struct(fields={key: Value(number_value=number) for key, number in numbers.items()})


def _entry(key: str, value: bytes) -> bytes:
    return part(_FIELDS, part(_KEY, key.encode()) + part(_VALUE, value))
