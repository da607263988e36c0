"""Runs scenario files: commands to a real controller in simulated time, and the outcome as an operator would read it.

A file is blocks separated by an empty line; each is a command, `----`, and what it printed. Lines that start with `#`
are prose. `pytest tests/decision --rewrite` writes the outcomes anew: read the diff before you commit it.

    policy                      the following lines are the policy's YAML
    probes REGION=HOW …         from now on the endpoints there answer HOW: up, down, silent (no probe arrives), unwell
                                (health checks are answered with 503, requests are served), or 1/2 (that many of them
                                up); `*` is every region
    signals KIND …              what there is besides probes: `hds` (every view's Envoys probe the other regions),
                                `live` (load reports and access logs of the traffic that the weights send);
                                `monitor` says that `probes` below fools the control plane only, all else is well
    heard NAME …                only these are heard from now on: views, or `controlplane`; `*` is everybody
    link VIEW>REGION=HOW …      whether a view reaches a region: up or down
    errors REGION=SHARE …       the share of live requests that fail there
    slow REGION=FACTOR …        how many times slower than normal it answers
    agent NAME REGION KEY=VALUE … an agent's report: `health=up` or `down`, `utilisation`, `capacity`, `view`, `lasts`
    demand FACTOR               live demand as a multiple of the policy's
    run DURATION                let time pass, with a probe of every endpoint each second; prints the events
    show                        prints verdicts, weights and their reasons, and the plans
    weights                     prints the verdicts and weights alone
    verdicts                    prints the verdicts with their reasons
    restart                     a new controller with the memory of the old one as it is kept, and its orders
    order KIND KEY=VALUE …      an operator's order, by anna; `share.REGION=PART` for weights; prints the answer
    end ID [version=N]          ends it
    orders                      prints the orders in force and those that are over
    behind N                    so many clients have not acknowledged what they were last sent
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.decision.printed import decision_lines, order_lines, verdict_lines, weight_lines
from tests.decision.scenario_world import World
from xds_server.controller import Controller
from xds_server.model import AgentReport
from xds_server.orders.codec import from_json, to_json
from xds_server.orders.types import EndOrder, Kind, Order, PlaceOrder, Request
from xds_server.policy.parse import parse
from xds_server.policy.types import OnHarm
from xds_server.step import Inputs
from xds_server.store.codec import from_json as memory_from_json
from xds_server.store.codec import to_json as memory_to_json

FILES = sorted((Path(__file__).parent / "testdata").glob("*.txt"))

Printed = Iterable[str] | None
"""What a command prints; None: what the controller told meanwhile."""


@dataclass
class Block:
    """One command with its arguments (the lines up to `----`) and the outcome that is on file."""

    prose: list[str]
    command: str
    body: list[str]
    outcome: list[str]


def read(text: str) -> Iterator[Block]:
    """Yield the blocks of a scenario file."""
    for chunk in re.split(r"\n\s*\n(?!\s)", text.strip() + "\n"):
        lines = chunk.splitlines()
        prose = [line for line in lines if line.startswith("#")]
        rest = [line for line in lines if not line.startswith("#")]
        if rest:
            cut = rest.index("----")
            yield Block(prose, rest[0], rest[1:cut], rest[cut + 1 :])
        else:
            yield Block(prose, "", [], [])


def play(text: str) -> str:
    """Run a scenario; return the file as it should be."""
    script = Script()
    chunks = []
    for block in read(text):
        if not block.command:
            chunks.append("\n".join(block.prose))
            continue
        outcome = script.run(block.command, block.body)
        chunks.append("\n".join([*block.prose, block.command, *block.body, "----", *outcome]))
    return "\n\n".join(chunks) + "\n"


class Script:
    """A scenario as it runs: `do_X` carries out command X with its words, and its body, if it has one, as the last."""

    def __init__(self) -> None:
        self._world = World()
        self._numbers = count(1)

    def run(self, command: str, body: list[str]) -> list[str]:
        """Carry out one command; return what it prints."""
        verb, *words = command.split()
        do = getattr(self, f"do_{verb}", None)
        if do is None:
            raise ValueError(f"unknown command {verb!r}")
        self._world.told = []
        printed: Printed = do(*words, *(["\n".join(body)] if body else []))
        return self._world.told or ["(nothing)"] if printed is None else list(printed)

    # What the world is like.

    def do_policy(self, text: str) -> None:
        self._world.step(Inputs(policy=parse(text, "policy.yaml").policy))

    def do_probes(self, *words: str) -> None:
        said = _pairs(words)
        self._world.answers = said if "*" in said else self._world.answers | said

    def do_signals(self, *kinds: str) -> None:
        self._world.signals = set(kinds)

    def do_heard(self, *names: str) -> None:
        self._world.heard = set(names)

    def do_link(self, *words: str) -> None:
        self._world.links |= _pairs(words)

    def do_errors(self, *words: str) -> None:
        self._world.errors |= _numbers(words)

    def do_slow(self, *words: str) -> None:
        self._world.slow |= _numbers(words)

    def do_demand(self, factor: str) -> None:
        self._world.demand = float(factor)

    def do_behind(self, clients: str) -> None:
        self._world.behind = int(clients)

    # What happens.

    def do_run(self, duration: str) -> None:
        self._world.live(float(duration.removesuffix("s")))

    def do_agent(self, name: str, region: str, *words: str) -> None:
        self._world.step(Inputs(agents=(_report(self._world.now, name, region, _pairs(words)),)))

    def do_restart(self) -> None:
        before, now = self._world.controller, self._world.now
        memory = memory_from_json(_kept(memory_to_json(before.memory(), now)), now)
        self._world.controller = Controller(memory, from_json(_kept(to_json(before.orders, 1e9)), 1e9))
        self._world.step(Inputs(policy=before.policy))

    def do_order(self, kind: str, *words: str) -> None:
        said = _pairs(words)
        number, version = next(self._numbers), _version(said)
        wall_offset = float(said.pop("wall", "1750000000")) - self._world.now
        self._ask(PlaceOrder(number, _order(number, Kind(kind), said, self._world.now), wall_offset, version))

    def do_end(self, identity: str, *words: str) -> None:
        said = _pairs(words)
        self._ask(EndOrder(next(self._numbers), identity, "anna", said.get("reason", "done"), _version(said)))

    def _ask(self, request: Request) -> None:
        self._world.step(Inputs(orders=(request,)))

    # What is looked at.

    def do_show(self) -> Printed:
        return decision_lines(self._world.controller.decision)

    def do_weights(self) -> Printed:
        return weight_lines(self._world.controller.decision)

    def do_verdicts(self) -> Printed:
        return verdict_lines(self._world.controller.decision)

    def do_orders(self) -> Printed:
        return order_lines(self._world.controller.orders)


def _pairs(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _numbers(words: Iterable[str]) -> dict[str, float]:
    return {name: float(value) for name, value in _pairs(words).items()}


def _kept(value: object) -> Any:
    """Return a value as it comes back from a file."""
    return json.loads(json.dumps(value))


def _version(said: dict[str, str]) -> int | None:
    return int(said["version"]) if "version" in said else None


def _order(number: int, kind: Kind, said: dict[str, str], now: float) -> Order:
    shares = ((key, float(part)) for key, part in sorted(said.items()) if key.startswith("share."))
    return Order(
        id=f"o{number}",
        kind=kind,
        author=said.get("author", "anna"),
        reason=said.get("reason", "test"),
        at=now,
        ends=now + float(said.get("lasts", "3600")),
        weights=tuple((key.removeprefix("share."), part) for key, part in shares),
        capacity_rps=float(said.get("capacity", "0")),
        over_s=float(said.get("over", "10")),
        on_harm=OnHarm(said.get("harm", "stop")),
        forced="forced" in said,
        region=said.get("region", ""),
        service=said.get("service", ""),
        view=said.get("view", ""),
    )


def _report(now: float, reporter: str, region: str, said: dict[str, str]) -> AgentReport:
    health = said.get("health")
    return AgentReport(
        reporter=reporter,
        region=region,
        service="",
        healthy=None if health is None else health == "up",
        utilisation=float(said["utilisation"]) if "utilisation" in said else None,
        capacity_rps=float(said["capacity"]) if "capacity" in said else None,
        detail="",
        ttl_s=float(said.get("lasts", "30")),
        at=now,
        view=said.get("view", ""),
    )
