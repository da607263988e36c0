"""`xds-server serve` as a process: how fast it starts, what it takes, and how fast an edit reaches every Envoy."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Figure
from bench.run import Run
from bench.stage import LIMIT_S, Condition, Stage, listening, stage, text
from bench.world import FOUR, UTILISATION
from xds_server.demo.meter import Meter
from xds_server.demo.ports import Ports
from xds_server.demo.processes import stop_all, until
from xds_server.demo.site import Site
from xds_server.demo.topology import Topology, ports_needed

_START_REACH_S = 2.0
_RSS_REACH_MB = 120.0
_EDIT_REACH_MS = 1_500.0
_SENT_S = 0.3


def start(run: Run) -> list[Figure]:
    """Measure from the start of the process to its ready line, again and again."""
    services = run.pick(100, 10)
    walls, cpus = [], []
    with stage(run, services) as here:
        asyncio.run(here.upstream())
        for n in range(run.pick(7, 2)):
            child, _, seconds = here.serve()
            meter = Meter()
            meter.sample(child.pid)
            walls.append(seconds)
            cpus.append(meter.usage.cpu_s)
            run.say(f"start {n + 1}: {seconds:.2f} s, of CPU {cpus[-1]:.2f} s")
            stop_all([child])
    return [
        Figure(f"serve: start → ready, {services} services", "s", tuple(walls), _START_REACH_S),
        Figure(f"serve: CPU until ready, {services} services", "s CPU", tuple(cpus)),
    ]


def size(run: Run) -> list[Figure]:
    """Measure memory and CPU with four Envoys and all endpoints probed: at rest, then while all weights move."""
    services, seconds, changes = run.pick((100, 20, 20), (10, 2, 3))
    with stage(run, services) as here:
        return asyncio.run(_size(run, here, services, seconds, changes))


async def _size(run: Run, here: Stage, services: int, seconds: int, changes: int) -> list[Figure]:
    await here.upstream()
    plane, ready, _ = await asyncio.to_thread(here.serve)
    run.say("starting 4 Envoys")
    for region in FOUR:
        await here.sidecar(region, ready.xds)
    watched = [plane, *here.children[-len(FOUR) :]]
    await until(listening(list(here.admin_ports.values())), LIMIT_S, watched, "every Envoy has its listener")
    run.say(f"at rest for {seconds} s")
    meter = Meter()
    meter.start(plane.pid)
    rest = []
    for _ in range(2 * seconds):
        await asyncio.sleep(0.5)
        meter.sample(plane.pid)
        rest.append(meter.usage.rss_mb)
    cpu = 100 * meter.usage.cpu_s / seconds
    run.say(f"{changes} changes of all weights")
    for n in range(changes):
        await _change(here, ready.admin_port, UTILISATION * (1 - 0.005 * (n + 1)))
    meter.sample(plane.pid)
    what = f"{services} services, 4 Envoys"
    return [
        Figure(f"serve: resident memory at rest, {what}", "MB", tuple(rest), _RSS_REACH_MB),
        Figure(f"serve: resident memory after {changes} changes of all weights", "MB", (meter.usage.rss_mb,)),
        Figure(f"serve: CPU at rest, {what}", "% core", (cpu,), note=f"{8 * services} probes a second"),
    ]


async def _change(here: Stage, admin_port: int, utilisation: float) -> None:
    """Edit the demand of every service, and wait until the edit is in force and was sent."""
    before = await text(admin_port, "/api/v1/policy")

    async def another() -> bool:
        return await text(admin_port, "/api/v1/policy") != before

    here.write_policy(utilisation)
    await until(another, LIMIT_S, here.children, "the edit is in force")
    await asyncio.sleep(_SENT_S)


def edit(run: Run) -> list[Figure]:
    """Measure from the write of the policy file to the new routes in every Envoy, by the Envoys' own word."""
    with _demo_site(run) as site:
        values = asyncio.run(_edits(run, site, run.pick(15, 2)))
    note = "an edit of a timeout in the routes; seen on each Envoy's admin page, which shows what it has accepted"
    return [Figure("policy edit → every Envoy acknowledged", "ms", values, _EDIT_REACH_MS, note)]


@contextmanager
def _demo_site(run: Run) -> Iterator[Site]:
    ports = Ports(ports_needed(), random.Random())
    site = Site(run.directory, Topology.of(100.0, None, ports.numbers))
    try:
        yield site
    finally:
        site.stop()
        ports.close()


async def _edits(run: Run, site: Site, count: int) -> tuple[float, ...]:
    await site.start(run.say)
    before = site.policy.read_text()
    values = []
    for n in range(count):
        timeout = f"{20 + n}s"
        after = before.replace("defaults:\n", f"defaults:\n  timeouts: {{request: {timeout}}}\n")
        started = time.perf_counter()
        site.policy.write_text(after)
        await until(_routed(site, f'"timeout": "{timeout}"'), LIMIT_S, site.children, "the edit is in every Envoy")
        values.append((time.perf_counter() - started) * 1000)
        run.say(f"edit {n + 1}: {values[-1]:.0f} ms")
        await asyncio.sleep(random.random())  # not in step with the intervals at which the file is looked at
    return tuple(values)


def _routed(site: Site, wanted: str) -> Condition:
    ports = list(site.topology.envoy_admin_ports.values())

    async def routed() -> bool:
        dumps = await asyncio.gather(*(text(port, "/config_dump?resource=dynamic_route_configs") for port in ports))
        return all(wanted in dump for dump in dumps)

    return routed
