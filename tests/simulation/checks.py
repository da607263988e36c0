"""What must hold at every moment of every simulated life. A checker sees each tick and raises `Violation`.

sums            rows of weights sum to the total; plans as well, or are all zero
zero            a region that does not serve gets no weight and no part of a plan, unless nobody serves
capacity        where demand fits the capacities, no region is planned above its own (a short while excepted)
blind           without evidence of any kind nothing moves
detection       a dead region has no weight in time
no false alarm  a region that is well is never declared down
swings          a weight changes its direction only so often in ten minutes
movement        between two things that happen no more traffic moves than there is (least movement: test_allocation.py)
convergence     weights come to rest `CONVERGED_S` after the last thing that happened; after flapping `CALMED_S`
rest            a while after the last fault the weights are the optimum again, and everybody is healthy
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise

from tests.simulation.faults import REGIONS, Scenario
from tests.simulation.world import SERVICE, Moment, World
from xds_server.controller import Controller
from xds_server.model import TOTAL_WEIGHT, Health, ServiceDecision
from xds_server.policy.types import Policy
from xds_server.step import Inputs

TRACE_LINES = 40
SWINGS_IN_S = 600.0
SMALL = 0.01 * TOTAL_WEIGHT
CONVERGED_S = 240.0
CALMED_S = 900.0
STEADY_NOISE = 0.02
"""Of the demand: more than this, or night and day, is a reason to move."""


class Violation(AssertionError):  # noqa: N818  (a finding, not an error)
    """A rule that did not hold; the message is a trace that one can read."""


class Checker:
    """Sees every tick of one life."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scenario: Scenario = world.scenario
        self.patience = 12 * self.scenario.tick_s
        self.bad_at: dict[str, float] = {}
        self.dead_since: dict[str, float] = {}
        self.short_since: float | None = None
        self.deaf_since: float | None = None
        self.before: ServiceDecision | None = None
        self.turns: dict[tuple[int, int], deque[tuple[float, int]]] = {}
        self.changes: deque[float] = deque()
        self.moved_rps = 0.0
        self.happened_at, self.moved_before = 0.0, 0.0

    def see(self, moment: Moment) -> None:
        """Check one tick."""
        decision = moment.decision
        if decision is None:
            return
        self._sums(moment, decision)
        self._zero(moment, decision)
        self._capacity(moment, decision)
        self._detection(moment, decision)
        self._false_alarm(moment)
        self._movement(moment, decision)
        self.before = decision

    def _fail(self, moment: Moment, what: str) -> None:
        lines = self.world.log[-TRACE_LINES:]
        head = f"{self.scenario.name} (seed {self.world.seed}) at {moment.now:g} s: {what}"
        faults = "\n".join(f"  {f.at:g} s to {f.until:g} s: {f}" for f in self.scenario.faults)
        raise Violation("\n".join([head, "faults:", faults, "what happened last:", *lines]))

    def _sums(self, moment: Moment, d: ServiceDecision) -> None:
        for row in d.weights:
            if sum(row) != TOTAL_WEIGHT or min(row) < 0:
                self._fail(moment, f"weights {row} do not sum to {TOTAL_WEIGHT}")
        for table in d.reflex:
            for row in table:
                if sum(row) not in {0, TOTAL_WEIGHT} or min(row) < 0:
                    self._fail(moment, f"plan {row} does not sum to {TOTAL_WEIGHT}")

    def _zero(self, moment: Moment, d: ServiceDecision) -> None:
        serves = [v is not None and v.serves for v in d.verdicts]
        if not any(serves) or not moment.alive:
            return
        for r, region in enumerate(d.regions):
            if not serves[r] and any(row[r] for row in d.weights):
                self._fail(moment, f"{region} does not serve and has weight")
            others = any(ok for i, ok in enumerate(serves) if i != r)
            for gone, table in enumerate(d.reflex):
                usable = any(ok for i, ok in enumerate(serves) if i != gone)
                if not serves[r] and others and usable and any(row[r] for row in table):
                    self._fail(moment, f"{region} does not serve and is in the plan without {d.regions[gone]}")
            if any(row[r] for row in d.reflex[r]):
                self._fail(moment, f"the plan without {region} has {region} in it")

    def _capacity(self, moment: Moment, d: ServiceDecision) -> None:
        free = 1 - self.world.policy.services[SERVICE].reserve
        usable = sum(c * free for c, v in zip(d.capacity_rps, d.verdicts, strict=True) if v and v.serves)
        fits = sum(d.demand_rps) <= 0.999 * usable and not moment.truth.cut
        if not fits or d.overload <= 1.001 or not moment.alive or not moment.heard:
            self.short_since = None
            return
        self.short_since = moment.now if self.short_since is None else self.short_since
        if moment.now - self.short_since > self.patience:
            self._fail(moment, f"overload {d.overload:.3f} although {sum(d.demand_rps):,.0f} fit into {usable:,.0f}")

    def _detection(self, moment: Moment, d: ServiceDecision) -> None:
        seen = moment.alive and moment.heard and not any(f.kind in {"monitor", "liar"} for f in self.world.holding)
        dead = [region for region in REGIONS if moment.truth.up[region] == 0.0]
        lost = sum(moment.truth.capacity[region] for region in dead)
        plain = self.scenario.reports or 2 * lost < sum(moment.truth.capacity.values())
        for r, region in enumerate(d.regions):
            if region not in dead or not seen or not plain:
                self.dead_since.pop(region, None)
                continue
            since = self.dead_since.setdefault(region, moment.now)
            if moment.now - since > self.patience and any(row[r] for row in d.weights):
                self._fail(moment, f"{region} is dead since {since:g} s and still has weight")

    def _false_alarm(self, moment: Moment) -> None:
        truth = moment.truth
        for region in REGIONS:
            cut_off = sum((view, region) in truth.cut for view in REGIONS) > 1
            lied_to = any(f.kind in {"monitor", "liar"} for f in self.world.holding)
            alone = not self.scenario.reports and not self.scenario.views_probe
            if truth.up[region] == 0 or truth.errors.get(region, 0) >= 0.25 or cut_off or (lied_to and alone):
                self.bad_at[region] = moment.now
        for event in moment.events:
            region = dict(event.fields).get("region", "")
            if event.kind == "region.down" and moment.now - self.bad_at.get(region, float("-inf")) > 30:
                self._fail(moment, f"{region} is declared down and is not: {event.message}")

    def _movement(self, moment: Moment, d: ServiceDecision) -> None:
        if not moment.heard:
            self.deaf_since = moment.now if self.deaf_since is None else self.deaf_since
        else:
            self.deaf_since = None
        before = self.before
        if before is None or before.weights == d.weights:
            return
        if self.deaf_since is not None and moment.now - self.deaf_since > 20 and not self._edited(moment.now):
            self._fail(moment, "weights moved without evidence")
        demand = list(moment.truth.demand.values())
        self._converged(
            moment,
            max(abs(a - b) for rows in zip(before.weights, d.weights, strict=True) for a, b in zip(*rows, strict=True)),
        )
        for v, (old, new) in enumerate(zip(before.weights, d.weights, strict=True)):
            self.moved_rps += demand[v] * sum(abs(a - b) for a, b in zip(old, new, strict=True)) / 2 / TOTAL_WEIGHT
            for r, (a, b) in enumerate(zip(old, new, strict=True)):
                if abs(a - b) >= SMALL:
                    self._turn(moment, (v, r), 1 if b > a else -1)

        if self.moved_rps - self.moved_before > sum(demand):
            more = f"{self.moved_rps - self.moved_before:,.0f} of {sum(demand):,.0f} req/s"
            self._fail(moment, f"{more} moved since {self.happened_at:g} s, when something last happened")

    def _converged(self, moment: Moment, largest: int) -> None:
        """Check that a change has a cause that is not too long ago."""
        edges = [0.0, *(e for f in self.scenario.faults for e in f.edges(moment.now))]
        if max(edges) > self.happened_at:
            self.happened_at, self.moved_before = max(edges), self.moved_rps
        steady = self.scenario.noise <= STEADY_NOISE and not self.scenario.day
        limit = CALMED_S if any(f.kind == "flap" for f in self.scenario.faults) else CONVERGED_S
        if steady and largest >= SMALL and moment.now - self.happened_at > limit:
            self._fail(moment, f"weights still move, {moment.now - self.happened_at:g} s after anything happened")

    def _edited(self, now: float) -> bool:
        return any(f.kind == "edit" and min(abs(now - f.at), abs(now - f.until)) < 60 for f in self.scenario.faults)

    def _turn(self, moment: Moment, cell: tuple[int, int], direction: int) -> None:
        turns = self.turns.setdefault(cell, deque())
        turns.append((moment.now, direction))
        while turns[0][0] < moment.now - SWINGS_IN_S:
            turns.popleft()
        swings = sum(a != b for (_, a), (_, b) in pairwise(turns))
        if swings > self._allowed(moment.now):
            view, region = (REGIONS[i] for i in cell)
            self._fail(moment, f"the weight of {region} for {view} turned {swings} times in ten minutes")

    def _allowed(self, now: float) -> int:
        """Return how many turns are in order: some for each time that something really changed, within a bound."""
        edges = [at for f in self.scenario.faults for at in (f.at, f.until) if now - SWINGS_IN_S <= at <= now]
        flaps = any(f.kind == "flap" and f.at <= now < f.until + SWINGS_IN_S for f in self.scenario.faults)
        return 4 + 2 * len(edges) + (14 if flaps else 0)

    def rest(self) -> None:
        """Check the end of a life that had time to recover."""
        d = self.before
        assert d is not None
        moment = Moment(
            self.scenario.length_s, self.world._truth(self.scenario.length_s), d, self.world.last, (), True, True
        )
        for region, verdict in zip(d.regions, d.verdicts, strict=True):
            if verdict is None or verdict.health is not Health.HEALTHY or min(verdict.score, verdict.ramp) < 1:
                self._fail(moment, f"{region} is still {verdict}")
        best, have = (_mean_ms(self.world.policy, w, d) for w in (_fresh(self.world.policy), d))
        if have > best + 5.0:
            self._fail(moment, f"weights cost {have:.1f} ms a request, the optimum {best:.1f} ms: {d.weights}")


def _fresh(policy: Policy) -> ServiceDecision:
    controller = Controller()
    controller.step(Inputs(policy=policy), 0.0)
    controller.step(Inputs(), 3600.0)
    assert controller.decision is not None
    return controller.decision.services[0]


def _mean_ms(policy: Policy, w: ServiceDecision, d: ServiceDecision) -> float:
    """Return the mean round trip of a request under the weights `w`, with the policy's demand."""
    cells = _cells(policy, w)
    return sum(rps * ms for rps, ms in cells) / sum(rps for rps, _ in _cells(policy, d))


def _cells(policy: Policy, d: ServiceDecision) -> Iterator[tuple[float, float]]:
    for view, row in zip(d.regions, d.weights, strict=True):
        for region, weight in zip(d.regions, row, strict=True):
            yield policy.services[SERVICE].demand_rps[view] * weight, policy.latency_ms[view, region]


def live(scenario: Scenario, seed: int = 0) -> Iterator[Moment]:
    """Live a scenario, checked at every tick and at its end."""
    world = World(scenario, seed)
    checker = Checker(world)
    for moment in world.run():
        checker.see(moment)
        yield moment
    checker.rest()
