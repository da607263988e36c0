"""Allocation: which region serves how much of each view's demand, at the least total cost, exactly.

This is the transportation problem. Flows and costs are integers in whatever unit the caller chose, so the optimum is
exact and equal on every replica; there is no epsilon anywhere.

*Method.* Every view starts at its cheapest region, which is the optimum without capacities and, most of the time, the
answer. Regions above their capacity then push their excess along the cheapest chain of moves to a region with room
(successive shortest paths over the graph of regions: an edge a→b is the cheapest view to move from a to b). Each
region carries a price, the worth of one more unit there; under prices every move costs ≥ 0, so Dijkstra's search can
stop at the first region with room. Of equally cheap chains the one with fewest moves is taken, which bounds their
number. See Ahuja, Magnanti, Orlin, "Network Flows", chapter 9. Rejected: an LP solver. It is a hundred times slower at
these sizes and its answer is rounded; it is the oracle in the tests.

*Stability.* A unit on an arc above its `previous` amount costs `window` more, and in any case loses a tie: flow stays
where it is unless moving gains more than `window` a unit. That is a convex cost, so the method stays exact.

*Overload.* What does not fit is not dropped: capacities are scaled by the smallest factor that makes it fit, so that
all regions concerned are equally hot. The factor comes from a violated cut (views that together can reach only full
regions), and from the next while there is one (Newton's method, exact after a few steps). Only the regions of that cut
are scaled by it. Rejected: one factor for all, which heats regions that the excess cannot reach and helps nobody.
Scaled capacities are rounded up to whole units: a load may exceed the exact factor by less than one unit a region, and
where pairs are forbidden a cut that wants less than that goes unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from operator import gt
from typing import NamedTuple

FORBIDDEN = 1 << 60
"""A cost from here on means: never send this view's traffic to that region."""

Matrix = Sequence[Sequence[int]]
Ratio = tuple[int, int]
FITS: Ratio = (1, 1)
Move = tuple[int, int, int]
"""A view, the region it moves from and the region it moves to."""


class Allocation(NamedTuple):
    """`flows[v][r]` and `loads[r]` (their sums, without background), and how far capacities had to be exceeded.

    `ratio` is the largest factor by which a region exceeds its capacity, exact; `FITS` if none does. `stranded` are the
    views with demand but no region they may use: their rows are zero.
    """

    flows: tuple[tuple[int, ...], ...]
    loads: tuple[int, ...]
    ratio: Ratio = FITS
    stranded: tuple[int, ...] = ()

    @property
    def overload(self) -> float:
        """Return the ratio as a float: 1.0 if everything fits."""
        return self.ratio[0] / self.ratio[1]


def allocate(
    demand: Sequence[int],
    capacity: Sequence[int],
    cost: Matrix,
    *,
    background: Sequence[int] | None = None,
    previous: Matrix | None = None,
    window: int = 0,
) -> Allocation:
    """Return the cheapest flows that serve `demand[v]` within `capacity[r]` less `background[r]`.

    `cost[v][r]` is per unit, `FORBIDDEN` for never. A region of capacity 0 gets nothing, however hot the others are.
    Ties go to `previous`, else to the lower index; the caller gives views and regions in a canonical order.
    """
    if 0 in capacity:
        cost = _masked(cost, capacity)
    if previous is None:
        flows = [_cheapest(units, row) for units, row in zip(demand, cost, strict=True)]
    else:
        flows = [_nearest(d, row, was, window) for d, row, was in zip(demand, cost, previous, strict=True)]
    loads = list(map(sum, zip(*flows, strict=True))) if flows else [0] * len(capacity)
    stranded: tuple[int, ...] = ()
    if sum(loads) != sum(demand):
        stranded = tuple(v for v, units in enumerate(demand) if units and not any(flows[v]))
    ratio = FITS
    if any(map(gt, loads, capacity if background is None else _room(capacity, background, FITS))):
        used = background or [0] * len(capacity)
        if len(flows) == 1 and previous is None:
            loads, ratio = _one_view(demand[0], cost[0], capacity, used)
            flows = [loads]
        else:
            moves, ratio = _fit(_scaled(flows, loads, cost, previous, window), capacity, used)
            flows, loads = moves.flows, moves.loads
    return Allocation(tuple(map(tuple, flows)), tuple(loads), ratio, stranded)


def _masked(cost: Matrix, capacity: Sequence[int]) -> list[list[int]]:
    """Forbid the regions that have no capacity."""
    rows = [list(row) for row in cost]
    closed = [r for r, limit in enumerate(capacity) if not limit]
    for row in rows:
        for r in closed:
            row[r] = FORBIDDEN
    return rows


def _cheapest(units: int, row: Sequence[int]) -> list[int]:
    """Put a view's whole demand on its cheapest region."""
    flows = [0] * len(row)
    low = min(row)
    if low < FORBIDDEN:
        flows[row.index(low)] = units
    return flows


def _nearest(units: int, row: Sequence[int], previous: Sequence[int], window: int) -> list[int]:
    """Keep what is within `window` of the cheapest region, cheapest first; the rest goes to the cheapest."""
    low = min(row)
    if low >= FORBIDDEN:
        return [0] * len(row)
    if previous[row.index(low)] == units or (not window and row.count(low) == 1):
        return _cheapest(units, row)
    limit = low + window
    flows = [0] * len(row)
    for r, was in enumerate(previous):
        if was and row[r] <= limit:
            flows[r] = was
    spare = units - sum(flows)
    if spare < 0:
        return _trimmed(units, row, flows)
    flows[row.index(low)] += spare
    return flows


def _trimmed(units: int, row: Sequence[int], flows: Sequence[int]) -> list[int]:
    """Keep the cheapest part of the flows that adds up to `units`."""
    kept = [0] * len(flows)
    for _, r in sorted((c, r) for r, c in enumerate(row)):
        kept[r] = min(units, flows[r])
        units -= kept[r]
    return kept


def _one_view(
    units: int, row: Sequence[int], capacity: Sequence[int], background: Sequence[int]
) -> tuple[list[int], Ratio]:
    """Fill regions in the order of their cost: what a view does when it is alone, which most reflex plans are."""
    order = [r for c, r in sorted(zip(row, range(len(row)), strict=True)) if c < FORBIDDEN]
    room, ratio = _room(capacity, background, FITS), FITS
    if units > sum([room[r] for r in order]):
        ratio = _level(units, [(capacity[r], background[r]) for r in order])
        room = _room(capacity, background, ratio)
    flows = [0] * len(row)
    for r in order:
        flows[r] = min(units, room[r])
        units -= flows[r]
    return flows, ratio


class _Start(NamedTuple):
    """The flows without capacities, and what moving them costs in units in which ties are whole numbers too."""

    flows: Sequence[list[int]]
    loads: list[int]
    cost: Matrix
    previous: Matrix
    surcharge: int


def _scaled(flows: Sequence[list[int]], loads: list[int], cost: Matrix, previous: Matrix | None, window: int) -> _Start:
    """Scale costs so that one unit of cost outweighs any number of moves away from `previous`.

    With m regions a chain has fewer than m moves. A move that leaves `previous` counts m (so that below it the number
    of moves can break ties, see `_cheapest_chain`), a unit of cost counts m·(m + 1).
    """
    m = len(cost[0])
    scale = m * (m + 1)
    rows = [[c * scale for c in row] for row in cost]
    if previous is None:
        return _Start(flows, loads, rows, [[0] * m] * len(rows), 0)
    return _Start(flows, loads, rows, previous, window * scale + m)


def _room(capacity: Sequence[int], background: Sequence[int], factor: Ratio) -> list[int]:
    """Return what each region can still take at `factor` times its capacity, rounded up to whole units."""
    if factor != FITS:
        num, den = factor
        capacity = [-(-num * limit // den) for limit in capacity]
    if not any(background):
        return list(capacity)
    return [limit - used if limit > used else 0 for limit, used in zip(capacity, background, strict=True)]


def _fit(start: _Start, capacity: Sequence[int], background: Sequence[int]) -> tuple[_Moves, Ratio]:
    """Move flows until they fit. If they cannot, settle the hottest regions; then the others try again from cold."""
    settled: dict[int, int] = {}
    worst = FITS
    while True:
        moves, factor, hot = _smallest_factor(start, capacity, background, settled)
        if factor == FITS:
            return moves, worst
        if not settled:
            worst = factor
        room = _room(capacity, background, factor)
        settled.update((r, room[r]) for r in hot)
        if len(settled) == len(capacity):
            return moves, worst


def _smallest_factor(
    start: _Start, capacity: Sequence[int], background: Sequence[int], settled: dict[int, int]
) -> tuple[_Moves, Ratio, list[int]]:
    """Return the flows at the smallest factor for the unsettled regions that fits, and the cut that asks for it."""
    factor, hot = FITS, list[int]()
    while True:
        room = _room(capacity, background, factor)
        for r, free in settled.items():
            room[r] = free
        held: Sequence[int] = start.loads
        cut: Sequence[int] = range(len(room))
        if sum(held) <= sum(room):
            moves = _Moves(start)
            held, cut = moves.loads, moves.relieve(room)
            if not cut:
                return moves, factor, hot
        hot = [r for r in cut if r not in settled]
        need = sum([held[r] - settled.get(r, 0) for r in cut])
        factor = _level(need, [(capacity[r], background[r]) for r in hot])


def _level(need: int, regions: Sequence[tuple[int, int]]) -> Ratio:
    """Return the factor f at which Σ max(0, f·capacity - background) over the regions is exactly `need`.

    A region that is above f·capacity already takes nothing; leaving it out can only lower f, so none comes back.
    """
    while True:
        num = need + sum([used for _, used in regions])
        den = sum([limit for limit, _ in regions])
        kept = [(limit, used) for limit, used in regions if num * limit > used * den]
        if len(kept) == len(regions):
            divisor = gcd(num, den)
            return num // divisor, den // divisor
        regions = kept


class _Moves:
    """Flows on their way to fitting, with the price of each region. Optimal for the present loads at every step.

    The invariant: no view can move a unit and gain, at cost plus price; and only a full region has a price.
    """

    __slots__ = ("_price", "_start", "flows", "loads")

    def __init__(self, start: _Start) -> None:
        self._start = start
        self.flows = [row.copy() for row in start.flows]
        self.loads = start.loads.copy()
        self._price = [0] * len(self.loads)

    def relieve(self, room: Sequence[int]) -> Sequence[int]:
        """Move all excess to regions with room. If that cannot be done, return the regions of a violated cut."""
        loads = self.loads
        for r, free in enumerate(room):
            while loads[r] > free:
                seen, chain = self._cheapest_chain(r, room)
                if not chain:
                    return seen
                target = chain[0][2]
                self._push(chain, min(loads[r] - free, room[target] - loads[target]))
        return ()

    def _cheapest_chain(self, source: int, room: Sequence[int]) -> tuple[list[int], list[Move]]:
        """Return the regions seen and the cheapest chain of moves to a region with room, last move first.

        Dijkstra's search. Lengths are multiples of m, the number of regions, plus 1 a move: equal costs are decided by
        the number of moves. With no such region the chain is empty, and what is seen is a cut: the views there can go
        nowhere else.
        """
        loads, price = self.loads, self._price
        far = [FORBIDDEN] * len(room)
        far[source] = 0
        came: list[Move] = [(0, 0, 0)] * len(room)
        ahead = list(range(len(room)))
        seen: list[int] = []
        here = source
        while far[here] < FORBIDDEN and loads[here] >= room[here]:
            ahead.remove(here)
            seen.append(here)
            if not ahead:
                return seen, []
            self._look(here, ahead, far, came)
            here = min(ahead, key=far.__getitem__)
        if far[here] >= FORBIDDEN:
            return seen, []
        m = len(room)
        reach = far[here] // m
        for r in seen:
            price[r] += (reach - far[r] // m) * m
        chain = []
        while here != source:
            chain.append(came[here])
            here = came[here][1]
        return seen, chain

    def _look(self, here: int, ahead: list[int], far: list[int], came: list[Move]) -> None:
        """Lower the distances of the regions ahead by the moves that views can make from `here`."""
        _, _, cost, previous, surcharge = self._start
        price = self._price
        for v, row in enumerate(self.flows):
            if row[here]:
                costs, was = cost[v], previous[v]
                base = far[here] + 1 - price[here] - costs[here] - (surcharge if row[here] > was[here] else 0)
                for r in ahead:
                    length = base + costs[r] + price[r]
                    if row[r] >= was[r]:
                        length += surcharge
                    if length < far[r]:
                        far[r] = length
                        came[r] = (v, here, r)

    def _push(self, chain: Sequence[Move], amount: int) -> None:
        """Move as much of `amount` along the chain as keeps every move at the cost it was found with."""
        flows, previous = self.flows, self._start.previous
        for v, a, b in chain:
            row, was = flows[v], previous[v]
            most = row[a] - was[a] if row[a] > was[a] else row[a]
            if row[b] < was[b]:
                most = min(most, was[b] - row[b])
            amount = min(amount, most)
        for v, a, b in chain:
            flows[v][a] -= amount
            flows[v][b] += amount
        self.loads[chain[-1][1]] -= amount
        self.loads[chain[0][2]] += amount
