"""Which Envoys look at other regions for us (HDS), and at what. Pure: values in, a table out.

A view's own vantage is what tells a dead region from a cut link. One Envoy of a view may be wrong about itself, so
`WATCHERS` of each view look, and a verdict can ask for a quorum of them. More would multiply the probes that every
endpoint answers: with 8 views and 3 watchers each it is probed 21 times per interval from abroad.

- Who watches goes on watching: to choose anew on every connect would leave gaps while new ones make up their minds.
- Names and streams are a client's own: one that opens ten streams under ten names must not get all places. So there is
  one place for each certificate; where all of a region have the same name in it, or none, for each address; and only
  where all without certificates come from one address, as on one machine, for each stream.
- Free places go to those with the smallest hash of that and of their names, salted with what no client knows: else
  names could be picked to win.
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
    connected: Iterable[Watcher], watching: Collection[int], targets: Iterable[Target], salt: bytes = b""
) -> Mapping[int, tuple[Target, ...]]:
    """Return who watches what, by stream. `watching` are the streams that did so far, or more."""
    by_region: dict[str, list[Watcher]] = {}
    for watcher in connected:
        by_region.setdefault(watcher.region, []).append(watcher)
    everything = sorted(set(targets))
    chosen: dict[int, tuple[Target, ...]] = {}
    for region, candidates in by_region.items():
        abroad = [target for target in everything if target.region != region]
        for watcher in _seated(candidates, watching, salt):
            chosen[watcher.stream] = _share(watcher, abroad)
    return chosen


def _seated(candidates: list[Watcher], watching: Collection[int], salt: bytes) -> list[Watcher]:
    """Return the watchers of one region: no two who may be the same."""
    who = _tell_apart(candidates)

    def order(watcher: Watcher) -> tuple[bool, bytes, bytes, int]:
        known_by = _rank(who[watcher.stream], salt), _rank(watcher.node_id, salt)
        return watcher.stream not in watching, *known_by, watcher.stream

    first_of = {who[w.stream]: w for w in sorted(candidates, key=order, reverse=True)}
    return sorted(first_of.values(), key=order)[:WATCHERS]


def _tell_apart(candidates: list[Watcher]) -> Mapping[int, str]:
    """Return by what each watcher of a region is told from the others, by stream."""
    if len({w.certificate for w in candidates}) > 1:
        return {w.stream: w.certificate for w in candidates}
    if len({w.address for w in candidates}) > 1 or any(w.certificate for w in candidates):
        return {w.stream: w.address for w in candidates}
    return {w.stream: str(w.stream) for w in candidates}


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


def _rank(text: str, salt: bytes = b"") -> bytes:
    return blake2b(text.encode(), digest_size=8, key=salt).digest()
