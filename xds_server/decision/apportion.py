"""Apportioning: fractions to integer weights that sum to a fixed total.

The method is largest remainder (Hamilton): every share is rounded down, and what is left over goes, one each, to the
largest remainders. It is the integer table nearest to the shares, and no weight is a whole unit away from its share
(the quota rule). Zero stays zero by itself: a share of nothing has no remainder. Divisor methods (Webster, Huntington)
were rejected: they avoid paradoxes that matter to parliaments, and break the quota rule or give everyone a seat.

A share of less than one unit may become 0. Forcing it to 1 was rejected: it takes a unit from a share that is owed it,
and the allocation leaves residues of a millionth of a request per second, which must not open connections to a region.

*Least change.* Which shares are rounded up is free within the quota rule, so the previous table decides first: a share
whose previous weight lies above its floor goes up before one whose weight does not. A table that is still within the
quota rule is therefore kept as it is, and of all tables within it the one with the least total change is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from xds_server.model import TOTAL_WEIGHT


def apportion(
    flows: Sequence[int], total: int = TOTAL_WEIGHT, previous: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Return weights in proportion to `flows` that sum to `total`; all zero if every flow is.

    Ties go to the lower index. With `total` a flow and `flows` weights, it splits the flow by the weights.
    """
    whole = sum(flows)
    if not whole:
        return (0,) * len(flows)
    if whole in flows:  # one has everything, as in most rows
        return tuple([total if flow else 0 for flow in flows])
    weights = [flow * total // whole for flow in flows]
    left = total - sum(weights)
    if left:
        for i in _first(left, [flow * total % whole for flow in flows], weights, previous):
            weights[i] += 1
    return tuple(weights)


def _first(left: int, remainders: Sequence[int], floors: Sequence[int], previous: Sequence[int] | None) -> list[int]:
    """Return the `left` indexes that are rounded up; `left` is less than the number of remainders above zero."""
    if previous is None:
        order = sorted((-rest, i) for i, rest in enumerate(remainders))
        return [i for _, i in order[:left]]
    ranked = [
        (was <= floor, -rest, i)
        for i, (rest, floor, was) in enumerate(zip(remainders, floors, previous, strict=True))
        if rest
    ]
    return [i for _, _, i in sorted(ranked)[:left]]
