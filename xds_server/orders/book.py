"""All orders: takes requests, moves evacuations on, ends what is over. Owned by the controller.

A request is judged in this order: a mistake; the very same order is in force already (so that asking twice is asking
once); another version than the operator has seen; the rules of the policy. Two operators cannot overwrite each other
unseen: to replace or to end an order one must name the version one has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from xds_server.decision.ordered import Ordered
from xds_server.decision.what_if import Case
from xds_server.model import AccessSummary, Event, LoadReport, ServiceDecision
from xds_server.orders import harm, safety
from xds_server.orders.effects import ordered
from xds_server.orders.meter import Rates, counted, timed
from xds_server.orders.pace import Surroundings, advance, due_at, turned_back
from xds_server.orders.preview import preview
from xds_server.orders.types import (
    MOST_ENDED,
    Answer,
    Ended,
    EndOrder,
    Held,
    Kind,
    Order,
    Orders,
    Phase,
    PlaceOrder,
    Report,
    Request,
    Result,
    Standing,
)
from xds_server.orders.words import cost, event
from xds_server.policy.types import Policy

MOST_STANDING = 200
REPORT_BY_S = 60.0
"""So long after the last step the report is told, whatever of it has been measured."""

WATCH_S = 1.0
"""How often an evacuation under way is looked at, at least."""

Cases = Callable[[], Iterable[Case]]


class Scene(NamedTuple):
    """What orders are moved on by: the decisions in force, and how many clients have not acknowledged them.

    `blind` says of a service in a region whether there is no fresh evidence.
    """

    policy: Policy
    decided: Mapping[str, ServiceDecision]
    behind: int
    blind: Callable[[str, str], bool]

    def unseen(self, order: Order) -> bool:
        """Return whether there is no fresh evidence of some service of an order in its region."""
        return any(
            self.blind(name, order.region)
            for name, service in self.policy.services.items()
            if order.concerns(name) and order.region in service.deployments
        )


class OrderBook:
    """Every order in force, and the last that are over. `wall_offset` is seconds since 1970 less the clock."""

    def __init__(self, orders: Orders = Orders(), wall_offset: float = 0.0) -> None:  # noqa: B008  (frozen)
        self.orders = orders
        self._events: list[Event] = []
        self._rates = Rates()
        self._offset = wall_offset

    # What comes in.

    def learn_load(self, load: LoadReport) -> None:
        """Take a load report: where requests go."""
        self._rates.learn(load)

    def learn_access(self, seen: AccessSummary) -> None:
        """Take what access logs said: which requests failed."""
        for one in self.orders.standing:
            if one.order.kind.leaves and _counts(one):
                self._put(replace(one, report=counted(one.report, one.order, seen)))

    def take(self, request: Request, policy: Policy, cases: Cases, now: float) -> Answer:
        """Carry out a request, or say why not."""
        if isinstance(request, PlaceOrder):
            self._offset = request.wall_offset
            return self._place(request, policy, cases, now)
        return self._end(request, now)

    def _place(self, request: PlaceOrder, policy: Policy, cases: Cases, now: float) -> Answer:
        order = request.order
        same = next((one for one in self.orders.standing if one.order.place == order.place), None)
        if mistakes := tuple(safety.wrong(order, policy)):
            return self._answer(request, Result.WRONG, words=mistakes)
        if same is not None and _equal(same.order, order) and same.phase not in {Phase.STOPPED, Phase.RETURNING}:
            return self._answer(request, Result.EXISTS, same.order.id)
        if (unseen := self._unseen(request, replaces=same is not None)) is not None:
            return unseen
        if same is None and len(self.orders.standing) >= MOST_STANDING:
            return self._answer(request, Result.WRONG, words=(f"there are {MOST_STANDING} orders already; end some",))
        others = [one for one in self.orders.standing if one is not same]
        known = tuple(cases())
        effects = preview(known, policy, self.orders.standing, order)
        broken = tuple(safety.refusals(order, policy, others, effects, now + self._offset))
        if broken and not order.forced:
            return self._answer(request, Result.REFUSED, words=broken)
        self._begin(order, same, broken, known, now)
        return self._answer(request, Result.CREATED, order.id, broken)

    def _begin(
        self, order: Order, same: Standing | None, broken: Sequence[str], cases: Iterable[Case], now: float
    ) -> None:
        if same is not None:
            self._drop(same, now, f"replaced by {order.id}")
        rate = self._rates.of(order, now) if order.kind.leaves else None
        begun = Standing(
            order,
            Phase.MOVING if order.kind.leaves else Phase.IN_FORCE,
            now,
            moved=self._moved_already(order, same),
            report=Report(before_rps=rate[0] if rate is not None else None),
            held=_held(order, cases) if order.kind is Kind.HOLD else (),
        )
        self._keep((*self.orders.standing, begun), told=True)
        against = f"; forced although {'; '.join(broken)}" if broken else ""
        words = f"ordered by {order.author}: {order.reason}{against}"
        self._events.append(event("placed", order, now, words, "warning" if broken else "info"))

    def _moved_already(self, order: Order, same: Standing | None) -> float:
        """Return how far its region has been left for all that it concerns, by others: it does not come back first."""
        if not order.kind.leaves:
            return 0.0
        others = (o for o in self.orders.standing if o.order.kind.leaves and o.order.region == order.region)
        wider = (o.moved for o in others if o.order.service in {"", order.service})
        return max([same.moved if same is not None else 0.0, *wider])

    def _end(self, request: EndOrder, now: float) -> Answer:
        one = next((one for one in self.orders.standing if one.order.id == request.id), None)
        if one is None:
            if any(ended.standing.order.id == request.id for ended in self.orders.ended):
                return self._answer(request, Result.ENDING, request.id)
            return self._answer(request, Result.MISSING, words=(f"there is no order {request.id!r}",))
        if one.phase is Phase.RETURNING:
            return self._answer(request, Result.ENDING, request.id)
        if (unseen := self._unseen(request, replaces=True)) is not None:
            return unseen
        self._finish(one, now, f"ended by {request.author}" + (f": {request.reason}" if request.reason else ""))
        return self._answer(request, Result.ENDING, request.id)

    def _unseen(self, request: Request, *, replaces: bool) -> Answer | None:
        version, seen = self.orders.version, request.if_version
        if seen is None and replaces:
            words = f"this changes an order in force: say which version you have seen, it is {version} now"
            return self._answer(request, Result.VERSION_NEEDED, words=(words,))
        if seen is not None and seen != version:
            words = f"the orders have changed since: you have seen version {seen}, it is {version} now; look again"
            return self._answer(request, Result.CONFLICT, words=(words,))
        return None

    def _answer(self, request: Request, result: Result, order: str = "", words: tuple[str, ...] = ()) -> Answer:
        return Answer(request.number, result, self.orders.version, order, words)

    # What time and the world change.

    def advance(self, scene: Scene, now: float) -> None:
        """Move every order on."""
        for one in self.orders.standing:
            order = one.order
            if gone := next(safety.wrong(replace(order, ends=order.at), scene.policy), ""):
                self._drop(one, now, gone)
            elif now >= order.ends and one.phase is not Phase.RETURNING:
                self._finish(one, now, "expired" if order.kind is not Kind.DRILL else "the drill is over")
            elif order.kind.leaves:
                self._advance(one, scene, now)

    def _advance(self, one: Standing, scene: Scene, now: float) -> None:
        order = one.order
        if one.well is None:
            one = replace(one, well=harm.well(order, scene.decided))
        if order.kind is Kind.DRILL and one.phase is not Phase.RETURNING:
            blocked = next(safety.blocked(scene.policy, now + self._offset), "")
            if blocked:
                one = turned_back(one, f"turned back: {blocked}", now)
        stays = harm.stays(order, scene.decided) if one.moved >= 1.0 else ()
        unseen = one.phase is Phase.RETURNING and scene.unseen(order)
        around = Surroundings(scene.behind, harm.done(one, scene.decided), blind=unseen, stays=stays)
        after = advance(one, around, now)
        if after is None:
            self._drop(one, now, one.detail or "ended")
            return
        after = self._measured(after, now)
        if after.phase is not one.phase:
            self._tell_phase(after, now)
        self._put(after)

    def _measured(self, one: Standing, now: float) -> Standing:
        if one.moved < 1.0 or one.phase is Phase.RETURNING:
            return one
        one = replace(one, report=timed(one.report, one.order, self._rates.of(one.order, now), now))
        complete = one.report.drained_s is not None and one.report.lost is not None
        if one.phase is Phase.MOVED and not one.told and (complete or now - one.step_at > REPORT_BY_S):
            self._events.append(event("report", one.order, now, cost(one)))
            one = replace(one, told=True)
        return one

    def _tell_phase(self, one: Standing, now: float) -> None:
        severity = "alarm" if one.phase is Phase.STOPPED else "warning" if one.phase is Phase.RETURNING else "info"
        self._events.append(event(one.phase.value, one.order, now, one.detail or one.phase.value, severity))  # type: ignore[arg-type]
        if one.phase in {Phase.STOPPED, Phase.RETURNING}:
            self.orders = replace(self.orders, version=self.orders.version + 1)

    def _finish(self, one: Standing, now: float, why: str) -> None:
        """End an order; what has moved off a region returns in steps first."""
        if not one.moved:
            self._drop(one, now, why)
            return
        back = turned_back(one, why, now)
        self._events.append(event("returning", one.order, now, why))
        self._keep(tuple(back if other is one else other for other in self.orders.standing), told=True)

    def _drop(self, one: Standing, now: float, why: str) -> None:
        ended = (Ended(one, now, why), *self.orders.ended)[:MOST_ENDED]
        standing = tuple(other for other in self.orders.standing if other.order.id != one.order.id)
        self.orders = Orders(self.orders.version + 1, standing, ended)
        words = f"over, {why}" + (f"; {cost(one)}" if one.order.kind.leaves else "")
        self._events.append(event("ended", one.order, now, words))

    def _put(self, after: Standing) -> None:
        standing = tuple(after if one.order.id == after.order.id else one for one in self.orders.standing)
        if standing != self.orders.standing:
            self._keep(standing, told=False)

    def _keep(self, standing: tuple[Standing, ...], *, told: bool) -> None:
        self.orders = replace(self.orders, standing=standing, version=self.orders.version + told)

    # What follows.

    def ordered(self, policy: Policy) -> dict[str, Ordered]:
        """Return what is ordered, by service."""
        return ordered(self.orders.standing, policy)

    def take_events(self) -> list[Event]:
        """Return what there is to tell, once."""
        told, self._events = self._events, []
        return told

    @property
    def pacing(self) -> bool:
        """Return whether an evacuation is under way, so that acknowledgements matter."""
        return any(one.phase in {Phase.MOVING, Phase.RETURNING} for one in self.orders.standing)

    def next_change(self, now: float) -> float | None:
        """Return when time alone changes an order next."""
        times = [one.order.ends for one in self.orders.standing if one.phase is not Phase.RETURNING]
        times += [max(due, now + WATCH_S / 10) for one in self.orders.standing if (due := due_at(one)) is not None]
        if self.pacing:
            times.append(now + WATCH_S)
        return min(times, default=None)


def _counts(one: Standing) -> bool:
    """Return whether failures are still charged to an order: until its report is told; of a drill, to its end."""
    return one.order.kind is Kind.DRILL or (one.phase is not Phase.RETURNING and not one.told)


def _held(order: Order, cases: Iterable[Case]) -> Held:
    """Return the weights in force that a hold holds."""
    return tuple(
        (
            case.decision.service,
            view,
            tuple((r, w) for r, w in zip(case.decision.regions, row, strict=True) if w),
        )
        for case in cases
        if order.concerns(case.decision.service)
        for view, row in zip(case.decision.regions, case.decision.weights, strict=True)
        if order.view in {"", view}
    )


def _equal(one: Order, other: Order) -> bool:
    """Return whether two orders say the same, whenever they were given."""
    lasting = round(one.ends - one.at, 3) == round(other.ends - other.at, 3)
    return lasting and replace(one, id="", at=0.0, ends=0.0) == replace(other, id="", at=0.0, ends=0.0)
