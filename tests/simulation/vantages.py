"""Partitions of those who look: what the health book believes when some of them cannot see, or cannot be heard.

A life of fourteen seconds. Four regions, each with a view; the control plane is somewhere else. All is well at first.
Then the network falls apart as a seed says: regions and control plane into two groups that cannot reach each other, or
single links are cut, or the control plane alone cannot reach some regions; and in half of the lives a region dies at
about the same time, refusing or silent. Reports reach the control plane by the same network or by another.

What makes it hard is time, so that is modelled as it is: everybody looks at a moment of his own, an answer that does
not come is a failure half a second later, an Envoy repeats its last result every second until it has the next, and what
load reports count is two seconds old when it arrives. Traffic that meets a dead host fails for a moment and then stops,
because Envoys eject the host; some go on trying.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.faults import REGIONS
from tests.simulation.world import SERVICE, policy
from xds_server.decision.health import HealthBook
from xds_server.decision.verdicts import Place
from xds_server.model import Address, LoadReport, Observation, Target

POLICY = policy()
TARGETS = tuple(
    Target(SERVICE, region, Address(e.host, e.port))
    for region, deployment in POLICY.services[SERVICE].deployments.items()
    for e in deployment.endpoints
)
MONITOR = "controlplane"
BREAKS_AT, ENDS_AT, STEP_S = 5.0, 14.0, 0.2
TIMEOUT_S = 0.5
SETTLED_S = 6.0
"""A view that could reach a region for so long has been heard of by everybody who looks and can be heard."""

Pair = tuple[str, str]


@dataclass
class Break:
    """What a seed breaks: links from a view or the control plane to a region, who is not heard, and who dies when."""

    cut: set[Pair] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    dead: str = ""
    dies_at: float = BREAKS_AT
    hangs: bool = False

    def reaches(self, who: str, region: str, at: float) -> bool:
        """Return whether requests from there are answered at that time."""
        dead = region == self.dead and at >= self.dies_at
        return not dead and not ((who, region) in self.cut and at >= BREAKS_AT)

    def __str__(self) -> str:
        links = ", ".join(f"{who} > {region}" for who, region in sorted(self.cut)) or "no link"
        died = f"; {self.dead} dies at {self.dies_at:.1f} s{', silent' if self.hangs else ''}" if self.dead else ""
        return f"{links} cut{died}" + (f"; not heard: {', '.join(sorted(self.silent))}" if self.silent else "")


def broken(dice: random.Random) -> Break:
    """Make up what breaks."""
    what, nodes = Break(hangs=dice.random() < 0.5), [MONITOR, *REGIONS]
    how = dice.choice(("groups", "groups", "links", "monitor", "none"))
    if how == "groups":
        group = set(dice.sample(nodes, dice.randint(1, 4)))
        what.cut = {(a, b) for a in nodes for b in REGIONS if a != b and (a in group) != (b in group)}
        if dice.random() < 0.6:
            what.silent = {region for region in REGIONS if (region in group) != (MONITOR in group)}
    elif how == "links":
        pairs = [(a, b) for a in nodes for b in REGIONS if a != b]
        what.cut = set(dice.sample(pairs, dice.randint(1, 4)))
    elif how == "monitor":
        what.cut = {(MONITOR, region) for region in dice.sample(REGIONS, dice.randint(1, 4))}
    if dice.random() < 0.5 or not what.cut:
        what.dead, what.dies_at = dice.choice(REGIONS), BREAKS_AT + dice.uniform(-2.0, 2.0)
    return what


@dataclass(frozen=True)
class Left:
    """A view that a region was taken from: when, and whether the view could reach it all the time until then."""

    view: str
    region: str
    at: float
    well: bool


class Life:
    """One life of a health book among vantages."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.broken = broken(self.dice)
        self.book = HealthBook()
        self.book.configure(POLICY, TARGETS)
        self.watchers = {view: self.dice.choice((0, 1, 2, 3, 3)) for view in REGIONS}
        self.rates = {view: self._rates(view) for view in REGIONS}
        self.stubborn = self.dice.random() < 0.3
        self.left: dict[Pair, Left] = {}
        self.held = False

    def _rates(self, view: str) -> dict[str, float]:
        """Return how many requests a second a view sends where: mostly to its own region."""
        total = self.dice.choice((4.0, 40.0, 400.0, 10_000.0))
        rates = {view: total}
        for other in self.dice.sample([r for r in REGIONS if r != view], self.dice.randint(0, 2)):
            rates[other] = 0.3 * total
        return rates

    def looks(self, view: str, region: str) -> bool:
        """Return whether a view has a word on a region: by probes, or by enough traffic."""
        return bool(self.watchers[view] and view != region) or self.rates[view].get(region, 0.0) >= 20.0

    def run(self) -> None:
        """Live."""
        events = sorted(self._events(), key=lambda event: event[0])
        now, at = 0.0, 0
        while now < ENDS_AT:
            now = round(now + STEP_S, 3)
            while at < len(events) and events[at][0] <= now:
                self.hear(events[at][1])
                at += 1
            _, news = self.book.assess(now)
            self.held |= any("monitor suspect" in event.message for event in news)
            self._note(now)

    def hear(self, said: Observation | LoadReport) -> None:
        """Hand on what a vantage says."""
        if isinstance(said, Observation):
            self.book.learn(said)
        else:
            self.book.learn_load(said)

    def _note(self, now: float) -> None:
        for region in REGIONS:
            place = Place(SERVICE, region)
            down, cuts = not self.book.verdict(place).serves, self.book.cuts(place)
            for view in REGIONS:
                if down or view in cuts:
                    well = all(self.broken.reaches(view, region, at) for at in (now, now - SETTLED_S))
                    self.left.setdefault((view, region), Left(view, region, now, well))

    def _events(self) -> Iterator[tuple[float, Observation | LoadReport]]:
        yield from self._monitor()
        for view in REGIONS:
            if self.watchers[view]:
                yield from self._probes(view)
            yield from self._loads(view)

    def _heard(self, view: str, at: float) -> bool:
        return not (view in self.broken.silent and at >= BREAKS_AT)

    def _results(self, who: str, target: Target, interval_s: float) -> Iterator[tuple[float, bool]]:
        """Yield when a prober has each result, and which."""
        at = self.dice.uniform(0.0, interval_s)
        while at < ENDS_AT:
            up = self.broken.reaches(who, target.region, at)
            refused = target.region == self.broken.dead and not self.broken.hangs and at >= self.broken.dies_at
            yield at + (0.002 if up or refused else TIMEOUT_S), up
            at += interval_s * (1.0 if who == MONITOR else self.dice.uniform(1.0, 1.1))

    def _monitor(self) -> Iterator[tuple[float, Observation]]:
        for target in TARGETS:
            for at, up in self._results(MONITOR, target, 1.0):
                yield at, Observation(MONITOR, target, up, at, detail="" if up else "no answer")

    def _probes(self, view: str) -> Iterator[tuple[float, Observation]]:
        """What the watchers of a view report: each its last result of every endpoint abroad, every second."""
        abroad = [target for target in TARGETS if target.region != view]
        for number in range(self.watchers[view]):
            results = {target: list(self._results(view, target, 1.0)) for target in abroad}
            report = self.dice.uniform(0.0, 1.0)
            while report < ENDS_AT:
                for target, found in results.items():
                    last = [up for at, up in found if report - 3.0 <= at <= report]
                    if last and self._heard(view, report):
                        detail = "" if last[-1] else "Envoy's probe failed"
                        yield report, Observation(f"{view}-{number}", target, last[-1], report, None, detail, view)
                report += 1.0

    def _loads(self, view: str) -> Iterator[tuple[float, LoadReport]]:
        """What the Envoys of a view count in a second, handed on with the next sum of the control plane."""
        phase, flush = self.dice.uniform(0.0, 1.0), self.dice.uniform(0.0, 1.0)
        for region, rate in self.rates[view].items():
            for second in range(int(ENDS_AT)):
                until = second + phase
                counts = [self._second(view, region, rate, until - 1.0 + part / 10) for part in range(10)]
                good, bad = round(sum(c[0] for c in counts)), round(sum(c[1] for c in counts))
                at = until + (flush - until) % 1.0
                if self._heard(view, until):
                    yield at, LoadReport("lrs", view, SERVICE, region, good + bad, good, bad, 0, 1.0, at)

    def _second(self, view: str, region: str, rate: float, at: float) -> tuple[float, float]:
        """Return what succeeds and fails in a tenth of a second: what meets a dead host is ejected after a while."""
        if self.broken.reaches(view, region, at):
            return rate / 10 * 0.995, rate / 10 * 0.005
        began = max(
            self.broken.dies_at if region == self.broken.dead else 0.0, BREAKS_AT * ((view, region) in self.broken.cut)
        )
        ejected = at - began > 0.4 and not self.stubborn
        return 0.0, 0.1 if ejected else rate / 10


def false_evacuations(life: Life) -> list[Left]:
    """Return the views that were heard, could reach a region, look at it, and were taken off it."""
    return [
        left
        for left in life.left.values()
        if left.well and left.view not in life.broken.silent and life.looks(left.view, left.region)
    ]


def held(life: Life) -> bool:
    """Return whether a region is dead, and an alarm says that this is not believed: more than half of the capacity
    seems to fail at once, and neither traffic nor the probes of two views that are heard bear it out."""
    return bool(life.broken.dead) and "monitor suspect" in life.book.verdict(Place(SERVICE, life.broken.dead)).reason


def missed(life: Life) -> list[str]:
    """Return the views that are heard and still sent to a region that is dead, although they have where to go."""
    dead = life.broken.dead
    return [
        view
        for view in REGIONS
        if dead
        and not held(life)
        and view not in life.broken.silent
        and (view, dead) not in life.left
        and any(life.broken.reaches(view, region, ENDS_AT) for region in REGIONS)
    ]
