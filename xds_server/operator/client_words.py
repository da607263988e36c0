"""What clients say, as events for the operator: who came, who left, who was refused, who rejected what.

Acknowledgements and subscriptions are counted (metrics) and shown (`/api/v1/fleet`), but they are not news.

Who connects and fails again and again must not fill the log and push everything else out of what is kept. So of each
kind `AT_ONCE` events are told for each address, then one every `EVERY_S`, with how many there were besides. Addresses
and not clients are counted, because a client may call itself something else each time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from xds_server.model import Event, Severity
from xds_server.operator.views import short_type
from xds_server.protocol.events import Code, Nacked
from xds_server.rollout import news
from xds_server.snapshot.resource import Key
from xds_server.transport.bucket import Bucket
from xds_server.transport.clients import ClientEvent, Closed, Connected, Moved, Settled

AT_ONCE = 50
EVERY_S = 2.0
MOST_ADDRESSES = 4_096
"""Times kinds: those that were heard of longest ago are forgotten first."""

MOST_NAMES = 10
"""Resources that are named in a rejection; `/api/v1/fleet` has them all."""


class ClientWords:
    """Makes events of what clients say, at a bounded rate for each address and kind."""

    def __init__(self) -> None:
        self._heard: OrderedDict[tuple[str, str], tuple[Bucket, int]] = OrderedDict()

    def event(self, said: ClientEvent, now: float) -> Event | None:
        """Return the event to tell of now; None if it is not news, or too much of it."""
        event = client_event(said, now)
        if event is None:
            return None
        key = (said.peer.rpartition(":")[0], event.kind)
        bucket, withheld = self._heard.pop(key, (Bucket(1 / EVERY_S, AT_ONCE, now), 0))
        told = bucket.take(now)
        self._heard[key] = bucket, 0 if told else withheld + 1
        if len(self._heard) > MOST_ADDRESSES:
            self._heard.popitem(last=False)
        if not told:
            return None
        more = f" ({withheld} more like it from there since it was last said)" if withheld else ""
        return replace(event, message=event.message + more)


def client_event(said: ClientEvent, now: float) -> Event | None:
    """Return the event of something a client said or that happened to it; None if it is not news."""
    what = said.what
    if isinstance(what, Connected):
        return _event("client.connected", "info", said, f"{_who(said)} connected", now)
    if isinstance(what, Moved):
        words = f"{_who(said)} now gets the view of {said.view and '/'.join(said.view)}"
        return _event("client.moved", "info", said, words, now)
    if isinstance(what, Nacked):
        names = ", ".join(version.name for version in what.resources[:MOST_NAMES]) or "nothing new"
        if len(what.resources) > MOST_NAMES:
            names += f" and {len(what.resources) - MOST_NAMES} more"
        words = f"{_who(said)} rejected {short_type(what.type_url)} ({names}): {what.error}"
        return _event("client.nack", "alarm", said, words, now)
    return _closed(said, what, now) if isinstance(what, Closed) else None


def client_news(said: ClientEvent) -> news.ClientNews | None:
    """Return what the controller must know of what a client said; None if decisions do not depend on it."""
    what = said.what
    if isinstance(what, Connected | Moved) and said.view is not None and said.node is not None:
        return news.Joined(said.stream, said.node.node_id, said.view)
    if isinstance(what, Closed) and said.view is not None:
        return news.Left(said.stream)
    if isinstance(what, Settled):
        return news.Settled(said.stream)
    if isinstance(what, Nacked):
        resources = tuple((Key(what.type_url, name), version) for name, version in what.resources)
        return news.Refused(said.stream, resources, what.error)
    return None


def _closed(said: ClientEvent, what: Closed, now: float) -> Event | None:
    if said.view is None and what.code == Code.PERMISSION_DENIED:
        return None  # the doorkeeper tells of these, at a bounded rate
    if said.view is None and what.code:
        return _event("client.refused", "warning", said, f"{_who(said)} refused: {what.message}", now)
    if what.code:
        return _event("client.closed", "info", said, f"{_who(said)} closed: {what.code}, {what.message}", now)
    return _event("client.gone", "info", said, f"{_who(said)} disconnected", now)


def _who(said: ClientEvent) -> str:
    if said.node is None:
        return f"a client at {said.peer}"
    what = "Envoy" if said.node.agent == "envoy" else said.node.agent or "client"
    return f"{what} {said.node.node_id or '(no id)'} at {said.peer}"


def _event(kind: str, severity: Severity, said: ClientEvent, message: str, now: float) -> Event:
    fields = [("client", said.node.node_id if said.node else ""), ("peer", said.peer)]
    if said.view is not None:
        fields += [("fleet", said.view.fleet), ("region", said.view.region), ("kind", said.view.kind)]
    return Event(kind, now, message, severity, tuple(fields))
