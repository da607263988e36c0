"""Latencies in bounded memory: counts in buckets that grow by 5 %, so that a quantile is right to about 2.5 %.

What the access logs of a fleet say in a second is tens of thousands of latencies, and only a few quantiles of them are
wanted. 300 buckets reach from 0.05 ms to two minutes; what is outside falls into the first or the last. Counts add up,
so parts of a fleet or of a minute can be merged. Rejected: keeping the samples (unbounded), and sketches with a
guaranteed error (more code than the whole reading of a log for a better third digit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

GROWTH = 1.05
SMALLEST_MS = 0.05
BUCKETS = 300

_LOG_GROWTH = math.log(GROWTH)


def bucket_of(latency_ms: float) -> int:
    """Return the bucket that holds a latency."""
    if latency_ms <= SMALLEST_MS:
        return 0
    return min(BUCKETS - 1, math.ceil(math.log(latency_ms / SMALLEST_MS) / _LOG_GROWTH))


def middle_of(bucket: int) -> float:
    """Return the latency, in milliseconds, that stands for a bucket."""
    return float(SMALLEST_MS * GROWTH ** (bucket - 0.5)) if bucket else SMALLEST_MS


def quantile(counts: Mapping[int, int] | Mapping[int, float], share: float) -> float:
    """Return the latency that `share` of the samples do not exceed, in ms; 0 if there are none."""
    remaining = share * sum(counts.values())
    for bucket in sorted(counts):
        remaining -= counts[bucket]
        if remaining <= 1e-9:
            return middle_of(bucket)
    return middle_of(max(counts)) if counts else 0.0
