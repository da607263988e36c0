"""The world of these tests: four regions of real backends, four real Envoys, a real control plane, and loads.

It is the demo's own `Site`, driven by conditions instead of a script: inject a fault, wait for what must follow from
it, look. One stage serves many tests, because starting it costs more than most of them; each test starts from `calm`,
so each also runs alone.

Three things differ from the demo. Backends have no limit of their own: one that is told to serve ten requests a second
and gets eight on average turns one in a hundred away by chance, and such a 503 on a plain write looks like a lost one.
Recovered regions ramp up in two seconds, because waiting is not what is tested. And each load is a process of its own,
so that its counts are of one test alone.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from xds_server.demo.faults import parse_now
from xds_server.demo.http1 import fetch
from xds_server.demo.ledger import Ledger
from xds_server.demo.mix import KIND_SHARE, Kind
from xds_server.demo.ports import Ports
from xds_server.demo.processes import Child, until
from xds_server.demo.site import Site
from xds_server.demo.tally import Delta, Totals
from xds_server.demo.topology import CONTROL_PLANE, REGIONS, SERVICE, Topology, ports_needed
from xds_server.model import TOTAL_WEIGHT
from xds_server.policy.parse import parse

LIMIT_S = 90.0
"""Generous: only a broken product, or a test that is wrong, waits this long."""

RPS = 250.0
AT_ONCE_S = 10.0
"""Regions that fall within this time are judged together (decision/health.py): falls of different tests must not be."""

EJECTED = "outlier_detection.ejections_active"

Weights = dict[str, dict[str, int]]


class Load:
    """One load process from its first request to its last, and what became of its requests."""

    def __init__(self, child: Child, ledger: Ledger) -> None:
        self._child = child
        self._ledger = ledger
        self.totals = Totals()

    async def follow(self) -> None:
        """Add up what the process says until it ends."""
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._child.output
        )
        assert await reader.readline(), self._child.tail()
        while line := await reader.readline():
            self.totals.add(Delta.from_json(json.loads(line)))

    @property
    def failed(self) -> dict[Kind, int]:
        """Requests without a response, or with a status of 500 and above, by kind."""
        return {kind: self.totals.sum.failed_by_kind[kind] for kind in Kind}

    @property
    def served_by(self) -> Counter[str]:
        """Answers by the region that gave them."""
        return self.totals.sum.served_by

    @property
    def duplicated(self) -> int:
        """Plain writes that backends saw twice."""
        self._ledger.update()
        return self._ledger.duplicated_writes

    @property
    def said(self) -> str:
        """Everything that a failed assertion wants to tell."""
        s = self.totals.sum
        statuses, views = dict(s.failed_by_status), dict(s.failed_by_view)
        return f"{self.totals.completed} requests, failed {self.failed}, by status {statuses}, by view {views}"


class Stage:
    """A running site. Times out rather than hangs: every wait has a limit."""

    def __init__(self, directory: Path, ports: tuple[int, ...], runner: asyncio.Runner) -> None:
        self.runner = runner
        self.site = Site(directory, Topology.of(RPS, None, ports))
        for child in (child for children in self.site.backends.values() for child in children):
            child.argv[child.argv.index("--capacity") + 1] = "0"
        self.provoked = Counter[str]()
        """What tests had Envoys reject on purpose, by the name of the counter."""
        self._first_policy = ""
        self._home: Weights = {}

    async def start(self) -> None:
        await self.site.start(lambda _: None)
        self._first_policy = self.site.policy.read_text().replace("ramp_up: 10s", "ramp_up: 2s")
        self.write_policy(self._first_policy)
        await self.follows()
        self._home = await self.weights()

    async def until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        await until(condition, LIMIT_S, [*self.site.envoys.values()], what)

    # Envoys, as their admin pages show them.

    async def ask(self, view: str, path: str) -> Any:
        response = await fetch(self.site.topology.envoy_admin_ports[view], path, timeout_s=LIMIT_S)
        assert response.status == 200, response
        return json.loads(response.body)

    async def stats(self, view: str) -> dict[str, int]:
        """Return the counters and gauges of one Envoy."""
        found = (await self.ask(view, "/stats?format=json"))["stats"]
        return {stat["name"]: stat["value"] for stat in found if isinstance(stat.get("value"), int)}

    async def stats_like(self, view: str, *endings: str) -> dict[str, int]:
        """Return every stat of one Envoy whose name ends so."""
        return {name: n for name, n in (await self.stats(view)).items() if name.endswith(endings)}

    async def all_stats(self, *endings: str) -> dict[str, int]:
        """Return the sum over all Envoys of every stat whose name ends so."""
        total = Counter[str]()
        for view in REGIONS:
            total.update(await self.stats_like(view, *endings))
        return dict(total)

    async def set_stats(self, *endings: str) -> dict[str, int]:
        """Return those that are not 0; fails if there are none of that name, because that would prove nothing."""
        found = await self.all_stats(*endings)
        assert all(any(name.endswith(ending) for name in found) for ending in endings), (endings, sorted(found))
        return {name: n for name, n in found.items() if n}

    async def weights(self) -> Weights:
        """Return the weights of every Envoy's own routes."""
        await self.site.envoy_watch.update()
        return {view: dict(row) for view, row in self.site.envoy_watch.weights.items()}

    async def moved_off(self, region: str) -> None:
        """Wait until no Envoy's routes give a region anything."""

        async def moved() -> bool:
            return not any(row.get(region, 0) for row in (await self.weights()).values())

        await self.until(f"no Envoy sends {region} anything", moved)

    async def cluster_versions(self) -> dict[str, set[str]]:
        """Return the versions of the clusters that each Envoy has in use, by view."""
        dumps = {view: await self.ask(view, "/config_dump?resource=dynamic_active_clusters") for view in REGIONS}
        return {view: {c["version_info"] for c in dump["configs"]} for view, dump in dumps.items()}

    # The control plane, as its admin page shows it.

    async def api(self, path: str) -> Any:
        response = await fetch(self.site.topology.admin_port, path, timeout_s=LIMIT_S)
        return json.loads(response.body)

    async def verdicts(self) -> dict[str, str]:
        return {region["region"]: region["health"] for region in (await self.api("/api/v1/decision"))["regions"]}

    def write_policy(self, text: str) -> None:
        """Replace the policy file as an editor does."""
        beside = self.site.policy.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.site.policy)

    def edit_policy(self, *changes: tuple[str, str]) -> None:
        """Replace words in the policy, each of which must be there."""
        text = self.site.policy.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        self.write_policy(text)

    async def follows(self) -> None:
        """Wait until the policy file is in force, at rest, and every Envoy has the weights of the decision."""
        digest = parse(self.site.policy.read_text(), "").policy.digest
        seen: list[Weights] = []

        async def same() -> bool:
            decision = await self.api("/api/v1/decision")
            views = [view for s in decision["services"] if s["service"] == SERVICE for view in s["views"]]
            seen.append({view["view"]: view["weights"] for view in views})
            at_rest = len(seen) > 1 and seen[-1] == seen[-2] == await self.weights()
            return at_rest and decision["policy"]["digest"] == digest and not decision["policy"]["rejected"]

        await self.until("every Envoy has the weights of the decision", same)

    async def calm(self) -> None:
        """Bring everything back: the first policy and weights, every part running and healthy, nobody ejected."""
        if self.site.policy.is_symlink() or self.site.policy.read_text() != self._first_policy:
            self.write_policy(self._first_policy)
        if not self.site.control_plane.running or self.site.control_plane.stopped:
            await self.fault(f"restore:{CONTROL_PLANE}")
        for region in REGIONS:
            await self.fault(f"restore:{region}")
        if not await self._is_calm():
            await self.forget()
            await self.forgive()
        await self.until("all is well again", self._is_calm)
        await self.follows()

    async def forget(self) -> None:
        """Begin with a control plane that knows nothing: what fell or was slow is remembered for long."""
        await self.fault(f"kill:{CONTROL_PLANE}")
        shutil.rmtree(self.site.directory / "state")
        await self.fault(f"restore:{CONTROL_PLANE}")

    async def forgive(self) -> None:
        """Start the Envoys again that hold an ejection: one lasts for half a minute, whatever its host has become."""
        ejecting = [view for view in REGIONS if any((await self.stats_like(view, EJECTED)).values())]
        for view in ejecting:
            self.provoked -= Counter({name: n for name, n in (await self.stats(view)).items() if name in self.provoked})
            self.site.envoys[view].kill()
            self.site.envoys[view].start()
        await self.until("every Envoy has its routes", self.site.envoy_watch.ready)

    async def _is_calm(self) -> bool:
        decision = await self.api("/api/v1/decision")
        events = (await self.api("/api/v1/events?limit=200"))["events"]
        falls = [event["time"] for event in events if event["kind"] == "region.down"]
        well = all(region["health"] == "healthy" for region in decision["regions"])
        in_force = not decision["policy"]["rejected"] and len(decision["services"]) == 1
        quiet = max(falls, default=0.0) + AT_ONCE_S < time.time()
        ejected = await self.all_stats(EJECTED)
        connected = {client["region"] for client in (await self.api("/api/v1/fleet"))["clients"]} == set(REGIONS)
        return (
            connected
            and well
            and in_force
            and quiet
            and not any(ejected.values())
            and near(await self.weights(), self._home)
        )

    async def fault(self, text: str) -> None:
        """Apply a fault of the demo, `KIND[:ARG]:TARGET`; a part that is killed has done nothing wrong."""
        await self.site.apply(parse_now(text, 0.0))

    async def errors_answered(self) -> int:
        """Return how many errors the backends have answered; only of backends that are running."""
        answers = [
            json.loads((await fetch(port, "/_control")).body)
            for ports in self.site.topology.backend_ports.values()
            for port in ports
        ]
        return sum(int(answer["served"]["error"]) for answer in answers)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Send the demo's mix through every sidecar while the block runs; counts are complete when it ends."""
        for name in self.site.backend_names:
            notes = self.site.directory / f"{name}.writes"
            if notes.exists():
                notes.open("wb").close()  # ids begin at 0 again
        child = self.site.start_load(None, LIMIT_S)
        load = Load(child, Ledger(self.site.directory, self.site.backend_names))
        following = asyncio.create_task(load.follow())
        try:
            yield load
        finally:
            child.ask_to_stop()
            async with asyncio.timeout(LIMIT_S):
                await following
            await until(_ended(child), LIMIT_S, [], "the load ends")

    async def sent(self, load: Load, requests: int) -> None:
        """Wait until so many more requests are over."""
        goal = load.totals.completed + requests

        async def over() -> bool:
            return load.totals.completed >= goal

        await self.until(f"{requests} more requests are over", over)

    def plain_writes(self, weights: Weights, region: str, seconds: float) -> int:
        """Return how many plain writes a region gets in that time by these weights, at most; and a few for chance."""
        demand = self.site.topology.demand_of
        rps = sum(demand(view) * row.get(region, 0) / TOTAL_WEIGHT for view, row in weights.items())
        return math.ceil(rps * KIND_SHARE[Kind.PLAIN_WRITE] * seconds) + 5


DRIFT = 1_200
"""Weights follow demand as it is measured, and the load here is made by a program that shares the machine."""


def near(one: Weights, other: Weights) -> bool:
    """Return whether weights are the same but for what measured demand moves; who serves whom is the same."""
    return all(
        abs(weight - other[view][region]) <= DRIFT for view, row in one.items() for region, weight in row.items()
    )


P = ParamSpec("P")


def on_stage(
    test: Callable[Concatenate[Stage, P], Coroutine[None, None, None]],
) -> Callable[..., None]:
    """Run an async test on a calm stage."""

    @functools.wraps(test)
    def run(stage: Stage, *args: P.args, **kwargs: P.kwargs) -> None:
        async def played() -> None:
            await stage.calm()
            await test(stage, *args, **kwargs)

        stage.runner.run(played())

    return run


@contextmanager
def new_stage(directory: Path) -> Iterator[Stage]:
    """Start everything; leave nothing behind."""
    ports = Ports(ports_needed(), random.Random())
    with asyncio.Runner() as runner:
        stage = Stage(directory, ports.numbers, runner)
        try:
            runner.run(stage.start())
            yield stage
        finally:
            stage.site.stop()
            ports.close()


def _ended(child: Child) -> Callable[[], Awaitable[bool]]:
    async def ended() -> bool:
        return not child.running

    return ended
