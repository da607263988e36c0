"""What is to be seen of a run at one moment, as a value: the live screen and the plain lines draw the same picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.demo.incident import Weights
from xds_server.demo.tally import Window

STEPS = "weights.changed"
"""The kind of a line that many others like it may follow, while a region ramps up."""


@dataclass(frozen=True, slots=True)
class RegionPicture:
    """One region: the control plane's verdict and why, what it serves, what was done to it."""

    region: str
    health: str
    reason: str
    served_rps: float
    fault: str


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened. `severity` is info, warning or alarm; `clock` is HH:MM:SS; `kind` a dotted name."""

    clock: str
    severity: str
    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to look and what to edit."""

    control_plane: str
    policy: str
    envoy_admin: Mapping[str, str]
    sidecars: Mapping[str, str]
    directory: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One moment of a run. `recent` is the last five seconds."""

    elapsed_s: float
    duration_s: float | None
    rps: float
    done_rps: float
    recent: Window | None
    requests: int
    in_flight: int
    failed: int
    failed_by_kind: Mapping[str, int]
    duplicated_writes: int
    attempts_per_request: float
    control_plane: str
    regions: tuple[RegionPicture, ...]
    weights: Mapping[str, Weights]
    events: tuple[Line, ...]
    refused: tuple[str, ...]
    chosen: str
    addresses: Addresses
