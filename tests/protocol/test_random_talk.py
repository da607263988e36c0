"""Random worlds, subscriptions, rejections, delays and reconnects (`random_talk.py`), by seed.

`pytest tests/protocol/test_random_talk.py --talks 20000` has as many. One that fails is cut down to its shortest form,
printed move by move: what it finds belongs into a dialogue of its own (`test_hard_times.py`).

A state machine of Hypothesis did this before. A talk costs a third without it, and within a minute five mistakes turned
up that the fixed examples of CI had not shown.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from tests.protocol.fake_envoy import BAD
from tests.protocol.random_talk import DeltaTalk, SotwTalk, Talk

TALKS = 300
BY_VARIANT = pytest.mark.parametrize("kind", [SotwTalk, DeltaTalk])


class Move(NamedTuple):
    """What happens next; `lines` are of the world that is published, if one is."""

    name: str
    lines: tuple[str, ...] | None = None


Script = tuple[Move, ...]


def written(rng: random.Random) -> Script:
    """Return a talk. Each has its own mood: how often what happens, how much is bad, how many worlds there are."""
    bad = rng.choice([0, 1, 1, 3])
    worlds = [tuple(a_world(rng, bad)) for _ in range(rng.choice([2, 3, 4, 8]))]
    moods = {
        "publish": 1.0,
        "publish_and_send": 1.0,
        "server_sends": 2.0,
        "envoy_takes_one": 3.0,
        "server_hears_one": 3.0,
        "stream_breaks": rng.random(),
        "stream_breaks_in_peace": rng.random(),
        "all_is_said": rng.random(),
        "server_restarts_when_all_is_said": rng.choice([0.0, 0.0, 0.3]),
    }
    names = rng.choices([*moods], [*moods.values()], k=rng.choice([20, 40, 60]))
    return tuple(Move(name, rng.choice(worlds) if name.startswith("publish") else None) for name in names)


def a_world(rng: random.Random, bad: int) -> Iterator[str]:
    """Yield the lines of a consistent snapshot: up to three clusters, two routes, two listeners; versions say needs."""

    def version() -> str:
        return rng.choice(["1", "1", "1", "2", "2", "3", *[BAD] * bad])

    clusters = rng.sample("abc", rng.choice([0, 1, 1, 2, 2, 3]))
    yield from (f"{letter} {name}={version()}" for name in clusters for letter in "CE")
    routes = ["r1", "r2"][: rng.choice([1, 1, 2, 0])]
    for route in routes:
        needs = sorted(rng.sample(clusters, rng.randint(0, len(clusters))))
        yield f"R {route}={version()}:{'+'.join(needs)} > {' '.join(f'C:{need}' for need in needs)}"
    for listener in ["l1", "l2"][: rng.choice([1, 1, 2, 0])] if routes else []:
        route = rng.choice(routes)
        yield f"L {listener}={version()}:{route} > R:{route}"


def play(kind: type[Talk], script: Script) -> None:
    talk = kind()
    for move in script:
        getattr(talk, move.name)(*([move.lines] if move.lines is not None else []))
        talk.no_route_without_its_clusters()
    talk.all_is_said()


def fails(kind: type[Talk], script: Script) -> bool:
    try:
        play(kind, script)
    except AssertionError:
        return True
    return False


def shorter(script: Script) -> Iterator[Script]:
    """Yield the script without some of it: runs of moves, the longest first, then lines of its worlds."""
    run = len(script) // 2
    while run:
        yield from (script[:at] + script[at + run :] for at in range(0, len(script), run))
        run //= 2
    for at, move in enumerate(script):
        for line in move.lines or ():
            rest = tuple(kept for kept in move.lines or () if kept != line and not needs(kept, line))
            yield (*script[:at], Move(move.name, rest), *script[at + 1 :])


def needs(line: str, other: str) -> bool:
    """Return whether a resource refers to another one: worlds stay consistent."""
    letter, _, named = other.partition("=")[0].partition(" ")
    return f"{letter}:{named}" in line.partition(" > ")[2].split() or (letter == "E" and line.startswith(f"C {named}="))


def shortest(kind: type[Talk], script: Script) -> Script:
    """Return a script that fails, and no shorter one of it does."""
    while True:
        found = next((cut for cut in shorter(script) if fails(kind, cut)), None)
        if found is None:
            return script
        script = found


def told(script: Iterable[Move]) -> str:
    return "\n".join(move.name if move.lines is None else f"{move.name} {list(move.lines)}" for move in script)


@BY_VARIANT
def test_what_must_hold_holds_whatever_happens(kind: type[Talk], request: pytest.FixtureRequest) -> None:
    for seed in range(request.config.getoption("--talks") or TALKS):
        script = written(random.Random(seed))
        if fails(kind, script):
            cut = shortest(kind, script)
            print(f"seed {seed}:\n{told(cut)}")
            play(kind, cut)


def test_a_talk_that_fails_is_cut_down_to_what_matters() -> None:
    class Forgetful(SotwTalk):
        """A server that sends nothing while there is a cluster b."""

        def server_sends(self) -> None:
            if "b" not in self.snapshot.resources.get("type.googleapis.com/envoy.config.cluster.v3.Cluster", {}):
                super().server_sends()

    script = next(s for s in (written(random.Random(seed)) for seed in range(100)) if fails(Forgetful, s))
    cut = shortest(Forgetful, script)
    (move,) = cut
    assert {line.partition("=")[0] for line in move.lines or ()} == {"C b", "E b"}
