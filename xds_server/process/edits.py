"""What the policy file says, against the policy in force: what goes to the controller, and what operators are told.

    the file says                        then
    nothing that may be used             alarm; whatever is in force stays
    what Envoys have rejected            nothing: that stands, until the file says something else or somebody retries
    what was offered last                nothing, but that an error in between is mended
    another policy                       its warnings; it is offered to the controller, which tries it

    the controller says                  then
    it is in force                       the texts that it came from are what to keep
    it was rolled back                   an error of the file, if that still says it; kept for a retry

What a file says is known here by the digest of its policy. No files and no clock: readings and times come in, policies
and events go out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from xds_server.model import Event
from xds_server.operator.views import PolicyStatus
from xds_server.policy.types import Policy
from xds_server.signals.policy_reader import Accepted, Reading, Rejected


class Step(NamedTuple):
    """What follows from a reading: a policy to offer to the controller, if any, and what operators are told."""

    policy: Policy | None
    events: tuple[Event, ...] = ()


class Edits:
    """Where the edits of one policy file are. `source` is its name, `status` what is to be shown of it."""

    def __init__(self, source: str) -> None:
        self.status = PolicyStatus(source)
        self._source = source
        self._offered: Accepted | None = None
        self._rolled_back: Accepted | None = None

    def read(self, reading: Reading, now: float) -> Step:
        """Take what the file says at `now` (seconds, the events' clock)."""
        if isinstance(reading, Rejected):
            return Step(None, (self._reject(reading, now),))
        digest = reading.policy.digest
        if _says(self._rolled_back, digest):
            return Step(None)
        mended = bool(self.status.rejected)
        self.status = replace(self.status, source=self._source, rejected=())
        if _says(self._offered, digest):
            words = "the policy file says again what is in force"
            return Step(None, (Event("policy.restored", now, words),) if mended else ())
        self._offered, self._rolled_back = reading, None
        warnings = (Event("policy.warning", now, warning, "warning") for warning in reading.warnings)
        return Step(reading.policy, tuple(warnings))

    def _reject(self, reading: Rejected, now: float) -> Event:
        errors = reading.errors
        self._rolled_back = None
        self.status = replace(self.status, source=reading.source, rejected=errors)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        words = f"policy rejected, the last good one stays in force: {errors[0]}{more}"
        return Event("policy.rejected", now, words, "alarm", (("errors", str(len(errors))),))

    def on_trial(self, policy: Policy | None) -> bool:
        """Note which policy is on trial or waits for it; True if that changed."""
        digest = policy.digest if policy is not None else None
        changed = digest != self.status.trial
        if changed:
            self.status = replace(self.status, trial=digest)
        return changed

    def in_force(self, policy: Policy) -> Accepted | None:
        """Note that a policy came in force; return the reading that it is from, unless the file says another by now."""
        self.status = replace(self.status, source=self._source, digest=policy.digest)
        return self._offered if _says(self._offered, policy.digest) else None

    def roll_back(self, digest: str, reason: str) -> bool:
        """Note that Envoys rejected a policy; False if the file says something newer by now."""
        if not _says(self._offered, digest):
            return False
        self._rolled_back, self._offered = self._offered, None
        self.status = replace(self.status, source=self._source, rejected=(f"policy {digest}: {reason}",))
        return True

    def rolled_back_before(self, reading: Accepted, reason: str) -> None:
        """Note that what the file says was rolled back in an earlier process."""
        self._offered = reading
        self.roll_back(reading.policy.digest, reason)

    def retry(self) -> Policy | None:
        """Return the policy that was rolled back, to be offered once more; None if there is none."""
        again, self._rolled_back = self._rolled_back, None
        if again is None:
            return None
        self._offered = again
        self.status = replace(self.status, source=self._source, rejected=())
        return again.policy


def _says(reading: Accepted | None, digest: str) -> bool:
    return reading is not None and reading.policy.digest == digest
