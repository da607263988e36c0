"""A region dies under so many services that weights go ahead of plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.world import FOUR, Incident, policy
from tests.record.world import Tape
from xds_server.controller import Controller
from xds_server.decision.decide import decide_service
from xds_server.model import TOTAL_WEIGHT, Decision, ServiceDecision
from xds_server.record.replay import replay
from xds_server.rollout.backlog import PLANS_PER_STEP
from xds_server.step import Inputs, Outcome

MANY = PLANS_PER_STEP // len(FOUR) + 10
DEAD = len(FOUR) - 1


@pytest.fixture(scope="module")
def lived() -> tuple[Controller, list[Outcome], Tape]:
    """A life until all plans are there; the outcome in which weights moved, and those after it. Recorded."""
    incident = Incident()
    incident.begin(policy(MANY, FOUR))
    incident.step(incident.seen(FOUR[DEAD]))
    tape = Tape(incident.controller)

    def step(inputs: Inputs) -> Outcome:
        tape.begin(incident.now, lost=1)
        outcome = incident.step(inputs)
        tape.took(inputs, incident.now, outcome)
        return outcome

    outcomes = [step(incident.seen(FOUR[DEAD]))]
    while outcomes[-1].wake_at == incident.now:
        incident.now += 0.02
        outcomes.append(step(Inputs()))
    return incident.controller, outcomes, tape


def told(outcome: Outcome) -> Decision:
    assert outcome.decision is not None
    return outcome.decision


def check(service: ServiceDecision) -> None:
    """Nothing goes to the dead region, in weights or in plans, and every plan is whole.

    Where it has more than half of the capacity and there are only our own probes, nobody is evacuated.
    """
    verdict = service.verdicts[DEAD]
    if verdict is not None and verdict.serves:
        assert 2 * service.capacity_rps[DEAD] > sum(service.capacity_rps)
        return
    assert not any(row[DEAD] for row in service.weights)
    assert not any(row[DEAD] for table in service.reflex for row in table)
    assert all(sum(row) == TOTAL_WEIGHT for table in service.reflex for row in table)
    assert all(row[gone] == 0 for gone, table in enumerate(service.reflex) for row in table)


def test_all_weights_move_in_the_first_step_and_no_plan_has_the_dead_region(
    lived: tuple[Controller, list[Outcome], Tape],
) -> None:
    for service in told(lived[1][0]).services:
        check(service)
    assert lived[1][0].snapshots


def test_plans_follow_and_are_told_once(lived: tuple[Controller, list[Outcome], Tape]) -> None:
    """Envoys get one set of assignments, not one for each slice; what they get are the plans for these weights."""
    controller, (ahead, *between, last), _ = lived
    assert len(between) == 1
    assert not any(outcome.decision or outcome.snapshots for outcome in between)
    assert last.snapshots
    before, after = told(ahead), told(last)
    assert [s.weights for s in before.services] == [s.weights for s in after.services]
    assert sum(a.n_minus_1 != b.n_minus_1 for a, b in zip(before.services, after.services, strict=True)) > MANY / 2
    for case in controller.cases():
        check(case.decision)
        again = decide_service(case.base, case.verdicts, case.prior, measured=case.measured)
        assert (again.reflex, again.n_minus_1) == (case.decision.reflex, case.decision.n_minus_1)
        assert (again.protection, again.reflex_overload) == (case.decision.protection, case.decision.reflex_overload)


def test_a_replay_from_between_makes_the_same_plans_in_the_same_steps(
    lived: tuple[Controller, list[Outcome], Tape],
) -> None:
    """Every segment starts a replay of its own from the state that was captured there, in the middle of the backlog."""
    runs = list(replay(lived[2].entries()))
    assert [run.difference for run in runs] == [None] * len(lived[1])


def test_a_service_that_changes_meanwhile_has_its_weights_at_once() -> None:
    incident = Incident()
    incident.begin(policy(MANY, FOUR))
    for _ in range(2):
        incident.step(incident.seen(FOUR[DEAD]))
    seen = incident.seen(FOUR[DEAD])
    second = next(t for t in seen.observations if t.target.region == FOUR[0]).target.service
    for _ in range(2):
        late = [
            replace(o, healthy=o.healthy and (o.target.region != FOUR[0] or o.target.service != second))
            for o in seen.observations
        ]
        outcome = incident.step(Inputs(observations=tuple(late)))
        seen = incident.seen(FOUR[DEAD])
    changed = next(s for s in told(outcome).services if s.service == second)
    assert not any(row[0] for row in changed.weights)
    assert not any(row[0] for table in changed.reflex for row in table)


def test_few_services_are_planned_in_the_same_step() -> None:
    incident = Incident()
    incident.begin(policy(5, FOUR))
    for _ in range(2):
        outcome = incident.step(incident.seen(FOUR[DEAD]))
    assert outcome.wake_at != incident.now
    for case in incident.controller.cases():
        again = decide_service(case.base, case.verdicts, case.prior)
        assert again.n_minus_1 == case.decision.n_minus_1
