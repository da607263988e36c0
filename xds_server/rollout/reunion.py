"""When a trial may begin after a restart: once the clients of the process before are back.

A trial asks clients that are connected, and a process that has just started has none. An edit that changes nothing for
anybody connected is in force at once, so a policy that was on trial when the process ended would be in force untried,
for everybody, a second after the start. So it waits: until the first client is back and the others had `OTHERS_S` to
come as well, because a cohort has some of every kind; and at most `FIRST_S`, because perhaps nobody ever comes. The
policy in force before is in force meanwhile, and whoever comes gets that.

`OTHERS_S` follows from the back-off of our bootstraps (snapshot/bootstrap.py: 5 s at most). The cohort is chosen anew,
by the same hash of policy and client: if the same clients are back, it is the same one.

Rejected: to remember who was in the cohort, and to go on with those. Streams have new numbers, some may not come back,
and what they have of the policy on trial is not known. Also rejected: to try whatever the file says at a start. A
process that was away for days would serve what was in force then to clients that have long had newer content from
another control plane; a trial that was under way says that it was not away for long in the middle of anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_S = 60.0
OTHERS_S = 5.0


@dataclass(frozen=True, slots=True)
class Reunion:
    """Waiting for clients since a start; times are in seconds on the controller's clock."""

    over_at: float
    met: bool = False

    def joined(self, now: float) -> Reunion:
        """Take in that a client has come."""
        return self if self.met else replace(self, over_at=min(self.over_at, now + OTHERS_S), met=True)


def begin(now: float) -> Reunion:
    """Begin to wait."""
    return Reunion(now + FIRST_S)
