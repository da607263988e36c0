"""Who gets in, and as whom: places clients in the policy and turns away those that it has no place for.

Between the policy's rules (policy/clients.py) and what the services of the xDS port ask: which view is this node's, may
this certificate be that node, may it report on that region. Somebody who is turned away is told why, and so is the
operator: once a minute for each certificate, with how often meanwhile, because a refused Envoy tries again every few
seconds for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable

from xds_server.model import Event, ViewKey
from xds_server.policy.clients import Clients, shown
from xds_server.policy.types import Policy
from xds_server.protocol.events import Code, Identified, ProtocolError
from xds_server.snapshot.kinds import kind_of
from xds_server.transport.clients import ClientStatus, Refused
from xds_server.transport.services import Method

TELL_EVERY_S = 60.0
MOST_TOLD = 1_000
"""Certificates that are remembered as told of; one more, and all may be told of again."""


class Doorkeeper:
    """Judges by the policy in force. `tell` hears of who was denied, `count` of every single time, by service."""

    def __init__(self, tell: Callable[[Event], None], count: Callable[[str], None], now: Callable[[], float]) -> None:
        self._tell = tell
        self._count = count
        self._now = now
        self._policy: Policy | None = None
        self._clients = Clients()
        self._told: dict[tuple[str, ...], tuple[float, int]] = {}

    def follow(self, policy: Policy) -> None:
        """Judge by this policy from now on."""
        self._policy = policy
        self._clients = Clients(policy.clients)

    def assign(self, node: Identified, method: Method | None = None) -> ViewKey:
        """Return the view of a client that asks by this method. Raises Refused with what to put in its bootstrap."""
        return self._assign(node, "xds", delta=method is not None and method.aggregated_delta)

    def view_of(self, node: Identified) -> ViewKey | None:
        """Return the view of a client that reports; None if it has none. Raises ProtocolError if it may not have it."""
        try:
            return self._assign(node, "signals")
        except Refused as error:
            if error.code is Code.PERMISSION_DENIED:
                raise ProtocolError(error.code, error.message) from error
            return None

    def visible(self, identities: tuple[str, ...], client: ClientStatus) -> bool:
        """Return whether who has these names in its certificate may see what a client has."""
        return self._clients.may_speak(identities, client.node.node_id, client.view.fleet, client.view.region)

    def objection(self, identities: tuple[str, ...], region: str) -> str:
        """Return why a peer may not report on a region as an agent; empty if it may."""
        if self._clients.may_report(identities, region):
            return ""
        words = (
            f"{shown(identities)} may not report on region {region[:100]}: no entry of clients: lets it (agent: true)"
        )
        self._denied("agents", identities, words)
        return words

    def _assign(self, node: Identified, service: str, *, delta: bool = False) -> ViewKey:
        if self._policy is None:
            raise Refused(Code.UNAVAILABLE, "no policy yet")
        regions = ", ".join(self._policy.regions)
        if node.region not in self._policy.regions:
            what = (
                f"node.locality.region {node.region[:100]!r} is not in the policy"
                if node.region
                else "no node.locality.region"
            )
            raise Refused(Code.FAILED_PRECONDITION, f"{what}; set it in the bootstrap to one of: {regions}")
        fleet = self._policy.fleet_for(node.cluster)
        if fleet is None:
            known = ", ".join(self._policy.fleets)
            what = f"node.cluster {node.cluster[:100]!r} is not a fleet of the policy"
            raise Refused(Code.FAILED_PRECONDITION, f"{what}; set it in the bootstrap to one of: {known}")
        if not self._clients.may_speak(node.identities, node.node_id, fleet.name, node.region):
            claim = f"node {node.node_id[:100]!r} of fleet {fleet.name} in region {node.region}"
            words = f"{shown(node.identities)} may not speak as {claim}: no entry of clients: lets it"
            self._denied(service, node.identities, words)
            raise Refused(Code.PERMISSION_DENIED, words)
        return ViewKey(fleet.name, node.region, kind_of(node.agent, node.version, delta=delta))

    def _denied(self, service: str, identities: tuple[str, ...], words: str) -> None:
        self._count(service)
        at = self._now()
        told, since = self._told.get(identities, (-TELL_EVERY_S, 0))
        if at - told < TELL_EVERY_S:
            self._told[identities] = told, since + 1
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[identities] = at, 0
        again = f" ({since} more since it was last said)" if since else ""
        fields = (("service", service), ("identity", ", ".join(identities)[:200]))
        self._tell(Event("client.denied", at, words + again, "warning", fields))
