"""The last decision, worked out again from what a control plane kept: for an Envoy that must start without one."""

from __future__ import annotations

from pathlib import Path

from xds_server.controller import Controller
from xds_server.model import ViewKey
from xds_server.policy.errors import PolicyError
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import Joined
from xds_server.snapshot.resource import Snapshot
from xds_server.snapshot.tls import with_file_names
from xds_server.step import Inputs
from xds_server.store.codec import CorruptError, from_json
from xds_server.store.state import STATE, kept


class NothingKeptError(Exception):
    """The state directory does not hold what is needed; the message says what, and what to do."""


def last_snapshot(state_dir: Path, node_cluster: str, region: str) -> Snapshot:
    """Return the snapshot that an Envoy of this fleet and region had last. Raises NothingKeptError.

    The directory may be in use: it is only read.
    """
    state, text = kept(state_dir)
    if state is None or text is None:
        raise NothingKeptError(f"{state_dir} holds no decision: it is filled by `xds-server serve … --state-dir`")
    try:
        policy = with_file_names(parse(text, str(state_dir / STATE)).policy)
        memory = from_json(state, 0.0)
    except (PolicyError, CorruptError) as error:
        raise NothingKeptError(f"{state_dir} cannot be used: {error}") from error
    view = _view(policy, node_cluster, region)
    reader = Joined(0, "", view)
    return Controller(memory).step(Inputs(policy=policy, clients=(reader,)), 0.0).snapshots[view]


def _view(policy: Policy, node_cluster: str, region: str) -> ViewKey:
    fleet = policy.fleet_for(node_cluster)
    if fleet is None:
        raise NothingKeptError(
            f"the policy has no fleet {node_cluster!r}; --cluster is one of {', '.join(policy.fleets)}"
        )
    if region not in policy.regions:
        raise NothingKeptError(f"the policy has no region {region!r}; --region is one of {', '.join(policy.regions)}")
    return ViewKey(fleet.name, region)
