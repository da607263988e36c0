"""How sure a count makes us: what may be said of a share, or of a quantile, that chance alone does not explain.

Evidence from traffic is a sample, and often a small one: ten requests, one failed, is no failure rate of 10 %. So
decisions use the end of the confidence interval that speaks *against* moving traffic:

    a share        Wilson's score interval. It is right for small counts and for shares near 0 and 1, where the textbook
                   interval (share ± z standard errors) is empty: of 0 failures in 10 it would say "certainly none".
    a quantile     order statistics: of n samples, how many exceed the true quantile is binomial, so the k-th smallest
                   is a bound for the k that the binomial's tail allows. It needs no assumption about how latencies are
                   distributed. From 20 samples it cannot bound the 99th percentile from above at all, and says so.

`Z` is three standard deviations: about one in a thousand for each look at one place, and every rule that uses it asks
for a difference that matters as well. Rejected: a t-test on means, because latencies have no useful mean; and waiting
for a fixed number of requests, which is too many for a clear case and too few for a close one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from xds_server.histogram import middle_of

Z = 3.0
SKEW = (Z * Z - 1.0) / 6.0
"""What a small count's long upper tail adds to Z standard deviations (the first term of Cornish and Fisher)."""


def at_least(part: float, whole: float) -> float:
    """Return the smallest share that `part` of `whole` still goes with; 0 of an empty whole."""
    return max(0.0, _wilson(part, whole, -Z)) if whole > 0 else 0.0


def at_most(part: float, whole: float) -> float:
    """Return the largest share that `part` of `whole` still goes with; 1 of an empty whole."""
    return min(1.0, _wilson(part, whole, Z)) if whole > 0 else 1.0


def _wilson(part: float, whole: float, z: float) -> float:
    share = part / whole
    spread = z * math.sqrt(share * (1.0 - share) / whole + z * z / (4.0 * whole * whole))
    return (share + z * z / (2.0 * whole) + spread) / (1.0 + z * z / whole)


def quantile_at_least(counts: Mapping[int, float], share: float) -> float:
    """Return what the quantile of a histogram (histogram.py) is at least, in ms; 0 if that cannot be said."""
    total = sum(counts.values())
    rank = total * share - Z * math.sqrt(total * share * (1.0 - share)) - SKEW
    return _ranked(counts, rank) if rank >= 1.0 else 0.0


def quantile_at_most(counts: Mapping[int, float], share: float) -> float | None:
    """Return what the quantile of a histogram is at most, in ms; None if there are too few samples to say."""
    total = sum(counts.values())
    rank = total * share + Z * math.sqrt(total * share * (1.0 - share))
    return _ranked(counts, rank) if 0.0 < rank <= total else None


def _ranked(counts: Mapping[int, float], rank: float) -> float:
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 1e-9:
            return middle_of(bucket)
    return middle_of(max(counts))
