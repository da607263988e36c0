"""How much traffic each view has, in requests per second: stated, else assumed; then measured.

*Stated or assumed.* A view the policy names has the demand it says. The views it does not name share, equally, what is
left of half the service's capacity (never less than a hundredth of it each): without measurements the likely case is a
service with room to spare whose regions mostly serve their own traffic.

*Measured.* What is measured (traffic.py) is followed from the figure in force, so that the first window of reports is
as little of a jump as any later one. How fast depends on the difference: what noise may explain with a time constant of
`FOLLOW_S`, a large fall with `FALL_S` and a large rise with `RISE_S`, because too little capacity hurts at once and too
much does not. Of a stated figure that is wrong by a factor of two a tenth of the error is left after a minute. The
figure in force moves when the followed one differs from it by `MATTERS`; from then on it goes along, in steps, until
that is there.

Of demand that jumps by ±20 % at random each second, a window of ten seconds still swings by ±11 % (three standard
deviations) and what is followed by ±4 %: that moves nothing. Rejected: following every rise fast and every fall slowly,
which in noise settles above the mean and crosses the threshold now and then; and letting the figure in force stay
behind by whatever does not matter, which after every rise is too little.

While there is nothing to go by (no reports, or too many failures) the figure stays, and time does not count. A view
that sends nothing at all goes back, as slowly, to what is stated: that is what to expect when it comes. The figures in
force outlive the process: a restart is no reason to move.

Of a view that sheds, a tenth is too coarse: by its measured demand it is seen whether enough is refused (shedding.py).
It is followed to within `THERE` at all times.

The figures of such a view are of what is *let through*, because that is what is measured. When
that share changes while there is nothing to go by, they change with it: of a view that fell silent they would else be
divided by each new share, and each time more refused. Of what is stated the part counts that would be let through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xds_server.policy.types import Service

ASSUMED_UTILISATION = 0.5
LEAST_SHARE = 0.01

RISE_S, FALL_S, FOLLOW_S = 10.0, 20.0, 30.0
LARGE = 1.25
"""A difference by this factor is large."""

MATTERS, STEP, THERE = 0.10, 0.05, 0.02
"""Parts of a figure: what begins a move, what it is made in, and what is left of the difference when it ends."""


def demand_rps(service: Service, regions: tuple[str, ...]) -> tuple[float, ...]:
    """Return the stated or assumed demand of every view in the order of `regions`, in requests per second."""
    capacity = sum(d.capacity_rps for d in service.deployments.values())
    stated = {name: service.demand_rps[name] for name in regions if name in service.demand_rps}
    silent = len(regions) - len(stated)
    left = max(0.0, ASSUMED_UTILISATION * capacity - sum(stated.values()))
    each = max(left / silent, LEAST_SHARE * capacity) if silent else 0.0
    return tuple(stated.get(name, each) for name in regions)


@dataclass(slots=True)
class _Followed:
    """A view's demand: the figure in force, what is followed towards the measured one, and when that last moved."""

    in_force: float
    smooth: float
    at: float | None = None
    moving: bool = False
    through: float = 1.0
    """The share let through that the figures are of; what is measured goes over to a new one as slowly as they do."""

    def let(self, through: float) -> None:
        """Turn the figures into those of another share that is let through."""
        if through != self.through:
            factor = through / self.through
            self.in_force, self.smooth, self.through = self.in_force * factor, self.smooth * factor, through

    def towards(self, rate: float, now: float, through: float = 1.0) -> None:
        """Close a part of the difference. A quotient rather than an exponential, which is exact on every machine."""
        elapsed_s = now - self.at if self.at is not None else 0.0
        constant_s = RISE_S if rate > LARGE * self.smooth else FALL_S if LARGE * rate < self.smooth else FOLLOW_S
        self.smooth += (rate - self.smooth) * elapsed_s / (constant_s + elapsed_s)
        self.through += (through - self.through) * elapsed_s / (constant_s + elapsed_s)
        self.at = now
        matters = THERE if through < 1.0 else MATTERS
        if self.moving or not _near(self.smooth, self.in_force, matters):
            self.moving = not _near(self.smooth, rate, THERE)
            if not self.moving or not _near(self.smooth, self.in_force, min(STEP, matters)):
                self.in_force = self.smooth


class DemandBook:
    """The measured demand of all views. Owned by the traffic book."""

    def __init__(self) -> None:
        self._followed: dict[str, dict[str, _Followed]] = {}
        self.through: Mapping[tuple[str, str], float] = {}
        """The share that is let through, of services and views of which something is refused."""

    def restore(self, service: str, demand: Mapping[str, float]) -> None:
        """Start from what an earlier process had in force, by view."""
        self._followed[service] = {view: _Followed(rps, rps) for view, rps in demand.items()}

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the demand in force of every view that is measured, by service."""
        return {
            service: {view: found.in_force for view, found in sorted(views.items())}
            for service, views in self._followed.items()
        }

    def in_force(self, service: str, view: str) -> float | None:
        """Return the demand in force of a view; None if it is not measured."""
        found = self._followed.get(service, {}).get(view)
        return found.in_force if found is not None else None

    def hold(self, service: str, view: str, now: float) -> None:
        """Let time pass without a measurement."""
        if (found := self._followed.get(service, {}).get(view)) is not None:
            found.let(self.through.get((service, view), 1.0))
            found.at = now

    def follow(self, service: str, view: str, rate: float, stated: float, now: float) -> None:
        """Follow what is measured; at first from what is stated."""
        found = self._followed.setdefault(service, {}).setdefault(view, _Followed(stated, stated))
        found.towards(rate, now, self.through.get((service, view), 1.0))

    def fade(self, service: str, view: str, stated: float, now: float) -> None:
        """Follow a view that sends nothing back to what is stated, and then forget it."""
        views = self._followed.get(service, {})
        if (found := views.get(view)) is not None:
            through = self.through.get((service, view), 1.0)
            found.let(through)
            found.towards(through * stated, now, through)
            if through == 1.0 and _near(found.smooth, stated, THERE):
                del views[view]

    def forget_except(self, services: Collection[str]) -> None:
        """Drop what is known of services that are no longer in the policy."""
        self._followed = {service: views for service, views in self._followed.items() if service in services}


def _near(rps: float, figure: float, part: float) -> bool:
    return abs(rps - figure) <= part * max(figure, 1.0)
