"""One trial of a new policy: a cohort gets it first, the rest when the cohort has acknowledged it.

What an operator wrote can be wrong in ways that only an Envoy can tell (a taken port, an extension it does not have).
So a policy-born change goes to a cohort: a share of the connected clients that are sent something else by it (one for
which nothing changes accepts anything), at least one of each kind (what one kind takes says nothing of another), chosen
by a hash of policy and client, so that it is not always the same ones. Everybody else goes on under the policy in
force, whose weights and endpoints keep following health meanwhile. How a trial ends:

    it changes nothing for anybody connected         promoted at once: there is nobody to ask
    all of the cohort acknowledge                    promoted
    one rejects something that is new in it          rolled back, with Envoy's words
    a member leaves                                  another takes its place, of its kind if there is one; once a place
    a member leaves again, or nobody is left         rolled back: what makes Envoys leave is not good for the rest
    the time is up, some have acknowledged           promoted, with a warning that names the silent ones
    the time is up, none has                         rolled back

Rejected: promotion after a time without complaints, which is what an Envoy that hangs looks like.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple


class Client(NamedTuple):
    """A connected client: the number of its stream (it has another after a reconnect), its own name, and its kind."""

    stream: int
    node_id: str
    kind: str = ""


class Ended(NamedTuple):
    """How a trial ended, and why, in words. `silent` are members that had not answered."""

    promoted: bool
    reason: str
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial under way. `digest` is the policy's, times are in seconds on the controller's clock."""

    digest: str
    members: Mapping[int, Client]
    settled: frozenset[int]
    replaced: int
    places: int
    deadline: float

    @property
    def waiting(self) -> tuple[Client, ...]:
        """Return the members that have not acknowledged everything yet."""
        return tuple(client for stream, client in self.members.items() if stream not in self.settled)


def begin(digest: str, clients: Mapping[int, Client], share: float, timeout_s: float, now: float) -> Trial | Ended:
    """Choose a cohort: `share` (0..1) of each kind, at least one. `clients` are those for which something changes.

    With no clients the trial ends where it begins.
    """
    if not clients:
        return Ended(promoted=True, reason="it changes nothing for any client that is connected")
    members: dict[int, Client] = {}
    for kind in sorted({client.kind for client in clients.values()}):
        ranked = _ranked(digest, {number: client for number, client in clients.items() if client.kind == kind})
        members |= {client.stream: client for client in ranked[: max(1, math.ceil(share * len(ranked)))]}
    return Trial(digest, members, frozenset(), 0, len(members), now + timeout_s)


def settled(trial: Trial, stream: int) -> Trial | Ended:
    """Take in that a client has acknowledged everything it was sent."""
    if stream not in trial.members:
        return trial
    after = replace(trial, settled=trial.settled | {stream})
    if after.waiting:
        return after
    return Ended(promoted=True, reason=f"acknowledged by {names(trial.members.values())}")


def refused(trial: Trial, stream: int, error: str) -> Trial | Ended:
    """Take in that a client rejected something that is new in the trial."""
    client = trial.members.get(stream)
    return trial if client is None else Ended(promoted=False, reason=f"rejected by {client.node_id}: {error}")


def left(trial: Trial, stream: int, clients: Mapping[int, Client]) -> Trial | Ended:
    """Take in that a client has gone; `clients` are those that could take its place."""
    client = trial.members.get(stream)
    if client is None:
        return trial
    members = {number: member for number, member in trial.members.items() if number != stream}
    spare = {number: other for number, other in clients.items() if number not in members and number != stream}
    if stream in trial.settled:
        return _shrunk(trial, members)
    if trial.replaced >= trial.places or not spare:
        return Ended(promoted=False, reason=f"{client.node_id} disconnected before it acknowledged")
    alike = {number: other for number, other in spare.items() if other.kind == client.kind}
    substitute = _ranked(trial.digest, alike or spare)[0]
    return replace(trial, members={**members, substitute.stream: substitute}, replaced=trial.replaced + 1)


def overdue(trial: Trial, now: float) -> Trial | Ended:
    """Take in that time has passed."""
    if now < trial.deadline:
        return trial
    silent = tuple(client.node_id for client in trial.waiting)
    if trial.settled:
        return Ended(promoted=True, reason="acknowledged by part of the cohort in time", silent=silent)
    return Ended(promoted=False, reason=f"not acknowledged in time by {', '.join(silent)}", silent=silent)


def _shrunk(trial: Trial, members: dict[int, Client]) -> Trial | Ended:
    """Take out a member that had acknowledged: it has said its word, the others decide."""
    after = replace(trial, members=members)
    if members and after.waiting:
        return after
    return Ended(promoted=True, reason="acknowledged by the cohort")


def _ranked(digest: str, clients: Mapping[int, Client]) -> list[Client]:
    def rank(client: Client) -> tuple[bytes, int]:
        return hashlib.sha256(f"{digest}\0{client.node_id}".encode()).digest(), client.stream

    return sorted(clients.values(), key=rank)


def names(clients: Iterable[Client]) -> str:
    """Return the clients' names for a sentence, the first three of them and how many more."""
    found = sorted(client.node_id for client in clients)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more
