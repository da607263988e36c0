"""What goes wrong in a simulation, and when: named scenarios, and scenarios made up from a seed.

A fault holds from `at` to `until`, in seconds. Its kinds:

    dead        all endpoints of a region refuse connections      half       one of two does
    hang        they accept and never answer                      flap       dead every other `arg` seconds
    errors      a share `arg` of requests is answered 503         slow       answers take `arg` times as long
    cut         one view cannot reach one region                  cuts       a region is cut off from all others
    monitor     every probe of the control plane fails            liar       the control plane sees one region dead
    blind       no evidence of any kind arrives                   surge      `arg` times the demand, of one view or all
    down        the control plane is dead; then it starts again   edit       another policy is in force
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

REGIONS = ("ap-southeast-1", "eu-west-1", "sa-east-1", "us-east-1")
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `region` is its target; `view` is the other end of a cut link, or whose demand surges."""

    kind: str
    at: float
    until: float = FOREVER
    region: str = ""
    view: str = ""
    arg: float = 0.0

    def holds(self, now: float) -> bool:
        """Return whether it holds now; a flapping region is dead in the first half of every period."""
        if not self.at <= now < self.until:
            return False
        return self.kind != "flap" or (now - self.at) % (2 * self.arg) < self.arg

    def edges(self, now: float) -> Iterator[float]:
        """Yield when it began, ended, and in between came or went, up to now."""
        step = self.arg if self.kind == "flap" else FOREVER
        last = min(self.until, now)
        if self.at <= now:
            yield self.at + (last - self.at) // step * step if step < FOREVER else self.at
        if self.until <= now:
            yield self.until

    def __str__(self) -> str:
        what = " ".join(part for part in (self.kind, self.view and f"{self.view} →", self.region) if part)
        return f"{what} {self.arg:g}" if self.arg else what


@dataclass(frozen=True, slots=True)
class Scenario:
    """A life of the system: which signals there are besides the control plane's probes, and what goes wrong."""

    name: str
    about: str
    length_s: float
    faults: tuple[Fault, ...]
    reports: bool = True
    views_probe: bool = True
    tick_s: float = 1.0
    noise: float = 0.02
    day: bool = False


def _f(kind: str, at: float, until: float = FOREVER, region: str = "", view: str = "", arg: float = 0.0) -> Fault:
    return Fault(kind, at, until, region, view, arg)


US, EU, AP, SA = "us-east-1", "eu-west-1", "ap-southeast-1", "sa-east-1"
SCENARIOS = (
    Scenario("region-dies", "The largest region dies and comes back.", 420, (_f("dead", 60, 180, US),)),
    Scenario("region-hangs", "A region accepts connections and never answers.", 420, (_f("hang", 60, 180, EU),)),
    Scenario(
        "probes-only", "The same death with probes as the only signal.", 420, (_f("dead", 60, 180, US),), False, False
    ),
    Scenario("half-a-region", "One of two endpoints of a region dies.", 420, (_f("half", 60, 180, US),)),
    Scenario("flapping", "A region dies every other 10 s.", 1500, (_f("flap", 60, 660, US, arg=10),)),
    Scenario(
        "errors",
        "A region passes its health checks and answers 40 % with 503.",
        420,
        (_f("errors", 60, 180, EU, arg=0.4),),
    ),
    Scenario(
        "all-errors",
        "A region passes its health checks and answers 95 % with 503.",
        600,
        (_f("errors", 60, 180, AP, arg=0.95),),
    ),
    Scenario("slow-region", "A region takes five times as long.", 600, (_f("slow", 60, 240, EU, arg=5),)),
    Scenario(
        "link-cut",
        "eu-west-1 is dead, and its view cannot reach us-east-1, which took its traffic.",
        420,
        (_f("dead", 30, 300, EU), _f("cut", 90, 210, US, EU)),
    ),
    Scenario(
        "monitor-cut", "The control plane's own network fails: all its probes fail.", 420, (_f("monitor", 60, 240),)
    ),
    Scenario("all-stale", "No evidence of any kind arrives for three minutes.", 420, (_f("blind", 60, 240),)),
    Scenario("two-die", "Two regions die, ten seconds apart.", 600, (_f("dead", 60, 240, US), _f("dead", 70, 300, SA))),
    Scenario(
        "overload",
        "Demand grows by half while a region is dead.",
        600,
        (_f("surge", 60, 400, arg=1.4), _f("dead", 120, 300, US)),
    ),
    Scenario(
        "restart-in-incident",
        "The control plane is dead while a region dies.",
        420,
        (_f("down", 50, 110), _f("dead", 60, 240, US)),
    ),
    Scenario(
        "policy-edit",
        "Capacity of a region is cut in half by an edit, then restored.",
        420,
        (_f("edit", 60, 240, US, arg=0.5),),
    ),
    Scenario("noise", "Demand jumps by 20 % at random every second; nothing else happens.", 3600, (), noise=0.2),
)

LONG = Scenario(
    "three-days",
    "Three days with day and night in every region, a death each day, flapping, an edit and a restart.",
    3 * 86_400,
    (
        _f("dead", 20_000, 22_000, US), _f("flap", 50_000, 51_200, AP, arg=40), _f("edit", 70_000, 90_000, EU, arg=0.8),
        _f("dead", 110_000, 113_000, EU), _f("down", 150_000, 150_600), _f("hang", 200_000, 200_900, SA),
        _f("half", 220_000, 223_000, US),
    ),
    tick_s=10.0, noise=0.1, day=True,
)  # fmt: skip


def made_up(seed: int, length_s: float = 1200.0) -> Scenario:
    """Return a scenario from a seed: some faults, at most two at a time, and a quiet end to recover in."""
    dice = random.Random(seed)
    faults: list[Fault] = []
    for _ in range(dice.randint(1, 4)):
        at = round(dice.uniform(30, length_s / 2))
        until = at + dice.choice((2, 10, 30, 90, 240))
        if sum(other.at < until and at < other.until for other in faults) < 2:
            faults.append(_random_fault(dice, at, until))
    reports, probe = dice.random() < 0.8, dice.random() < 0.7
    return Scenario(
        f"seed-{seed}", "made up", length_s + 900, tuple(faults), reports, probe, noise=dice.choice((0.0, 0.02, 0.1))
    )


def _random_fault(dice: random.Random, at: float, until: float) -> Fault:
    kind = dice.choice(("dead", "dead", "hang", "half", "flap", "errors", "slow", "cut", "cuts", "monitor", "liar",
                        "blind", "surge", "down", "edit"))  # fmt: skip
    region, view = dice.sample(REGIONS, 2)
    args: dict[str, Iterable[float]] = {
        "flap": (3, 7, 15, 40), "errors": (0.1, 0.4, 0.9), "slow": (2, 5, 20), "surge": (0.5, 1.2, 1.5),
        "edit": (0.5, 0.8),
    }  # fmt: skip
    arg = dice.choice(list(args.get(kind, (0.0,))))
    if kind in {"monitor", "blind", "down"}:
        region = view = ""
    return Fault(kind, at, until, "" if kind == "surge" else region, view if kind in {"cut", "surge"} else "", arg)
