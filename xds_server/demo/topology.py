"""The world the demo plays in: four regions, the round trips between them, what each can serve, and its policy text.

The numbers are chosen so that there is something to see. us-east-1 has the most capacity and the most demand, and
sa-east-1 has less capacity than its own view asks for, so part of that view goes to us-east-1: losing us-east-1 hurts
two views. The other three regions can together carry everything (N-1 fits, reserve included), and no region holds half
of the capacity, so automation may act on any single loss without suspecting its monitor.

Capacities are shares of a total, and the total follows from the load (`Topology.of`): a demo at 50 req/s and one at
2,000 req/s make the same decisions. `--capacity` sets the total by hand, for instance below the load to see an
overload.

All four sidecars run on one host, and a fleet has one listen address, so every region is its own fleet,
`demo-us-east-1` and so on. In production all sidecars would be one fleet with one port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-1", "sa-east-1")
"""In the order the screen numbers them."""

CONTROL_PLANE = "controlplane"
"""The one fault target that is not a region."""

SERVICE = "checkout"
HOST = "checkout.demo"
BACKENDS_PER_REGION = 2
LOCAL_RTT_MS = 1.0

RTT_MS: Mapping[frozenset[str], float] = {
    frozenset({"us-east-1", "eu-west-1"}): 80.0,
    frozenset({"us-east-1", "ap-southeast-1"}): 220.0,
    frozenset({"us-east-1", "sa-east-1"}): 120.0,
    frozenset({"eu-west-1", "ap-southeast-1"}): 160.0,
    frozenset({"eu-west-1", "sa-east-1"}): 190.0,
    frozenset({"ap-southeast-1", "sa-east-1"}): 320.0,
}

DEMAND_SHARE: Mapping[str, float] = {"us-east-1": 0.40, "eu-west-1": 0.25, "ap-southeast-1": 0.20, "sa-east-1": 0.15}
CAPACITY_SHARE: Mapping[str, float] = {"us-east-1": 0.44, "eu-west-1": 0.27, "ap-southeast-1": 0.25, "sa-east-1": 0.04}
HEADROOM = 2.5
"""Total capacity as a multiple of the load, unless `--capacity` says otherwise."""


def rtt_ms(view: str, region: str) -> float:
    """Return the simulated round trip between two regions."""
    return LOCAL_RTT_MS if view == region else RTT_MS[frozenset({view, region})]


def fleet(region: str) -> str:
    """Return the name of the fleet that a region's sidecar belongs to."""
    return f"demo-{region}"


def region_cluster(region: str) -> str:
    """Return the name of the Envoy cluster for the demo's service in a region."""
    return f"{SERVICE}@{region}"


LOGGED_RPS = 500.0

SLACK = 3.0
"""How much more than the policy says a backend takes, unless `--capacity` is given: a small region's random bursts are
not an overload, and a plain write that meets one has failed."""


@dataclass(frozen=True, slots=True)
class Topology:
    """One run's addresses and sizes. Every port is on the loopback address."""

    rps: float
    capacity_rps: float
    backend_ports: Mapping[str, tuple[int, ...]]
    sidecar_ports: Mapping[str, int]
    envoy_admin_ports: Mapping[str, int]
    xds_port: int
    admin_port: int
    slack: float = 1.0

    @classmethod
    def of(cls, rps: float, capacity_rps: float | None, ports: tuple[int, ...]) -> Topology:
        """Deal out `ports` (`ports_needed()` of them)."""
        rest = iter(ports)
        return cls(
            rps=rps,
            capacity_rps=capacity_rps or HEADROOM * rps,
            backend_ports={region: tuple(next(rest) for _ in range(BACKENDS_PER_REGION)) for region in REGIONS},
            sidecar_ports={region: next(rest) for region in REGIONS},
            envoy_admin_ports={region: next(rest) for region in REGIONS},
            xds_port=next(rest),
            admin_port=next(rest),
            slack=1.0 if capacity_rps else SLACK,
        )

    @property
    def sampled(self) -> float:
        """Return the share of requests that sidecars log: a few hundred a second, or percentiles mean nothing."""
        return max(0.05, min(1.0, LOGGED_RPS / self.rps))

    def capacity_of(self, region: str) -> float:
        """Return what all backends of a region can serve together, in requests per second."""
        return self.capacity_rps * CAPACITY_SHARE[region]

    def limit_of(self, region: str) -> float:
        """Return the rate above which one backend of a region answers 503, in requests per second."""
        return self.slack * self.capacity_of(region) / BACKENDS_PER_REGION

    def demand_of(self, view: str) -> float:
        """Return the load sent through a view's sidecar, in requests per second."""
        return self.rps * DEMAND_SHARE[view]


def ports_needed() -> int:
    """Return how many ports one run takes."""
    return len(REGIONS) * (BACKENDS_PER_REGION + 2) + 2


_HEADER = """\
# The policy of the running demo. Edit and save it: the sidecars follow within about a second.
# Things to try:
#   - give sa-east-1 a capacity of {plenty}: its view stays at home
#   - add `drain: true` to a region:   eu-west-1: {{drain: true, latency: ...}}
#   - make a mistake: the edit is refused, the screen says where, and the last good policy stays in force
"""

_DEFAULTS = """\
defaults:
  health: {path: /healthz, interval: 1s, timeout: 500ms, unhealthy_after: 2, healthy_after: 3}
  reserve: 20%      # of capacity, kept free by planned routing
  ramp_up: 10s      # a recovered region gets its share back over this time
"""


def policy_text(topology: Topology) -> str:
    """Return the demo's policy as YAML an operator would write."""
    return "\n".join(
        [
            _HEADER.format(plenty=_rate(topology.capacity_rps / 4)),
            "version: 1\nregions:" + _regions(),
            _DEFAULTS,
            "fleets:             # one per region: all four sidecars share this host, so each needs its own port",
            "                    # access_logs: the share that tells latencies; 5 % is plenty with more traffic",
            *(_fleet(r, topology.sidecar_ports[r], topology.sampled) for r in REGIONS),
            f"\nservices:\n  {SERVICE}:\n    hosts: [{HOST}]",
            "    demand: {" + ", ".join(f"{r}: {_rate(topology.demand_of(r))}" for r in REGIONS) + "}",
            "    deployments:" + _deployments(topology),
            "",
        ]
    )


def _fleet(region: str, port: int, sampled: float) -> str:
    return f'  {fleet(region)}: {{listen: "127.0.0.1:{port}", access_logs: {sampled:.0%}}}'


def _regions() -> str:
    """Return the `regions:` block; each pair of regions is named once, under the earlier one."""
    lines = []
    for at, region in enumerate(REGIONS):
        latency = ", ".join(f"{other}: {rtt_ms(region, other):g}ms" for other in REGIONS[at + 1 :])
        lines.append(f"\n  {region}: " + (f"{{latency: {{{latency}}}}}" if latency else "{}"))
    return "".join(lines) + "\n"


def _deployments(topology: Topology) -> str:
    lines = []
    for region in REGIONS:
        endpoints = ", ".join(f'"127.0.0.1:{port}"' for port in topology.backend_ports[region])
        lines.append(f"\n      {region}: {{endpoints: [{endpoints}], capacity: {_rate(topology.capacity_of(region))}}}")
    return "".join(lines)


def _rate(rps: float) -> str:
    return f"{max(rps, 1.0):.0f}"
