"""Which Envoys look at other regions for us (HDS), and at what. Pure: values in, a table out.

A view's own vantage is what tells a dead region from a cut link. One Envoy of a view may be wrong about itself, so
`WATCHERS` of each view look, and a verdict can ask for a quorum of them. More would multiply the probes that every
endpoint answers: with 8 views and 3 watchers each it is probed 21 times per interval from abroad.

- Who watches goes on watching: to choose anew on every connect would leave gaps while new ones make up their minds.
- Free places go to the connected Envoys with the smallest hash of their names: every replica chooses alike, and no name
  is favoured by the alphabet.
- An Envoy is a proxy first. It gets at most `MOST_TARGETS` addresses: first one of every service and region, then a
  second of each, as far as they go; in an order of its own, so that watchers who cannot look at all of them look at
  different ones.
- Its own region's endpoints are left to the control plane and to traffic: nearness proves nothing about the way there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

from xds_server.model import Target, Watcher

WATCHERS = 3
MOST_TARGETS = 500


def choose(
    connected: Iterable[Watcher], watching: Collection[int], targets: Iterable[Target]
) -> Mapping[int, tuple[Target, ...]]:
    """Return who watches what, by stream. `watching` are the streams that did so far, or more."""
    by_region: dict[str, list[Watcher]] = {}
    for watcher in connected:
        by_region.setdefault(watcher.region, []).append(watcher)
    everything = sorted(set(targets))
    chosen: dict[int, tuple[Target, ...]] = {}
    for region, candidates in by_region.items():
        abroad = [target for target in everything if target.region != region]
        candidates.sort(key=lambda w: (w.stream not in watching, _rank(w.node_id), w.stream))
        for watcher in candidates[:WATCHERS]:
            chosen[watcher.stream] = _share(watcher, abroad)
    return chosen


def _share(watcher: Watcher, targets: list[Target]) -> tuple[Target, ...]:
    """Return what one watcher looks at: all, or as many as it may, every place before any place's second address."""
    if len(targets) <= MOST_TARGETS:
        return tuple(targets)
    turns: Counter[tuple[str, str]] = Counter()
    ranked: list[tuple[int, int, Target]] = []
    for target in sorted(targets, key=lambda t: _rank(f"{watcher.node_id}\0{t}")):
        place = target.service, target.region
        ranked.append((turns[place], len(ranked), target))
        turns[place] += 1
    ranked.sort()
    return tuple(sorted(target for _, _, target in ranked[:MOST_TARGETS]))


def _rank(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
