"""What the policy file says, against the policy in force: readings and words of the controller in, policies out."""

from __future__ import annotations

from xds_server.policy.parse import parse
from xds_server.process.edits import Edits
from xds_server.signals.policy_reader import Accepted, Rejected

SOURCE = "policy.yaml"
WORDS = "rejected by e1: cannot bind"


def says(capacity: int, *warnings: str) -> Accepted:
    text = f"""
version: 1
regions: {{east: {{}}}}
services: {{shop: {{deployments: {{east: {{endpoints: ["127.0.0.1:80"], capacity: {capacity}}}}}}}}}
"""
    return Accepted(parse(text.encode(), SOURCE).policy, text.encode(), warnings)


ONE, TWO, THREE = says(1), says(2), says(3)
BAD = Rejected(SOURCE, ("policy.yaml:1:1: no", "policy.yaml:2:1: nor this"))


def in_force(reading: Accepted) -> Edits:
    edits = Edits(SOURCE)
    assert edits.read(reading, 0.0).policy is reading.policy
    assert edits.in_force(reading.policy) is reading
    return edits


def kinds(edits: Edits, reading: Accepted | Rejected) -> list[str]:
    return [event.kind for event in edits.read(reading, 1.0).events]


def errors(edits: Edits) -> list[str]:
    return list(edits.status.rejected)


def test_another_policy_is_offered_with_its_warnings() -> None:
    edits, edit = in_force(ONE), says(2, "a is odd", "b is odd")
    policy, events = edits.read(edit, 5.0)
    assert policy is edit.policy
    assert [(event.at, event.message, event.severity) for event in events] == [
        (5.0, "a is odd", "warning"),
        (5.0, "b is odd", "warning"),
    ]
    assert edits.status.digest == ONE.policy.digest
    edits.in_force(edit.policy)
    assert (edits.status.digest, edits.status.rejected) == (edit.policy.digest, ())


def test_what_is_in_force_or_offered_already_is_not_offered_again() -> None:
    edits = in_force(ONE)
    assert edits.read(says(1), 1.0) == (None, ())
    edits.read(TWO, 2.0)
    assert edits.read(says(2), 3.0) == (None, ())
    assert edits.read(says(1), 4.0).policy == ONE.policy  # back, in mid-trial


def test_a_bad_file_is_an_alarm_until_it_is_mended_and_changes_nothing() -> None:
    edits = in_force(ONE)
    policy, (event,) = edits.read(BAD, 1.0)
    assert policy is None
    assert (event.kind, event.severity, event.fields) == ("policy.rejected", "alarm", (("errors", "2"),))
    assert event.message.endswith("policy.yaml:1:1: no (and 1 more)")
    assert (edits.status.digest, edits.status.rejected) == (ONE.policy.digest, BAD.errors)
    assert kinds(edits, says(1)) == ["policy.restored"]
    assert edits.status.rejected == ()
    assert kinds(edits, says(1)) == []


def test_a_policy_that_came_in_force_after_the_file_said_another_is_not_the_files() -> None:
    edits = in_force(ONE)
    edits.read(TWO, 1.0)
    edits.read(THREE, 2.0)
    assert edits.in_force(TWO.policy) is None
    assert edits.status.digest == TWO.policy.digest


def test_what_envoys_rejected_stands_until_the_file_says_something_else() -> None:
    edits = in_force(ONE)
    edits.read(TWO, 1.0)
    assert edits.roll_back(TWO.policy.digest, WORDS)
    assert errors(edits) == [f"policy {TWO.policy.digest}: {WORDS}"]
    assert edits.read(says(2), 2.0) == (None, ())
    assert errors(edits) == [f"policy {TWO.policy.digest}: {WORDS}"]
    assert edits.read(THREE, 3.0).policy is THREE.policy
    assert errors(edits) == []
    assert edits.read(says(2), 4.0).policy == TWO.policy


def test_a_bad_file_in_between_makes_it_new_again() -> None:
    edits = in_force(ONE)
    edits.read(TWO, 1.0)
    edits.roll_back(TWO.policy.digest, WORDS)
    edits.read(BAD, 2.0)
    assert edits.read(says(2), 3.0).policy == TWO.policy


def test_a_rollback_of_what_the_file_no_longer_says_is_no_error_of_it() -> None:
    edits = in_force(ONE)
    edits.read(TWO, 1.0)
    edits.read(THREE, 2.0)
    assert not edits.roll_back(TWO.policy.digest, WORDS)
    assert edits.status.rejected == ()
    assert edits.retry() is None


def test_a_retry_offers_what_was_rolled_back_once() -> None:
    edits = in_force(ONE)
    edits.rolled_back_before(TWO, WORDS)
    assert edits.status.rejected
    assert edits.retry() is TWO.policy
    assert edits.status.rejected == ()
    assert edits.retry() is None
    assert edits.in_force(TWO.policy) is TWO


def test_which_policy_is_on_trial_is_shown_and_told_once() -> None:
    edits = in_force(ONE)
    assert [edits.on_trial(TWO.policy), edits.on_trial(TWO.policy)] == [True, False]
    assert edits.status.trial == TWO.policy.digest
    assert [edits.on_trial(None), edits.on_trial(None)] == [True, False]
    assert edits.status.trial is None
